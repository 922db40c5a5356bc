/* attention_cached.cu - attention of new tokens over a cache of keys and values: generation.
 *
 * One block per new token and query head.  Its 16 warps take turns at the cached rows, four rows at a time;
 * each keeps an online softmax of its own share, and the shares are joined in the order of the warps.  Lanes
 * hold pairs of columns: every row is read once, side by side, with eight reads and more in flight per lane.
 *
 * Shared memory: one row of D sums, one maximum and one sum per warp.
 * Bound: memory, 4 D bytes per row and kv head; heads of one group find the rows of the first in L2. */
#include <math.h>

#include "kernels/cuda/attention.cuh"

enum {
    WARP = 32,
    WARPS = 16,
    THREADS = WARPS * WARP,
    BATCH = 4,                  /* cached rows of one warp at a time */
    MAX_PAIRS = 256 / 2 / WARP, /* of one lane: head widths up to 256 */
    COPY_THREADS = 256
};

static constexpr float NO_MAX = -1e30f; /* finite: a warp without any row must not give inf - inf */

template <class T> struct cached_job {
    T *out;
    float *lse;
    const T *qkv;
    T *k_cache, *v_cache;
    int64_t past;
    int num_heads, num_kv_heads, head_dim;
    float scale, softcap;
};

/* A pair of neighbouring columns. */
struct pair {
    float lo, hi;
};

template <class T> DEV pair load_pair(const T *from) {
    pair p;
    if constexpr (sizeof(T) == 2)
        unpack2<T>(*(const uint32_t *)from, &p.lo, &p.hi);
    else
        p = {from[0], from[1]};
    return p;
}

template <class T> DEV void store_pair(T *to, pair p) {
    if constexpr (sizeof(T) == 2) {
        *(uint32_t *)to = pack2<T>(p.lo, p.hi);
    } else {
        to[0] = p.lo;
        to[1] = p.hi;
    }
}

/* A row of a head, spread over the lanes of a warp: lane l holds pairs l, l + 32 ...; zeros past the end. */
struct warp_row {
    pair pairs[MAX_PAIRS];
};

template <class T> DEV warp_row load_row(const T *from, int head_dim, bool valid) {
    warp_row row;
#pragma unroll
    for (int i = 0; i < MAX_PAIRS; i++) {
        const int column = 2 * ((int)(threadIdx.x % WARP) + i * WARP);
        row.pairs[i] = {0.0f, 0.0f};
        if (valid && column < head_dim)
            row.pairs[i] = load_pair(from + column);
    }
    return row;
}

DEV float row_dot(const warp_row &a, const warp_row &b) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < MAX_PAIRS; i++)
        sum = fmaf(a.pairs[i].hi, b.pairs[i].hi, fmaf(a.pairs[i].lo, b.pairs[i].lo, sum));
    return warp_sum(sum);
}

/* The online softmax of one warp's share of the rows. */
struct share {
    float max, sum;
    warp_row out;
};

/* attend_rows - fold BATCH cached rows, `stride` rows apart, into the share. */
template <class T>
DEV void attend_rows(share &mine, const cached_job<T> &job, const warp_row &query, int kv_head, int64_t first,
                     int64_t stride, int64_t end) {
    const int64_t row_elements = (int64_t)job.num_kv_heads * job.head_dim,
                  offset = (int64_t)kv_head * job.head_dim;
    warp_row keys[BATCH], values[BATCH];
    float weights[BATCH], raised = mine.max;
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
        const int64_t row = first + b * stride, at = row * row_elements + offset;
        keys[b] = load_row(job.k_cache + at, job.head_dim, row < end);
        values[b] = load_row(job.v_cache + at, job.head_dim, row < end);
    }
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
        weights[b] = row_dot(query, keys[b]) * job.scale;
        if (job.softcap > 0.0f)
            weights[b] = job.softcap * tanhf(weights[b] / job.softcap);
        if (first + b * stride >= end)
            weights[b] = -INFINITY;
        raised = max_nan(raised, weights[b]);
    }
    const float shrink = expf(mine.max - raised);
    mine.max = raised;
    mine.sum *= shrink;
#pragma unroll
    for (int i = 0; i < MAX_PAIRS; i++) {
        mine.out.pairs[i].lo *= shrink;
        mine.out.pairs[i].hi *= shrink;
    }
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
        const float weight = expf(weights[b] - raised);
        mine.sum += weight;
#pragma unroll
        for (int i = 0; i < MAX_PAIRS; i++) {
            mine.out.pairs[i].lo = fmaf(weight, values[b].pairs[i].lo, mine.out.pairs[i].lo);
            mine.out.pairs[i].hi = fmaf(weight, values[b].pairs[i].hi, mine.out.pairs[i].hi);
        }
    }
}

/* join_shares - every thread joins its columns of the shares of all warps: shares holds, per warp, D sums of
 * values, the maximum, the sum.  The first also writes the log-sum-exp. */
template <class T> DEV void join_shares(T *out, float *lse, uint32_t shares, int head_dim) {
    const uint32_t share_bytes = (uint32_t)(head_dim + 2) * 4;
    float max = NO_MAX, sum = 0.0f;
    for (int w = 0; w < WARPS; w++)
        max = max_nan(max, shared_load_f32(shares + (uint32_t)w * share_bytes + (uint32_t)head_dim * 4));
    for (int w = 0; w < WARPS; w++) {
        const uint32_t tail = shares + (uint32_t)w * share_bytes + (uint32_t)head_dim * 4;
        sum += shared_load_f32(tail + 4) * expf(shared_load_f32(tail) - max);
    }
    if (threadIdx.x == 0)
        *lse = max + logf(sum);
    for (int column = 2 * (int)threadIdx.x; column < head_dim; column += 2 * THREADS) {
        pair p = {0.0f, 0.0f};
        for (int w = 0; w < WARPS; w++) {
            const uint32_t at = shares + (uint32_t)w * share_bytes;
            const float factor = expf(shared_load_f32(at + (uint32_t)head_dim * 4) - max);
            p.lo = fmaf(factor, shared_load_f32(at + (uint32_t)column * 4), p.lo);
            p.hi = fmaf(factor, shared_load_f32(at + (uint32_t)column * 4 + 4), p.hi);
        }
        store_pair(out + column, pair{p.lo / sum, p.hi / sum});
    }
}

template <class T> static __global__ void __launch_bounds__(THREADS) attention_cached(cached_job<T> job) {
    DYN_SHARED(memory);
    const int head = (int)(blockIdx.x % (unsigned)job.num_heads),
              kv_head = head / (job.num_heads / job.num_kv_heads);
    const int warp = (int)(threadIdx.x / WARP), lane = (int)(threadIdx.x % WARP), head_dim = job.head_dim;
    const int64_t token = blockIdx.x / (unsigned)job.num_heads, end = job.past + token + 1;
    const int64_t qkv_row = (int64_t)(job.num_heads + 2 * job.num_kv_heads) * head_dim;
    const warp_row query = load_row(job.qkv + token * qkv_row + head * head_dim, head_dim, true);
    share mine = {NO_MAX, 0.0f, {}};
    for (int64_t first = warp; first < end; first += WARPS * BATCH)
        attend_rows(mine, job, query, kv_head, first, WARPS, end);

    const uint32_t shares = shared_address(memory), own = shares + (uint32_t)(warp * (head_dim + 2)) * 4;
#pragma unroll
    for (int i = 0; i < MAX_PAIRS; i++) {
        const int column = 2 * (lane + i * WARP);
        if (column < head_dim) {
            shared_store_f32(own + (uint32_t)column * 4, mine.out.pairs[i].lo);
            shared_store_f32(own + (uint32_t)column * 4 + 4, mine.out.pairs[i].hi);
        }
    }
    if (lane == 0) {
        shared_store_f32(own + (uint32_t)head_dim * 4, mine.max);
        shared_store_f32(own + (uint32_t)head_dim * 4 + 4, mine.sum);
    }
    block_barrier();
    const int64_t at = token * job.num_heads + head;
    join_shares(job.out + at * head_dim, job.lse + at, shares, head_dim);
}

/* fill_cache - keys and values of the new tokens after the past ones; one thread per pair of columns. */
template <class T>
static __global__ void __launch_bounds__(COPY_THREADS)
    attention_fill_cache(cached_job<T> job, int64_t num_pairs) {
    const int64_t index = (int64_t)blockIdx.x * COPY_THREADS + threadIdx.x;
    if (index >= num_pairs)
        return;
    const int64_t kv_width = (int64_t)job.num_kv_heads * job.head_dim, column = 2 * index % kv_width;
    const int64_t token = 2 * index / kv_width, to = (job.past + token) * kv_width + column;
    const T *from = job.qkv + token * (job.num_heads * job.head_dim + 2 * kv_width) +
                    job.num_heads * job.head_dim + column;
    store_pair(job.k_cache + to, load_pair(from));
    store_pair(job.v_cache + to, load_pair(from + kv_width));
}

template <class T>
static void launch_cached(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                          struct tensor k_cache, struct tensor v_cache, int64_t past,
                          const struct attention_args *args) {
    const cached_job<T> job = {(T *)out.data,     (float *)lse.data,  (const T *)qkv.data, (T *)k_cache.data,
                               (T *)v_cache.data, past,               args->num_heads,     args->num_kv_heads,
                               args->head_dim,    args->scale,        args->softcap};
    const int64_t num_tokens = qkv.dims[0], num_pairs = num_tokens * args->num_kv_heads * args->head_dim / 2;
    LAUNCH(attention_fill_cache<T>, dim3((unsigned)((num_pairs + COPY_THREADS - 1) / COPY_THREADS)),
           dim3(COPY_THREADS), 0, cuda_stream(dev), job, num_pairs);
    LAUNCH(attention_cached<T>, dim3((unsigned)(args->num_heads * num_tokens)), dim3(THREADS),
           (size_t)(WARPS * (args->head_dim + 2)) * sizeof(float), cuda_stream(dev), job);
}

void cuda_attention_cached(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                           struct tensor k_cache, struct tensor v_cache, int64_t past,
                           const struct attention_args *args) {
    attention_expect_width(args);
    if (qkv.dims[0] == 0)
        return;
    if (qkv.dtype == DTYPE_F32)
        launch_cached<float>(dev, out, lse, qkv, k_cache, v_cache, past, args);
    else if (qkv.dtype == DTYPE_BF16)
        launch_cached<bf16_t>(dev, out, lse, qkv, k_cache, v_cache, past, args);
    else
        launch_cached<f16_t>(dev, out, lse, qkv, k_cache, v_cache, past, args);
}
