/* vocab.cu - token embedding and its gradient; the loss over the vocabulary is in cross_entropy.cu.
 *
 *                       bytes                                        bound
 *   embedding           4 per element of x (T of 2 bytes)            memory
 *   its gradient        2 per element of dx, 8 per element of the    memory; before it a few short kernels
 *                       rows of dw that occur                        sort the tokens
 *
 * Ids come from files, and a kernel cannot die: a token outside the vocabulary becomes a row of NaN, which
 * the guard of the loss reports, and has no gradient. */
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
    bool same[ADD_BATCH];
    do { /* the places of a token follow each other */
        uint64_t key[ADD_BATCH];
        pack<T, N> rows[ADD_BATCH];
#pragma unroll
        for (int k = 0; k < ADD_BATCH; k++)
            key[k] = place + k < num_tokens ? keys[place + k] : NO_KEY;
#pragma unroll
        for (int k = 0; k < ADD_BATCH; k++) {
            same[k] = key[k] >> 32 == token;
            if (same[k])
                rows[k] = pack_load_once<T, N>(dx + (int64_t)(uint32_t)key[k] * width + column);
        }
#pragma unroll
        for (int k = 0; k < ADD_BATCH; k++)
            if (same[k]) {
                float values[N];
                pack_values(values, rows[k]);
                for (int i = 0; i < N; i++)
                    sum[i] += values[i];
            }
        place += ADD_BATCH;
    } while (same[ADD_BATCH - 1]);
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
