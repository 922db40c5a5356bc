/* update.cu - AdamW and the sum of squares for clipping.
 *
 *                       bytes per element                            bound
 *   adamw               w 8, dw 4, m and v 16 (f32) or 8 (bf16),     memory; 83 to 110 instructions with bf16
 *                       copy 2                                       moments of 150 that fit
 *   sum_squares         sizeof(T), read                              memory
 *
 * Four elements per access: 16 bytes of f32, 8 of bf16, so that all streams stay side by side. */
#include "kernels/adamw.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/philox.h"
#include "kernels/rng.h"

/* M: type of the moments.  C: type of the copy. */
template <class M, class C> struct adamw_op {
    enum { WIDTH = 4, BATCH = 2 };
    float *w;
    M *m, *v;
    C *copy; /* or NULL */
    const float *dw;
    adamw_factors factors;
    uint64_t seed, stream;
    int64_t first; /* index of element 0 in the model */
};

/* random_words - one word for each of the elements [place, place + N) of the model, N at most 4: word i % 4
 * of block i / 4, whoever draws it.  Elements that begin on a block, the usual case, cost one block. */
template <int N> DEV void random_words(uint32_t (&words)[N], uint64_t seed, uint64_t stream, uint64_t place) {
    struct philox a = philox_block(seed, stream, place / 4), b = a;
    int skipped = (int)(place % 4);
    if (skipped + N > 4)
        b = philox_block(seed, stream, place / 4 + 1);
    uint32_t all[8];
    for (int i = 0; i < 4; i++) {
        all[i] = a.words[i];
        all[4 + i] = b.words[i];
    }
    /* Move down by `skipped` in two steps of fixed distance, chosen by masks: a choice between two elements
     * becomes an index known at run time, which would put the words into memory. */
    uint32_t two = skipped & 2 ? ~0u : 0, one = skipped & 1 ? ~0u : 0;
    for (int i = 0; i < 6; i++)
        all[i] = (all[i + 2] & two) | (all[i] & ~two);
    for (int i = 0; i < 5; i++)
        all[i] = (all[i + 1] & one) | (all[i] & ~one);
    for (int i = 0; i < N; i++)
        words[i] = all[i];
}

/* store_moment - f32 moments as they are; bf16 rounded at random by 16 bits of each word. */
template <int N> DEV void store_moment(float *to, const float (&values)[N], const uint32_t *, int) {
    pack_store(to, pack_of<float>(values));
}

template <int N>
DEV void store_moment(bf16_t *to, const float (&values)[N], const uint32_t *random, int shift) {
    uint16_t rounded[N];
    pack<bf16_t, N> p;
    for (int i = 0; i < N; i++)
        rounded[i] = bf16_at_random(float_bits(values[i]), random[i] >> shift);
    for (int i = 0; i < N; i += 2)
        p.words[i / 2] = rounded[i] | (N > 1 ? (uint32_t)rounded[N > 1 ? i + 1 : 0] << 16 : 0);
    pack_store(to, p);
}

/* update_values - one step, in the order of operations of the CPU, but that nvcc fuses products and sums: about a quarter
 * of the moments differ from the CPU's in the last bit. */
template <int N>
DEV void update_values(float (&w)[N], float (&m)[N], float (&v)[N], const float (&dw)[N],
                       const adamw_factors &f) {
    for (int i = 0; i < N; i++) {
        float g = f.grad_scale * dw[i];
        m[i] = f.beta1 * m[i] + (1.0f - f.beta1) * g;
        v[i] = f.beta2 * v[i] + (1.0f - f.beta2) * g * g;
        w[i] = w[i] * f.keep - f.step_size * m[i] / (sqrtf(v[i]) * f.inv_root + f.eps);
    }
}

template <class M, class C, int N, int B>
DEV void flat_run(const adamw_op<M, C> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
    pack<float, N> w[B], dw[B];
    pack<M, N> m[B], v[B];
#pragma unroll
    for (int k = 0; k < B; k++) {
        w[k] = pack_load_once<float, N>(op.w + first + k * stride);
        dw[k] = pack_load_once<float, N>(op.dw + first + k * stride);
        m[k] = pack_load_once<M, N>(op.m + first + k * stride);
        v[k] = pack_load_once<M, N>(op.v + first + k * stride);
    }
#pragma unroll
    for (int k = 0; k < B; k++) {
        int64_t at = first + k * stride;
        float weights[N], mean[N], square[N], gradient[N];
        uint32_t random[N] = {};
        pack_values(weights, w[k]);
        pack_values(mean, m[k]);
        pack_values(square, v[k]);
        pack_values(gradient, dw[k]);
        update_values(weights, mean, square, gradient, op.factors);
        if constexpr (sizeof(M) == 2)
            random_words(random, op.seed, op.stream, (uint64_t)(op.first + at));
        store_moment(op.m + at, mean, random, 0);
        store_moment(op.v + at, square, random, 16);
        pack_store(op.w + at, pack_of<float>(weights));
        if (op.copy)
            pack_store(op.copy + at, pack_of<C>(weights));
    }
}

template <class M, class C>
static void adamw(struct device *dev, struct tensor w, struct tensor m, struct tensor v, struct tensor copy,
                  struct tensor dw, const struct adamw_args *args) {
    adamw_op<M, C> op = {};
    op.w = (float *)w.data;
    op.m = (M *)m.data;
    op.v = (M *)v.data;
    op.copy = (C *)copy.data;
    op.dw = (const float *)dw.data;
    op.factors = adamw_factors_of(args);
    op.seed = args->seed;
    op.stream = args->stream;
    op.first = args->first;
    flat_operand operands[] = {{w.data, sizeof(float)},
                               {dw.data, sizeof(float)},
                               {m.data, sizeof(M)},
                               {v.data, sizeof(M)},
                               {copy.data, sizeof(C)}};
    flat_launch(dev, op, flat_range_of(w.dims[0], op.WIDTH, operands, copy.data ? 5 : 4));
}

extern "C" void cuda_adamw(struct device *dev, struct tensor w, struct tensor m, struct tensor v,
                           struct tensor copy, struct tensor dw, const struct adamw_args *args) {
    bool half_copy = copy.data && copy.dtype == DTYPE_F16;
    if (m.dtype == DTYPE_F32 && half_copy)
        adamw<float, f16_t>(dev, w, m, v, copy, dw, args);
    else if (m.dtype == DTYPE_F32)
        adamw<float, bf16_t>(dev, w, m, v, copy, dw, args);
    else if (half_copy)
        adamw<bf16_t, f16_t>(dev, w, m, v, copy, dw, args);
    else
        adamw<bf16_t, bf16_t>(dev, w, m, v, copy, dw, args);
}

/* ---- Sum of squares ---- */

/* Partial sums, whatever the GPU: the order of the additions must not depend on it.  One wave of blocks on an
 * H200. */
enum { NUM_SUMS = 1024 };

/* What one thread gathers: f64 from the product on, one sum for each load in flight. */
template <class T> struct squares_op {
    enum { WIDTH = VECTOR<T>, BATCH = 4 };
    const T *x;
    double sums[BATCH];
};

template <class T, int N, int B>
DEV void flat_run(squares_op<T> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
    pack<T, N> x[B];
#pragma unroll
    for (int k = 0; k < B; k++)
        x[k] = pack_load_once<T, N>(op.x + first + k * stride);
#pragma unroll
    for (int k = 0; k < B; k++) {
        float values[N];
        pack_values(values, x[k]);
        for (int i = 0; i < N; i++)
            op.sums[k] += (double)values[i] * (double)values[i];
    }
}

DEV double shared_load_f64(uint32_t sums, int i) {
    uint2 v = shared_load8(sums + (uint32_t)i * 8);
    uint64_t bits = v.x | (uint64_t)v.y << 32;
    double sum;
    memcpy(&sum, &bits, sizeof sum);
    return sum;
}

DEV void shared_store_f64(uint32_t sums, int i, double sum) {
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    shared_store8(sums + (uint32_t)i * 8, make_uint2((uint32_t)bits, (uint32_t)(bits >> 32)));
}

/* Block b sums the tiles b, b + NUM_SUMS, ...  Shared memory: FLAT_THREADS f64. */
template <class T>
static __global__ void __launch_bounds__(FLAT_THREADS, 4)
    sum_squares_kernel(double *sums, const T *x, flat_range range, int64_t num_tiles) {
    DYN_SHARED(memory);
    uint32_t shared = shared_address(memory);
    squares_op<T> op = {x, {}};
    for (int64_t tile = blockIdx.x; tile < num_tiles; tile += gridDim.x)
        flat_tile(op, range, tile);
    int thread = (int)threadIdx.x;
    shared_store_f64(shared, thread, (op.sums[0] + op.sums[1]) + (op.sums[2] + op.sums[3]));
    for (int half = FLAT_THREADS / 2; half; half /= 2) {
        block_barrier();
        if (thread < half)
            shared_store_f64(shared, thread,
                             shared_load_f64(shared, thread) + shared_load_f64(shared, thread + half));
    }
    if (thread == 0)
        sums[blockIdx.x] = shared_load_f64(shared, 0);
}

template <class T> static int launch_squares(struct device *dev, double *sums, struct tensor x) {
    flat_operand operand = {x.data, sizeof(T)};
    flat_range range = flat_range_of(tensor_count(x), VECTOR<T>, &operand, 1);
    int64_t num_tiles = flat_num_tiles<squares_op<T>>(range);
    int blocks = num_tiles < NUM_SUMS ? (int)num_tiles : NUM_SUMS;
    LAUNCH(sum_squares_kernel<T>, dim3((unsigned)blocks), dim3(FLAT_THREADS), FLAT_THREADS * sizeof(double),
           cuda_stream(dev), sums, (const T *)x.data, range, num_tiles);
    return blocks;
}

template <class T> static void sum_squares(struct device *dev, struct tensor x, double *total) {
    double *sums = (double *)cuda_scratch(dev, NUM_SUMS * sizeof(double)), host[NUM_SUMS];
    int count = launch_squares<T>(dev, sums, x);
    dev->ops->download(dev, host, sums, (size_t)count * sizeof(double));
    for (int i = 0; i < count; i++)
        *total += host[i];
}

extern "C" double cuda_sum_squares(struct device *dev, struct tensor x) {
    double total = 0;
    if (tensor_count(x))
        BY_TYPE(x.dtype, sum_squares, dev, x, &total);
    return total;
}

extern "C" size_t cuda_update_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    (void)dev, (void)limits;
    return NUM_SUMS * sizeof(double);
}
