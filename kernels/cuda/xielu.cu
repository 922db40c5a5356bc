/* xielu.cu - the activation xIELU, whatever the shape, and the gradients of its two learnt values.
 *
 *                       bytes per element                            bound
 *   forward             read x, write y         2 sizeof(T)          memory
 *   backward            read x, dy, write dx    3 sizeof(T)          memory
 *
 * The backward has a fixed number of blocks on a GPU, each with every so many-th tile; a second launch adds what the
 * blocks found, each lane every 32nd block, then the lanes: no order depends on the schedule. */
#include <math.h>

#include "kernels/cuda/vector.cuh"

enum { BLOCKS_PER_SM = 4 };

/* The four values as they lie in memory. */
template <class T> struct xielu_values {
    const T *alpha_p, *alpha_n, *beta, *eps;
};

/* The same as the formula takes them. */
struct xielu_constants {
    float positive, negative, beta, eps; /* softplus(alpha_p), beta + softplus(alpha_n) */
};

template <class T> DEV float value_at(const T *from) {
    float value[1];
    pack_values(value, pack_load<T, 1>(from));
    return value[0];
}

DEV float softplus(float a) {
    return (a < 0 ? 0.0f : a) + log1pf(expf(-fabsf(a)));
}

template <class T> DEV xielu_constants constants_of(const xielu_values<T> &v) {
    const float beta = value_at(v.beta);
    return {softplus(value_at(v.alpha_p)), beta + softplus(value_at(v.alpha_n)), beta, value_at(v.eps)};
}

/* A NaN is neither above zero nor above eps: it stays. */
DEV float xielu_value(float x, const xielu_constants &c) {
    const float least = x > c.eps ? c.eps : x;
    return (x > 0 ? c.positive * x * x : c.negative * (expm1f(least) - x)) + c.beta * x;
}

template <class T> struct xielu_forward_op {
    enum { WIDTH = VECTOR<T>, BATCH = 2 };
    T *y;
    const T *x;
    xielu_values<T> values;
};

template <class T, int N, int B>
DEV void flat_run(const xielu_forward_op<T> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
    const xielu_constants c = constants_of(op.values);
    pack<T, N> x[B];
#pragma unroll
    for (int k = 0; k < B; k++)
        x[k] = pack_load_once<T, N>(op.x + first + k * stride);
#pragma unroll
    for (int k = 0; k < B; k++) {
        float values[N];
        pack_values(values, x[k]);
        for (int i = 0; i < N; i++)
            values[i] = xielu_value(values[i], c);
        pack_store(op.y + first + k * stride, pack_of<T>(values));
    }
}

template <class T> struct xielu_backward_op {
    enum { WIDTH = VECTOR<T>, BATCH = 2 };
    T *dx; /* may be x */
    const T *dy, *x;
    xielu_constants c;
    float above, below; /* this thread's sums: dy x^2 above zero, dy (e^min(x, eps) - 1 - x) below */
};

template <class T, int N, int B>
DEV void flat_run(xielu_backward_op<T> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
    pack<T, N> x[B], dy[B];
#pragma unroll
    for (int k = 0; k < B; k++) {
        x[k] = pack_load_once<T, N>(op.x + first + k * stride);
        dy[k] = pack_load_once<T, N>(op.dy + first + k * stride);
    }
#pragma unroll
    for (int k = 0; k < B; k++) {
        float values[N], slopes[N];
        pack_values(values, x[k]);
        pack_values(slopes, dy[k]);
        for (int i = 0; i < N; i++) {
            const float v = values[i], least = v > op.c.eps ? op.c.eps : v, grown = expm1f(least);
            op.above += v > 0 ? slopes[i] * v * v : 0.0f;
            op.below += v > 0 ? 0.0f : slopes[i] * (grown - v);
            const float slope = v > 0 ? 2 * op.c.positive * v : op.c.negative * (v >= op.c.eps ? -1.0f : grown);
            values[i] = slopes[i] * (slope + op.c.beta);
        }
        pack_store(op.dx + first + k * stride, pack_of<T>(values));
    }
}

/* Shared memory: two slots per warp.  partial [blocks, 2]. */
template <class T>
static __global__ void __launch_bounds__(FLAT_THREADS, BLOCKS_PER_SM)
    xielu_backward_kernel(xielu_backward_op<T> op, xielu_values<T> values, flat_range range, int64_t num_tiles,
                          float *partial) {
    constexpr int WARPS = FLAT_THREADS / 32;
    DYN_SHARED(shared);
    const uint32_t slots = shared_address(shared);
    op.c = constants_of(values);
    for (int64_t tile = blockIdx.x; tile < num_tiles; tile += gridDim.x)
        flat_tile(op, range, tile);
    const float above = team_sum(op.above, {WARPS, 0, slots}), below = team_sum(op.below, {WARPS, 0, slots + WARPS * 4});
    if (threadIdx.x == 0) {
        partial[2 * blockIdx.x] = above;
        partial[2 * blockIdx.x + 1] = below;
    }
}

/* One warp: dalpha += sum of the blocks' parts times the logistic function of alpha; NULL: not wanted. */
template <class T>
static __global__ void __launch_bounds__(32)
    xielu_sums_kernel(float *dalpha_p, float *dalpha_n, const float *partial, int num_partials, xielu_values<T> values) {
    float above = 0, below = 0;
    for (int i = (int)threadIdx.x; i < num_partials; i += 32) {
        above += partial[2 * i];
        below += partial[2 * i + 1];
    }
    above = warp_sum(above);
    below = warp_sum(below);
    if (threadIdx.x == 0 && dalpha_p)
        *dalpha_p += above / (1 + expf(-value_at(values.alpha_p)));
    if (threadIdx.x == 0 && dalpha_n)
        *dalpha_n += below / (1 + expf(-value_at(values.alpha_n)));
}

template <class T> static xielu_values<T> values_of(const struct xielu *xielu) {
    return {(const T *)xielu->alpha_p.data, (const T *)xielu->alpha_n.data, (const T *)xielu->beta.data,
            (const T *)xielu->eps.data};
}

template <class T>
static void forward(struct device *dev, struct tensor y, struct tensor x, const struct xielu *xielu) {
    const flat_operand operands[] = {{y.data, sizeof(T)}, {x.data, sizeof(T)}};
    const xielu_forward_op<T> op = {(T *)y.data, (const T *)x.data, values_of<T>(xielu)};
    flat_launch(dev, op, flat_range_of(tensor_count(y), VECTOR<T>, operands, 2));
}

extern "C" void cuda_xielu_forward(struct device *dev, struct tensor y, struct tensor x, const struct xielu *xielu) {
    BY_TYPE(y.dtype, forward, dev, y, x, xielu);
}

template <class T>
static void backward(struct device *dev, struct tensor dx, struct xielu_grad d, struct tensor dy, struct tensor x,
                     const struct xielu *xielu) {
    const flat_operand operands[] = {{dx.data, sizeof(T)}, {dy.data, sizeof(T)}, {x.data, sizeof(T)}};
    const flat_range range = flat_range_of(tensor_count(dx), VECTOR<T>, operands, 3);
    const xielu_backward_op<T> op = {(T *)dx.data, (const T *)dy.data, (const T *)x.data, {}, 0, 0};
    const int64_t num_tiles = flat_num_tiles<xielu_backward_op<T>>(range), most = BLOCKS_PER_SM * cuda_num_sms(dev);
    const int num_blocks = (int)(num_tiles < most ? num_tiles : most);
    if (range.count == 0)
        return;
    float *partial = (float *)cuda_scratch(dev, (size_t)(2 * num_blocks) * sizeof(float));
    LAUNCH(xielu_backward_kernel<T>, dim3((unsigned)num_blocks), dim3(FLAT_THREADS),
           2 * FLAT_THREADS / 32 * sizeof(float), cuda_stream(dev), op, values_of<T>(xielu), range, num_tiles, partial);
    LAUNCH(xielu_sums_kernel<T>, dim3(1), dim3(32), 0, cuda_stream(dev), (float *)d.alpha_p.data,
           (float *)d.alpha_n.data, (const float *)partial, num_blocks, values_of<T>(xielu));
}

extern "C" void cuda_xielu_backward(struct device *dev, struct tensor dx, struct xielu_grad d, struct tensor dy,
                                    struct tensor x, const struct xielu *xielu) {
    BY_TYPE(dx.dtype, backward, dev, dx, d, dy, x, xielu);
}

extern "C" size_t cuda_xielu_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    (void)limits;
    return (size_t)(2 * BLOCKS_PER_SM * cuda_num_sms(dev)) * sizeof(float);
}
