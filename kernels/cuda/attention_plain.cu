/* attention_plain.cu - attention without tensor cores: any type, any even head width up to 256, all in f32.
 *
 * Three kernels of one shape.  A block owns 16 rows (queries, or keys in the keys pass), four per warp, fewer where
 * shared memory is short (V100, width 256), and walks over the others 32 at a time, one per lane: each lane computes the scores of its own partner with the
 * warp's four rows; then the lanes spread over the columns and add up weight times partner row, partner after
 * partner.
 *
 *   forward   S = scale Q K^T (capped), online softmax, O += P V
 *   queries   dS = P (dP - delta) slope;  dQ += scale dS K
 *   keys      dV += P^T dO;  dK += scale dS^T Q, over all query heads of the group
 *
 * dQ and dK are turned back by their rows' positions before they are stored, if they are to be.
 *
 * A pair that may not meet has weight 0 and is skipped, so that a NaN stays with those that depend on it.
 *
 * Shared memory: rows as f32, D + 1 apart, so that 32 lanes reading one column of 32 rows meet 32 banks.
 * Bound: shared memory, 5 reads per 4 multiply-adds in the first part, 1 per 4 in the second; for f32
 * training and for unusual widths. */
#include <math.h>

#include "kernels/cuda/attention_rotation.cuh"

enum {
    WARP = 32,
    MOST_WARPS = 4,
    THREADS = MOST_WARPS * WARP, /* of a block, at most */
    WARP_ROWS = 4,               /* rows of one warp */
    OTHERS = WARP,               /* partners at a time */
    MAX_COLUMNS = 256 / WARP     /* of one lane: head widths up to 256 */
};

static constexpr float NO_MAX = -1e30f; /* finite: see attention_forward.cu */

/* What the kernels are given; out is O or dqkv. */
template <class T> struct plain_job {
    attention_problem p;
    attention_statistics statistics;
    const T *dout;
    T *out;
    float *lse;
};

DEV int lane_id() {
    return (int)(threadIdx.x % WARP);
}

/* own_count - rows of a block. */
DEV int own_count() {
    return (int)blockDim.x / WARP * WARP_ROWS;
}

template <int N> DEV void clear(float (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++)
        x[i] = 0.0f;
}

/* row_address - of row i in a block of rows in shared memory. */
DEV uint32_t row_address(uint32_t rows, int i, int head_dim) {
    return rows + (uint32_t)(i * (head_dim + 1)) * 4;
}

/* load_rows - count rows of a head into shared memory, zeros from row `valid` on. */
template <class T>
DEV void load_rows(uint32_t to, const T *from, int64_t row_elements, int count, int valid, int head_dim) {
    for (int at = (int)threadIdx.x; at < count * head_dim; at += (int)blockDim.x) {
        const int row = at / head_dim, column = at % head_dim;
        shared_store_f32(row_address(to, row, head_dim) + (uint32_t)column * 4,
                         row < valid ? to_f32(from[row * row_elements + column]) : 0.0f);
    }
}

/* head_rows - where row `row` of a head begins in qkv. */
template <class T> DEV const T *head_rows(const attention_problem &p, int row, int head) {
    return (const T *)p.qkv + (int64_t)row * p.qkv_row + head * p.head_dim;
}

/* dot_rows - products of this warp's rows with this lane's partner. */
DEV void dot_rows(float (&dots)[WARP_ROWS], uint32_t own, uint32_t others, int head_dim) {
    const uint32_t partner = row_address(others, lane_id(), head_dim);
    clear(dots);
    for (int d = 0; d < head_dim; d++) {
        const float x = shared_load_f32(partner + (uint32_t)d * 4);
#pragma unroll
        for (int r = 0; r < WARP_ROWS; r++)
            dots[r] = fmaf(shared_load_f32(row_address(own, r, head_dim) + (uint32_t)d * 4), x, dots[r]);
    }
}

/* add_rows - sums += weight (of each lane's partner) times the partner's row; lanes hold columns lane, lane +
 * 32 ... */
DEV void add_rows(float (&sums)[WARP_ROWS][MAX_COLUMNS], const float (&weights)[WARP_ROWS], uint32_t others,
                  int head_dim) {
    for (int partner = 0; partner < OTHERS; partner++) {
        const uint32_t row = row_address(others, partner, head_dim);
        float w[WARP_ROWS];
#pragma unroll
        for (int r = 0; r < WARP_ROWS; r++)
            w[r] = shfl(weights[r], partner);
#pragma unroll
        for (int c = 0; c < MAX_COLUMNS; c++) {
            if (lane_id() + c * WARP >= head_dim)
                break;
            const float x = shared_load_f32(row + (uint32_t)(lane_id() + c * WARP) * 4);
#pragma unroll
            for (int r = 0; r < WARP_ROWS; r++)
                if (w[r] != 0.0f)
                    sums[r][c] = fmaf(w[r], x, sums[r][c]);
        }
    }
}

/* store_row - sums times a factor to a row in global memory. */
template <class T> DEV void store_row(T *to, const float (&sums)[MAX_COLUMNS], float factor, int head_dim) {
#pragma unroll
    for (int c = 0; c < MAX_COLUMNS; c++)
        if (lane_id() + c * WARP < head_dim)
            to[lane_id() + c * WARP] = from_f32<T>(sums[c] * factor);
}

/* store_turned_row - the same, turned back.  The lanes meet the other element of their pairs in `staging`,
 * room for one row that only this warp uses. */
template <class T>
DEV void store_turned_row(T *to, const float (&sums)[MAX_COLUMNS], uint32_t staging,
                          const attention_problem &p, int row) {
    const int half = p.head_dim / 2;
    const bool halves = p.rotation.layout == ROPE_HALVES;
    const row_angles of = angles_of(p.rotation, row, p.num_rows, half);
    warp_barrier(); /* no lane reads what lay there any more */
#pragma unroll
    for (int c = 0; c < MAX_COLUMNS; c++)
        if (lane_id() + c * WARP < p.head_dim)
            shared_store_f32(staging + (uint32_t)(lane_id() + c * WARP) * 4, sums[c]);
    warp_barrier();
#pragma unroll
    for (int c = 0; c < MAX_COLUMNS; c++) {
        const int column = lane_id() + c * WARP;
        if (column >= p.head_dim)
            break;
        const int pair = halves ? column % half : column / 2;
        const bool second = halves ? column >= half : column % 2;
        const int first_column = halves ? pair : 2 * pair,
                  second_column = halves ? pair + half : 2 * pair + 1;
        float a = shared_load_f32(staging + (uint32_t)first_column * 4);
        float b = shared_load_f32(staging + (uint32_t)second_column * 4);
        turn_back(a, b, angle_of(of.cos, of.known, pair), angle_of(of.sin, of.known, pair));
        to[column] = from_f32<T>(second ? b : a);
    }
}

/* A score and its derivative with respect to scale q k: 1 without a soft-cap. */
struct score {
    float value, slope;
};

DEV score score_of(float dot, const attention_problem &p) {
    if (p.softcap <= 0.0f)
        return {dot * p.scale, 1.0f};
    const float t = tanhf(dot * p.cap_inverse);
    return {p.softcap * t, 1.0f - t * t};
}

/* sees - whether a row sees a key; rows past the end see nothing. */
DEV bool sees(const attention_problem &p, int row, int key) {
    return row < p.num_rows && key <= last_key_of(p.last_key, row) && key >= p.first_key[row];
}

/* Five blocks: without a number of them the compiler spills on Hopper. */
template <class T> static __global__ void __launch_bounds__(THREADS, 5) attention_plain(plain_job<T> job) {
    DYN_SHARED(memory);
    const attention_problem &p = job.p;
    const int head_dim = p.head_dim, head = (int)blockIdx.x, kv_head = p.num_heads + head / p.group;
    const int own_rows = own_count(), first_row = (int)(gridDim.y - 1 - blockIdx.y) * own_rows,
              warp_row = (int)(threadIdx.x / WARP) * WARP_ROWS;
    const uint32_t queries = shared_address(memory), keys = row_address(queries, own_rows, head_dim);
    const uint32_t values = row_address(keys, OTHERS, head_dim),
                   own = row_address(queries, warp_row, head_dim);
    float sums[WARP_ROWS][MAX_COLUMNS], max[WARP_ROWS], total[WARP_ROWS];
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++) {
        clear(sums[r]);
        max[r] = NO_MAX;
        total[r] = 0.0f;
    }
    load_rows(queries, head_rows<T>(p, first_row, head), p.qkv_row, own_rows, p.num_rows - first_row,
              head_dim);
    const int end = last_key_of(p.last_key, min(first_row + own_rows, p.num_rows) - 1) + 1;
    for (int first_key = p.first_key[first_row]; first_key < end; first_key += OTHERS) {
        block_barrier(); /* nobody reads the previous keys any more */
        load_rows(keys, head_rows<T>(p, first_key, kv_head), p.qkv_row, OTHERS, p.num_rows - first_key,
                  head_dim);
        load_rows(values, head_rows<T>(p, first_key, kv_head + p.num_kv_heads), p.qkv_row, OTHERS,
                  p.num_rows - first_key, head_dim);
        block_barrier();
        float weights[WARP_ROWS];
        dot_rows(weights, own, keys, head_dim);
#pragma unroll
        for (int r = 0; r < WARP_ROWS; r++) {
            const bool seen = sees(p, first_row + warp_row + r, first_key + lane_id());
            const float s = seen ? score_of(weights[r], p).value : -INFINITY;
            const float raised = max_nan(max[r], warp_max(s)), shrink = expf(max[r] - raised);
            max[r] = raised;
            weights[r] = seen ? expf(s - raised) : 0.0f;
            total[r] = total[r] * shrink + warp_sum(weights[r]);
#pragma unroll
            for (int c = 0; c < MAX_COLUMNS; c++)
                sums[r][c] *= shrink;
        }
        add_rows(sums, weights, values, head_dim);
    }
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++) {
        const int64_t row = first_row + warp_row + r;
        if (row >= p.num_rows)
            continue;
        store_row(job.out + row * p.out_row + head * head_dim, sums[r], 1.0f / total[r], head_dim);
        if (lane_id() == 0)
            job.lse[row * p.num_heads + head] = max[r] + logf(total[r]);
    }
}

/* A probability and the gradient of its score times scale, for one pair; zero for a pair that does not meet.
 */
struct pair_weights {
    float p, ds;
};

template <class T>
DEV pair_weights weights_of(const plain_job<T> &job, int head, int row, int key, float dot, float dp) {
    const attention_problem &p = job.p;
    if (!sees(p, row, key))
        return {0.0f, 0.0f};
    const int64_t at = head * job.statistics.padded_rows + row;
    const score s = score_of(dot, p);
    const float probability = expf(s.value - job.statistics.lse2[at] * ATTENTION_LN2);
    return {probability, probability * (dp - job.statistics.delta[at]) * s.slope * p.scale};
}

template <class T>
static __global__ void __launch_bounds__(THREADS) attention_plain_queries(plain_job<T> job) {
    DYN_SHARED(memory);
    const attention_problem &p = job.p;
    const int head_dim = p.head_dim, head = (int)blockIdx.x, kv_head = p.num_heads + head / p.group;
    const int own_rows = own_count(), first_row = (int)(gridDim.y - 1 - blockIdx.y) * own_rows,
              warp_row = (int)(threadIdx.x / WARP) * WARP_ROWS;
    const uint32_t queries = shared_address(memory), douts = row_address(queries, own_rows, head_dim);
    const uint32_t keys = row_address(douts, own_rows, head_dim),
                   values = row_address(keys, OTHERS, head_dim);
    float sums[WARP_ROWS][MAX_COLUMNS];
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++)
        clear(sums[r]);
    load_rows(queries, head_rows<T>(p, first_row, head), p.qkv_row, own_rows, p.num_rows - first_row,
              head_dim);
    load_rows(douts, job.dout + (int64_t)first_row * p.out_row + head * head_dim, p.out_row, own_rows,
              p.num_rows - first_row, head_dim);
    const int end = last_key_of(p.last_key, min(first_row + own_rows, p.num_rows) - 1) + 1;
    for (int first_key = p.first_key[first_row]; first_key < end; first_key += OTHERS) {
        block_barrier(); /* nobody reads the previous keys any more */
        load_rows(keys, head_rows<T>(p, first_key, kv_head), p.qkv_row, OTHERS, p.num_rows - first_key,
                  head_dim);
        load_rows(values, head_rows<T>(p, first_key, kv_head + p.num_kv_heads), p.qkv_row, OTHERS,
                  p.num_rows - first_key, head_dim);
        block_barrier();
        float dots[WARP_ROWS], dps[WARP_ROWS];
        dot_rows(dots, row_address(queries, warp_row, head_dim), keys, head_dim);
        dot_rows(dps, row_address(douts, warp_row, head_dim), values, head_dim);
#pragma unroll
        for (int r = 0; r < WARP_ROWS; r++)
            dps[r] =
                weights_of(job, head, first_row + warp_row + r, first_key + lane_id(), dots[r], dps[r]).ds;
        add_rows(sums, dps, keys, head_dim);
    }
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++) {
        const int64_t row = first_row + warp_row + r;
        T *const to = job.out + row * p.qkv_row + head * head_dim;
        if (row >= p.num_rows)
            continue;
        if (p.rotation.positions)
            store_turned_row(to, sums[r], row_address(queries, warp_row + r, head_dim), p, (int)row);
        else
            store_row(to, sums[r], 1.0f, head_dim);
    }
}

template <class T> static __global__ void __launch_bounds__(THREADS) attention_plain_keys(plain_job<T> job) {
    DYN_SHARED(memory);
    const attention_problem &p = job.p;
    const int head_dim = p.head_dim, kv_head = p.num_heads + (int)blockIdx.x;
    const int own_keys = own_count(), first_key = (int)blockIdx.y * own_keys,
              warp_key = (int)(threadIdx.x / WARP) * WARP_ROWS;
    const uint32_t keys = shared_address(memory), values = row_address(keys, own_keys, head_dim);
    const uint32_t queries = row_address(values, own_keys, head_dim),
                   douts = row_address(queries, OTHERS, head_dim);
    float dkeys[WARP_ROWS][MAX_COLUMNS], dvalues[WARP_ROWS][MAX_COLUMNS];
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++) {
        clear(dkeys[r]);
        clear(dvalues[r]);
    }
    load_rows(keys, head_rows<T>(p, first_key, kv_head), p.qkv_row, own_keys, p.num_rows - first_key,
              head_dim);
    load_rows(values, head_rows<T>(p, first_key, kv_head + p.num_kv_heads), p.qkv_row, own_keys,
              p.num_rows - first_key, head_dim);
    const int begin = first_row_of(job.statistics.col_begin, first_key);
    const int end = job.statistics.col_end[min(first_key + own_keys, p.num_rows) - 1];
    for (int head = (int)blockIdx.x * p.group; head < ((int)blockIdx.x + 1) * p.group; head++)
        for (int first_row = begin; first_row < end; first_row += OTHERS) {
            block_barrier(); /* nobody reads the previous queries any more */
            load_rows(queries, head_rows<T>(p, first_row, head), p.qkv_row, OTHERS, p.num_rows - first_row,
                      head_dim);
            load_rows(douts, job.dout + (int64_t)first_row * p.out_row + head * head_dim, p.out_row, OTHERS,
                      p.num_rows - first_row, head_dim);
            block_barrier();
            float dots[WARP_ROWS], dps[WARP_ROWS];
            dot_rows(dots, row_address(keys, warp_key, head_dim), queries, head_dim);
            dot_rows(dps, row_address(values, warp_key, head_dim), douts, head_dim);
#pragma unroll
            for (int r = 0; r < WARP_ROWS; r++) {
                const int key = first_key + warp_key + r;
                const pair_weights w = weights_of(job, head, first_row + lane_id(), key, dots[r], dps[r]);
                dots[r] = w.p;
                dps[r] = w.ds;
            }
            add_rows(dvalues, dots, douts, head_dim);
            add_rows(dkeys, dps, queries, head_dim);
        }
#pragma unroll
    for (int r = 0; r < WARP_ROWS; r++) {
        const int64_t key = first_key + warp_key + r;
        T *const to = job.out + key * p.qkv_row + kv_head * head_dim;
        if (key >= p.num_rows)
            continue;
        if (p.rotation.positions)
            store_turned_row(to, dkeys[r], row_address(keys, warp_key + r, head_dim), p, (int)key);
        else
            store_row(to, dkeys[r], 1.0f, head_dim);
        store_row(to + p.num_kv_heads * head_dim, dvalues[r], 1.0f, head_dim);
    }
}

/* How blocks are made: own rows and the shared memory for them, of so many sets of both kinds of rows. */
struct plain_blocks {
    unsigned count, threads;
    size_t shared_bytes;
};

/* blocks_of - of as many warps as fit; own_sets tiles of own rows and two of the others.  Dies where one does not: of heads wider
 * than 226 on a GPU of compute capability 7.5, which has 64 KiB for a block (238 in the forward). */
static plain_blocks blocks_of(const struct device *dev, const attention_problem &p, int own_sets) {
    const size_t row_bytes = (size_t)(p.head_dim + 1) * sizeof(float);
    const size_t room = (size_t)cuda_block_shared_bytes(dev) / row_bytes; /* in rows */
    const size_t least = (size_t)(own_sets * WARP_ROWS + 2 * OTHERS);
    CHECK(
        least <= room,
        "attention on cuda with heads of %d takes %zu KiB of shared memory for a block, and this GPU has %d: another "
        "GPU does it (compute capability 7.0, 8.0 or later), or run.device: cpu",
        p.head_dim, (least * row_bytes + 1023) / 1024, cuda_block_shared_bytes(dev) / 1024);
    int warps = MOST_WARPS;
    while (warps > 1 && (size_t)(own_sets * warps * WARP_ROWS + 2 * OTHERS) > room)
        warps /= 2;
    const int own = warps * WARP_ROWS;
    return {(unsigned)((p.num_rows + own - 1) / own), (unsigned)(warps * WARP),
            (size_t)(own_sets * own + 2 * OTHERS) * row_bytes};
}

template <class T> static void plain_forward(struct device *dev, const plain_job<T> &job) {
    const plain_blocks blocks = blocks_of(dev, job.p, 1);
    LAUNCH(attention_plain<T>, dim3((unsigned)job.p.num_heads, blocks.count), dim3(blocks.threads),
           blocks.shared_bytes, cuda_stream(dev), job);
}

template <class T> static void plain_backward(struct device *dev, const plain_job<T> &job) {
    const plain_blocks blocks = blocks_of(dev, job.p, 2);
    LAUNCH(attention_plain_keys<T>, dim3((unsigned)job.p.num_kv_heads, blocks.count), dim3(blocks.threads),
           blocks.shared_bytes, cuda_stream(dev), job);
    LAUNCH(attention_plain_queries<T>, dim3((unsigned)job.p.num_heads, blocks.count), dim3(blocks.threads),
           blocks.shared_bytes, cuda_stream(dev), job);
}

template <class T>
static plain_job<T> job_of(const struct attention_problem &problem,
                           const struct attention_statistics &statistics, struct tensor dout,
                           struct tensor out, void *lse) {
    return {problem, statistics, (const T *)dout.data, (T *)out.data, (float *)lse};
}

void attention_plain_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                             const struct attention_mask *mask, const struct attention_args *args) {
    const struct attention_problem problem = attention_describe(qkv, mask, args);
    const struct attention_statistics none = {};
    if (qkv.dtype == DTYPE_F32)
        plain_forward(dev, job_of<float>(problem, none, qkv, out, lse.data));
    else if (qkv.dtype == DTYPE_BF16)
        plain_forward(dev, job_of<bf16_t>(problem, none, qkv, out, lse.data));
    else
        plain_forward(dev, job_of<f16_t>(problem, none, qkv, out, lse.data));
}

void attention_plain_backward(struct device *dev, struct tensor dqkv, struct tensor dout,
                              const struct attention_problem *problem,
                              const struct attention_statistics *statistics) {
    if (dqkv.dtype == DTYPE_F32)
        plain_backward(dev, job_of<float>(*problem, *statistics, dout, dqkv, nullptr));
    else if (dqkv.dtype == DTYPE_BF16)
        plain_backward(dev, job_of<bf16_t>(*problem, *statistics, dout, dqkv, nullptr));
    else
        plain_backward(dev, job_of<f16_t>(*problem, *statistics, dout, dqkv, nullptr));
}
