/* vocab.cu - what touches the vocabulary: token embedding and cross-entropy.
 *
 *                       bytes                                        bound
 *   embedding           4 per element of x (T of 2 bytes)            memory
 *   its gradient        2 per element of dx, 8 per element of the    memory; about ten short kernels sort the
 *                       rows of dw that occur                        tokens before
 *   cross-entropy       4 + 4 + 2 per logit (f32 in, 2 bytes out);   memory
 *                       the second 4 in part from L2
 *
 * Ids come from files, and a kernel cannot die: a token or target outside the vocabulary gives NaN, which the
 * guard of the loss reports. */
#include <float.h>

#include "kernels/cuda/vector.cuh"

/* ---- Embedding ---- */

enum { COPY_BATCH = 4, COPY_THREADS = 256 };

/* One row per team of blockDim.x threads, blockDim.y rows per block. */
template <class T, int N>
static __global__ void __launch_bounds__(COPY_THREADS)
    embedding_kernel(T *x, const T *w, const int32_t *tokens, int64_t num_rows, int64_t width,
                     int64_t vocabulary) {
    int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= num_rows)
        return;
    int64_t token = tokens[row], stride = (int64_t)blockDim.x * N;
    bool known = token >= 0 && token < vocabulary;
    const T *from = w + (known ? token : 0) * width;
    for (int64_t first = (int64_t)threadIdx.x * N; first < width; first += COPY_BATCH * stride) {
        pack<T, N> values[COPY_BATCH];
#pragma unroll
        for (int k = 0; k < COPY_BATCH; k++) {
            values[k] = pack_filled<T, N>(~0u);
            if (known && first + k * stride < width)
                values[k] = pack_load<T, N>(from + first + k * stride);
        }
#pragma unroll
        for (int k = 0; k < COPY_BATCH; k++)
            if (first + k * stride < width)
                pack_store(x + row * width + first + k * stride, values[k]);
    }
}

template <class T, int N>
static void launch_embedding(struct device *dev, struct tensor x, struct tensor w, struct tensor tokens) {
    int64_t num_rows = x.dims[0], width = x.dims[1];
    int threads = whole_warps(divide_up(width, N * COPY_BATCH), COPY_THREADS), rows = COPY_THREADS / threads;
    LAUNCH((embedding_kernel<T, N>), dim3((unsigned)divide_up(num_rows, rows)),
           dim3((unsigned)threads, (unsigned)rows), 0, cuda_stream(dev), (T *)x.data, (const T *)w.data,
           (const int32_t *)tokens.data, num_rows, width, w.dims[0]);
}

template <class T>
static void embedding(struct device *dev, struct tensor x, struct tensor w, struct tensor tokens) {
    if (tensor_count(x) == 0)
        return;
    if (is_aligned<T>(x.data, x.dims[1]) && is_aligned<T>(w.data, x.dims[1]))
        launch_embedding<T, VECTOR<T>>(dev, x, w, tokens);
    else
        launch_embedding<T, 1>(dev, x, w, tokens);
}

extern "C" void cuda_embedding_forward(struct device *dev, struct tensor x, struct tensor w,
                                       struct tensor tokens) {
    BY_TYPE(x.dtype, embedding, dev, x, w, tokens);
}

/* ---- Gradient of the embedding ----
 *
 * The places of a token must be added in the order of i, or the sum would change from run to run.  So the
 * pairs (token, i) are sorted as 64-bit keys: runs in shared memory, then merges of MERGE_WAYS runs at a
 * time.  The first place of each token then adds up all of them: one writer per row. */

enum {
    MAX_RUN = 4096,
    SORT_THREADS = 1024,
    MERGE_WAYS = 4,
    MERGE_THREADS = 256,
    ADD_THREADS = 128,
    ADD_BATCH = 8
};

/* Behind every key of a token. */
static constexpr uint64_t NO_KEY = ~(uint64_t)0;

DEV uint64_t shared_load_key(uint32_t keys, int i) {
    uint2 v = shared_load8(keys + (uint32_t)i * 8);
    return v.x | (uint64_t)v.y << 32;
}

DEV void shared_store_key(uint32_t keys, int i, uint64_t key) {
    shared_store8(keys + (uint32_t)i * 8, make_uint2((uint32_t)key, (uint32_t)(key >> 32)));
}

/* One block sorts `run` keys (a power of two): bitonic, in shared memory of run x 8 bytes.  A token outside
 * the vocabulary sorts as NO_KEY does: nobody adds it. */
static __global__ void __launch_bounds__(SORT_THREADS)
    sort_runs_kernel(uint64_t *keys, const int32_t *tokens, int64_t num_tokens, int64_t vocabulary, int run) {
    DYN_SHARED(memory);
    uint32_t shared = shared_address(memory);
    int64_t first = (int64_t)blockIdx.x * run;
    for (int i = (int)threadIdx.x; i < run; i += (int)blockDim.x) {
        int64_t token = first + i < num_tokens ? tokens[first + i] : -1;
        bool known = token >= 0 && token < vocabulary;
        shared_store_key(shared, i, known ? (uint64_t)token << 32 | (uint64_t)(first + i) : NO_KEY);
    }
    for (int size = 2; size <= run; size *= 2)
        for (int distance = size / 2; distance; distance /= 2) {
            block_barrier();
            for (int pair = (int)threadIdx.x; pair < run / 2; pair += (int)blockDim.x) {
                int low = pair / distance * 2 * distance + pair % distance, high = low + distance;
                uint64_t a = shared_load_key(shared, low), b = shared_load_key(shared, high);
                bool ascending = (low & size) == 0;
                if ((a > b) == ascending && a != b) {
                    shared_store_key(shared, low, b);
                    shared_store_key(shared, high, a);
                }
            }
        }
    block_barrier();
    for (int i = (int)threadIdx.x; i < run && first + i < num_tokens; i += (int)blockDim.x)
        keys[first + i] = shared_load_key(shared, i);
}

/* Groups of MERGE_WAYS sorted runs become one.  A thread places one key: its rank is its place in its own run
 * plus, for each sibling, the number of keys before it there; the searches advance in lockstep, so that their
 * loads overlap. Equal keys (NO_KEY alone) are told apart by the order of the runs. */
static __global__ void __launch_bounds__(MERGE_THREADS)
    merge_kernel(uint64_t *out, const uint64_t *in, int64_t num_tokens, int64_t run) {
    int64_t i = (int64_t)blockIdx.x * MERGE_THREADS + threadIdx.x;
    if (i >= num_tokens)
        return;
    int64_t group = i / (MERGE_WAYS * run) * (MERGE_WAYS * run), rank = i % run;
    int own = (int)((i - group) / run);
    uint64_t key = in[i];
    int64_t first[MERGE_WAYS], count[MERGE_WAYS], before[MERGE_WAYS];
    for (int way = 0; way < MERGE_WAYS; way++) {
        first[way] = group + way * run;
        int64_t left = num_tokens - first[way];
        count[way] = way == own || left < 0 ? 0 : left < run ? left : run;
        before[way] = 0;
    }
    for (int64_t step = run; step; step /= 2)
        for (int way = 0; way < MERGE_WAYS; way++) {
            int64_t next = before[way] + step;
            if (next > count[way])
                continue;
            uint64_t there = in[first[way] + next - 1];
            if (there < key || (there == key && way < own))
                before[way] = next;
        }
    for (int way = 0; way < MERGE_WAYS; way++)
        rank += before[way];
    out[group + rank] = key;
}

/* sort_tokens - enqueue the sort; returns where the sorted keys will be.  memory: 2 num_tokens keys. */
static const uint64_t *sort_tokens(struct device *dev, uint64_t *memory, struct tensor tokens,
                                   int64_t vocabulary) {
    int64_t num_tokens = tokens.dims[0];
    uint64_t *from = memory, *to = memory + num_tokens;
    int run = 64; /* a short batch needs no long run */
    while (run < MAX_RUN && run < num_tokens)
        run *= 2;
    int threads = run / 2 < SORT_THREADS ? run / 2 : SORT_THREADS;
    LAUNCH(sort_runs_kernel, dim3((unsigned)divide_up(num_tokens, run)), dim3((unsigned)threads),
           (size_t)run * sizeof(uint64_t), cuda_stream(dev), from, (const int32_t *)tokens.data, num_tokens,
           vocabulary, run);
    for (int64_t sorted = run; sorted < num_tokens; sorted *= MERGE_WAYS) {
        LAUNCH(merge_kernel, dim3((unsigned)divide_up(num_tokens, MERGE_THREADS)), dim3(MERGE_THREADS), 0,
               cuda_stream(dev), to, from, num_tokens, sorted);
        uint64_t *other = from;
        from = to;
        to = other;
    }
    return from;
}

/* Block (p, part): if sorted place p is the first of its token, add all rows of the token to dw, N columns
 * per thread, ADD_BATCH rows in flight. */
template <class T, int N>
static __global__ void __launch_bounds__(ADD_THREADS)
    embedding_add_kernel(float *dw, const T *dx, const uint64_t *keys, int64_t num_tokens, int64_t width) {
    constexpr int PART = N < 4 ? 1 : 4;
    int64_t place = blockIdx.x, column = ((int64_t)blockIdx.y * ADD_THREADS + threadIdx.x) * N;
    uint64_t token = keys[place] >> 32;
    if (column >= width || token == NO_KEY >> 32 || (place > 0 && keys[place - 1] >> 32 == token))
        return;
    float *to = dw + (int64_t)token * width + column;
    float sum[N];
    for (int i = 0; i < N; i += PART) {
        pack<float, PART> p = pack_load<float, PART>(to + i);
        for (int j = 0; j < PART; j++)
            sum[i + j] = bits_float(p.words[j]);
    }
    bool more = true;
    for (; more; place += ADD_BATCH) {
        pack<T, N> rows[ADD_BATCH];
        bool same[ADD_BATCH];
#pragma unroll
        for (int k = 0; k < ADD_BATCH; k++) {
            uint64_t key = place + k < num_tokens ? keys[place + k] : NO_KEY;
            same[k] = key >> 32 == token;
            if (same[k])
                rows[k] = pack_load_once<T, N>(dx + (int64_t)(uint32_t)key * width + column);
        }
#pragma unroll
        for (int k = 0; k < ADD_BATCH; k++)
            if (same[k]) {
                float values[N];
                pack_values(values, rows[k]);
                for (int i = 0; i < N; i++)
                    sum[i] += values[i];
            }
        more = same[ADD_BATCH - 1];
    }
    for (int i = 0; i < N; i += PART) {
        pack<float, PART> p;
        for (int j = 0; j < PART; j++)
            p.words[j] = float_bits(sum[i + j]);
        pack_store(to + i, p);
    }
}

template <class T, int N>
static void launch_add(struct device *dev, struct tensor dw, struct tensor dx, const uint64_t *keys) {
    int64_t num_tokens = dx.dims[0], width = dx.dims[1];
    LAUNCH((embedding_add_kernel<T, N>),
           dim3((unsigned)num_tokens, (unsigned)divide_up(width, (int64_t)ADD_THREADS * N)),
           dim3(ADD_THREADS), 0, cuda_stream(dev), (float *)dw.data, (const T *)dx.data, keys, num_tokens,
           width);
}

template <class T>
static void embedding_gradient(struct device *dev, struct tensor dw, struct tensor dx, struct tensor tokens) {
    if (tensor_count(dx) == 0)
        return;
    uint64_t *memory = (uint64_t *)cuda_scratch(dev, 2 * (size_t)tokens.dims[0] * sizeof(uint64_t));
    const uint64_t *keys = sort_tokens(dev, memory, tokens, dw.dims[0]);
    if (is_aligned<T>(dx.data, dx.dims[1]) && is_aligned<float>(dw.data, dx.dims[1]))
        launch_add<T, VECTOR<T>>(dev, dw, dx, keys);
    else
        launch_add<T, 1>(dev, dw, dx, keys);
}

extern "C" void cuda_embedding_backward(struct device *dev, struct tensor dw, struct tensor dx,
                                        struct tensor tokens) {
    BY_TYPE(dx.dtype, embedding_gradient, dev, dw, dx, tokens);
}

extern "C" size_t cuda_vocab_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    (void)dev;
    return 2 * (size_t)limits->max_tokens * sizeof(uint64_t);
}

/* ---- Cross-entropy ---- */

/* One block of this many threads per multiprocessor: the rows in flight then fit L2, and the second pass
 * finds part of its row there. */
enum { LOSS_THREADS = 1024 };

template <class In, class Out> struct loss_rows {
    float *losses;
    Out *dlogits; /* may be logits */
    const In *logits;
    const int32_t *targets;
    const float *weights;
    int64_t vocabulary;
    float grad_scale;
};

/* How a row divides: packs of N from its first aligned element on, and single elements before and after. */
struct loss_span {
    int64_t head, num_packs;
    int num_single;
};

template <int N> DEV loss_span span_of(int64_t row_start, int64_t vocabulary) {
    int64_t head = (N - row_start % N) % N;
    head = head < vocabulary ? head : vocabulary;
    int64_t num_packs = (vocabulary - head) / N;
    return {head, num_packs, (int)(vocabulary - num_packs * N)};
}

/* single_at - the place of the i-th element outside the packs. */
template <int N> DEV int64_t single_at(const loss_span &span, int i) {
    return i < span.head ? i : i + span.num_packs * N;
}

/* Maximum so far, and the sum of e^(x - maximum). */
struct online_sum {
    float max, sum;
};

/* add_values - bring B packs into the sum: one rescaling for all.  The four partial sums keep the chain of
 * additions of a long row short, which is what its precision depends on.  A NaN stays in the sum. */
template <int N, int B> DEV void add_values(online_sum &so_far, const float (&x)[B][N]) {
    float max = so_far.max, part[4] = {so_far.sum, 0, 0, 0};
#pragma unroll
    for (int k = 0; k < B; k++)
        for (int i = 0; i < N; i++)
            max = fmaxf(max, x[k][i]);
    part[0] *= expf(so_far.max - max);
#pragma unroll
    for (int k = 0; k < B; k++)
        for (int i = 0; i < N; i++)
            part[(k * N + i) % 4] += expf(x[k][i] - max);
    so_far.max = max;
    so_far.sum = (part[0] + part[1]) + (part[2] + part[3]);
}

/* sum_over_block - the same for the whole block, the same bits in every thread.  shared: 2 f32 per warp. */
DEV online_sum sum_over_block(online_sum own, uint32_t shared) {
    float max = warp_max(own.max), sum = warp_sum(own.sum * expf(own.max - max));
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, num_warps = (int)blockDim.x / 32;
    if (lane == 0)
        shared_store8(shared + (uint32_t)warp * 8, make_uint2(float_bits(max), float_bits(sum)));
    block_barrier();
    uint2 theirs = make_uint2(float_bits(-FLT_MAX), 0);
    if (lane < num_warps)
        theirs = shared_load8(shared + (uint32_t)lane * 8);
    max = warp_max(bits_float(theirs.x));
    return {max, warp_sum(bits_float(theirs.y) * expf(bits_float(theirs.x) - max))};
}

/* read_row - the first pass: maximum and sum of the part of this thread. */
template <class In, int N, int B> DEV online_sum read_row(const In *row, const loss_span &span) {
    online_sum own = {-FLT_MAX, 0};
    for (int64_t first = threadIdx.x; first < span.num_packs; first += (int64_t)blockDim.x * B) {
        pack<In, N> packs[B];
        float x[B][N];
#pragma unroll
        for (int k = 0; k < B; k++) {
            int64_t p = first + (int64_t)k * blockDim.x;
            if (p < span.num_packs)
                packs[k] = pack_load<In, N>(row + span.head + p * N);
        }
#pragma unroll
        for (int k = 0; k < B; k++) {
            pack_values(x[k], packs[k]);
            for (int i = 0; first + (int64_t)k * blockDim.x >= span.num_packs && i < N; i++)
                x[k][i] = -INFINITY; /* past the end: adds nothing */
        }
        add_values(own, x);
    }
    if ((int)threadIdx.x < span.num_single) {
        float x[1][1] = {{to_f32(row[single_at<N>(span, (int)threadIdx.x)])}};
        add_values(own, x);
    }
    return own;
}

/* What turns logits into gradients: factor e^(x - max), less `hit` at the target. */
struct loss_slope {
    float max, factor, hit;
    int64_t target;
};

template <int N> DEV void slope_values(float (&x)[N], const loss_slope &slope, int64_t first) {
    for (int i = 0; i < N; i++) {
        x[i] = slope.factor * expf(x[i] - slope.max);
        if (first + i == slope.target)
            x[i] -= slope.hit;
    }
}

/* write_row - the second pass, from the end of the row, which L2 still holds. */
template <class In, class Out, int N, int B>
DEV void write_row(Out *to, const In *row, const loss_span &span, const loss_slope &slope) {
    int64_t stride = (int64_t)blockDim.x * B;
    for (int64_t round = (span.num_packs + stride - 1) / stride - 1; round >= 0; round--) {
        int64_t first = round * stride + threadIdx.x;
        pack<In, N> packs[B];
#pragma unroll
        for (int k = 0; k < B; k++) {
            int64_t p = first + (int64_t)k * blockDim.x;
            if (p < span.num_packs)
                packs[k] = pack_load_once<In, N>(row + span.head + p * N);
        }
#pragma unroll
        for (int k = 0; k < B; k++) {
            int64_t p = first + (int64_t)k * blockDim.x, at = span.head + p * N;
            float x[N];
            pack_values(x, packs[k]);
            slope_values(x, slope, at);
            if (p < span.num_packs)
                pack_store(to + at, pack_of<Out>(x));
        }
    }
    if ((int)threadIdx.x < span.num_single) {
        int64_t at = single_at<N>(span, (int)threadIdx.x);
        float x[1] = {to_f32(row[at])};
        slope_values(x, slope, at);
        to[at] = from_f32<Out>(x[0]);
    }
}

template <class Out, int N> DEV void clear_row(Out *to, const loss_span &span) {
    for (int64_t p = threadIdx.x; p < span.num_packs; p += blockDim.x)
        pack_store(to + span.head + p * N, pack_filled<Out, N>(0));
    if ((int)threadIdx.x < span.num_single)
        to[single_at<N>(span, (int)threadIdx.x)] = from_f32<Out>(0);
}

/* One block per row.  A row without weight is not read. */
template <class In, class Out, int N>
static __global__ void __launch_bounds__(LOSS_THREADS, 1) cross_entropy_kernel(loss_rows<In, Out> r) {
    constexpr int B = 16 / (int)sizeof(In); /* 64 bytes in flight per thread where N is 4 */
    DYN_SHARED(shared);
    int64_t start = blockIdx.x * r.vocabulary;
    loss_span span = span_of<N>(start, r.vocabulary);
    float weight = r.weights[blockIdx.x];
    if (weight == 0) { /* all threads alike */
        if (threadIdx.x == 0)
            r.losses[blockIdx.x] = 0;
        if (r.grad_scale != 0)
            clear_row<Out, N>(r.dlogits + start, span);
        return;
    }
    const In *row = r.logits + start;
    int64_t target = r.targets[blockIdx.x];
    bool known = target >= 0 && target < r.vocabulary;
    float target_logit = known ? to_f32(row[target]) : NAN; /* before the gradient may lie there */
    online_sum all = sum_over_block(read_row<In, N, B>(row, span), shared_address(shared));
    if (threadIdx.x == 0)
        r.losses[blockIdx.x] =
            (float)((double)weight * (log((double)all.sum) + (double)all.max - (double)target_logit));
    float scale = known ? r.grad_scale * weight : NAN;
    if (r.grad_scale != 0)
        write_row<In, Out, N, B>(r.dlogits + start, row, span, {all.max, scale / all.sum, scale, target});
}

template <class In, class Out, int N>
static void launch_loss(struct device *dev, const loss_rows<In, Out> &r, int64_t num_rows) {
    int64_t batch = 16 / (int64_t)sizeof(In) * N;
    int threads = whole_warps(divide_up(r.vocabulary, batch), LOSS_THREADS);
    LAUNCH((cross_entropy_kernel<In, Out, N>), dim3((unsigned)num_rows), dim3((unsigned)threads),
           (size_t)threads / 32 * 8, cuda_stream(dev), r);
}

template <class In, class Out>
static void loss(struct device *dev, struct tensor losses, struct tensor dlogits, struct tensor logits,
                 struct tensor targets, struct tensor weights, float grad_scale) {
    constexpr int N = 4;
    loss_rows<In, Out> r = {(float *)losses.data,
                            (Out *)dlogits.data,
                            (const In *)logits.data,
                            (const int32_t *)targets.data,
                            (const float *)weights.data,
                            logits.dims[1],
                            grad_scale};
    if (logits.dims[0] == 0)
        return;
    if ((uintptr_t)r.logits % (N * sizeof(In)) == 0 && (uintptr_t)r.dlogits % (N * sizeof(Out)) == 0)
        launch_loss<In, Out, N>(dev, r, logits.dims[0]);
    else
        launch_loss<In, Out, 1>(dev, r, logits.dims[0]);
}

template <class Out>
static void loss_from(struct device *dev, struct tensor losses, struct tensor dlogits, struct tensor logits,
                      struct tensor targets, struct tensor weights, float grad_scale) {
    if (logits.dtype == DTYPE_F32)
        loss<float, Out>(dev, losses, dlogits, logits, targets, weights, grad_scale);
    else if (logits.dtype == DTYPE_BF16)
        loss<bf16_t, Out>(dev, losses, dlogits, logits, targets, weights, grad_scale);
    else
        loss<f16_t, Out>(dev, losses, dlogits, logits, targets, weights, grad_scale);
}

extern "C" void cuda_cross_entropy(struct device *dev, struct tensor losses, struct tensor dlogits,
                                   struct tensor logits, struct tensor targets, struct tensor weights,
                                   float grad_scale) {
    if (grad_scale == 0) /* dlogits may be no tensor at all */
        dlogits = logits;
    BY_TYPE(dlogits.dtype, loss_from, dev, losses, dlogits, logits, targets, weights, grad_scale);
}
