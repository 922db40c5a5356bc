/* gated.cu - the gated activations silu(gate) up and gelu(gate) up, forward and backward.
 *
 *                       bytes per element of y (T of 2 bytes)        bound
 *   forward             read gate, up, write y                6      memory; about 30 instructions of 41 that
 * fit backward            read dy, gate, up, write both        10      memory
 *
 * One sigmoid per element; gelu takes its tanh formula as g sigmoid(2 z). */
#include "kernels/cuda/largest.cuh"

/* Packs per thread: eight loads in flight forward, six backward. */
enum { FORWARD_BATCH = 4, BACKWARD_BATCH = 2, GATED_THREADS = 256 };

template <class T> struct gated_rows {
    T *out;      /* y [N, F], or dgate_up [N, 2F]; that may be gate_up itself */
    const T *dy; /* backward only */
    const T *gate_up;
    int64_t width;     /* F */
    uint32_t *largest; /* of out, where it is wanted; else NULL */
};

/* An activation and its slope at one gate value. */
struct activation {
    float value, slope;
};

/* With s = sigmoid(g): silu = g s, slope s (1 + g (1 - s)).
 * With s = sigmoid(2 z), z = sqrt(2 / pi) (g + 0.044715 g^3): gelu = g s, slope s (1 + g (1 - s) 2 z').
 * The slope takes g no farther from zero than FAR, where it is 0 or 1 already: the square of a gate beyond 4e19 is
 * infinite, and that times 1 - s, which is 0, no number; with a larger FAR the last bit of s would still count.  A NaN
 * passes through s. */
template <enum gate GATE> DEV activation activate(float g) {
    constexpr float TWO_ROOT = 1.59576912f, CUBIC = 0.044715f; /* 2 sqrt(2 / pi) */
    constexpr float FAR = GATE == GATE_SILU ? 128 : 16;
    float twice_z = GATE == GATE_SILU ? g : TWO_ROOT * (g + CUBIC * g * g * g);
    float near = fminf(fmaxf(g, -FAR), FAR), s = sigmoid_approx(twice_z);
    float twice_slope = GATE == GATE_SILU ? 1.0f : TWO_ROOT * (1.0f + 3.0f * CUBIC * near * near);
    return {g * s, s * (1.0f + near * (1.0f - s) * twice_slope)};
}

/* raise - the largest magnitude to what this block found.  Shared memory: a word for each warp. */
template <class T> DEV void raise(const gated_rows<T> &r, uint32_t value) {
    DYN_SHARED(shared);
    raise_largest(r.largest, value, (int)blockDim.x / 32, shared_address(shared));
}

/* Blocks: x is the row, y the part of its width; threads stand next to each other in a part.  LARGEST: the largest magnitude is found, too,
 * of bf16 alone. */
template <class T, int N, enum gate GATE, bool LARGEST> DEV void forward_part(const gated_rows<T> &r) {
    uint32_t value = 0;
    int64_t row = blockIdx.x, first = (int64_t)blockIdx.y * blockDim.x * FORWARD_BATCH + threadIdx.x;
    const T *gate_row = r.gate_up + row * 2 * r.width, *up_row = gate_row + r.width;
    pack<T, N> gate[FORWARD_BATCH], up[FORWARD_BATCH];
#pragma unroll
    for (int k = 0; k < FORWARD_BATCH; k++) {
        int64_t f = (first + k * blockDim.x) * N;
        gate[k] = f < r.width ? pack_load_once<T, N>(gate_row + f) : pack_filled<T, N>(0);
        up[k] = f < r.width ? pack_load_once<T, N>(up_row + f) : pack_filled<T, N>(0);
    }
#pragma unroll
    for (int k = 0; k < FORWARD_BATCH; k++) {
        int64_t f = (first + k * blockDim.x) * N;
        float g[N], u[N];
        pack_values(g, gate[k]);
        pack_values(u, up[k]);
        for (int i = 0; i < N; i++)
            u[i] *= activate<GATE>(g[i]).value;
        if (f >= r.width)
            continue;
        pack<T, N> y = pack_of<T>(u);
        pack_store(r.out + row * r.width + f, y);
        if constexpr (LARGEST)
            value = pack_largest(value, y);
    }
    if constexpr (LARGEST)
        raise(r, value);
}

template <class T, int N, enum gate GATE>
static __global__ void __launch_bounds__(GATED_THREADS) gated_forward_kernel(gated_rows<T> r) {
    forward_part<T, N, GATE, false>(r);
}

template <int N, enum gate GATE>
static __global__ void __launch_bounds__(GATED_THREADS) gated_forward_largest_kernel(gated_rows<bf16_t> r) {
    forward_part<bf16_t, N, GATE, true>(r);
}

template <class T, int N, enum gate GATE, bool LARGEST> DEV void backward_part(const gated_rows<T> &r) {
    uint32_t value = 0;
    int64_t row = blockIdx.x, first = (int64_t)blockIdx.y * blockDim.x * BACKWARD_BATCH + threadIdx.x;
    const T *gate_row = r.gate_up + row * 2 * r.width, *up_row = gate_row + r.width;
    T *dgate_row = r.out + row * 2 * r.width, *dup_row = dgate_row + r.width;
    pack<T, N> gate[BACKWARD_BATCH], up[BACKWARD_BATCH], dy[BACKWARD_BATCH];
#pragma unroll
    for (int k = 0; k < BACKWARD_BATCH; k++) {
        int64_t f = (first + k * blockDim.x) * N;
        gate[k] = f < r.width ? pack_load_once<T, N>(gate_row + f) : pack_filled<T, N>(0);
        up[k] = f < r.width ? pack_load_once<T, N>(up_row + f) : pack_filled<T, N>(0);
        dy[k] = f < r.width ? pack_load_once<T, N>(r.dy + row * r.width + f) : pack_filled<T, N>(0);
    }
#pragma unroll
    for (int k = 0; k < BACKWARD_BATCH; k++) {
        int64_t f = (first + k * blockDim.x) * N;
        float g[N], u[N], d[N];
        pack_values(g, gate[k]);
        pack_values(u, up[k]);
        pack_values(d, dy[k]);
        for (int i = 0; i < N; i++) {
            activation a = activate<GATE>(g[i]);
            g[i] = d[i] * u[i] * a.slope;
            u[i] = d[i] * a.value;
        }
        if (f >= r.width)
            continue;
        pack<T, N> dgate = pack_of<T>(g), dup = pack_of<T>(u);
        pack_store(dgate_row + f, dgate);
        pack_store(dup_row + f, dup);
        if constexpr (LARGEST)
            value = pack_largest(pack_largest(value, dgate), dup);
    }
    if constexpr (LARGEST)
        raise(r, value);
}

template <class T, int N, enum gate GATE>
static __global__ void __launch_bounds__(GATED_THREADS) gated_backward_kernel(gated_rows<T> r) {
    backward_part<T, N, GATE, false>(r);
}

template <int N, enum gate GATE>
static __global__ void __launch_bounds__(GATED_THREADS) gated_backward_largest_kernel(gated_rows<bf16_t> r) {
    backward_part<bf16_t, N, GATE, true>(r);
}

/* launch_plain, launch_largest - of either direction. */
template <class T, int N, enum gate GATE>
static void launch_plain(struct device *dev, const gated_rows<T> &r, dim3 grid, dim3 block) {
    auto *kernel = r.dy ? gated_backward_kernel<T, N, GATE> : gated_forward_kernel<T, N, GATE>;
    LAUNCH(kernel, grid, block, 0, cuda_stream(dev), r);
}

template <int N, enum gate GATE>
static void launch_largest(struct device *dev, const gated_rows<bf16_t> &r, dim3 grid, dim3 block) {
    auto *kernel = r.dy ? gated_backward_largest_kernel<N, GATE> : gated_forward_largest_kernel<N, GATE>;
    cuda_zero(dev, r.largest, sizeof *r.largest);
    LAUNCH(kernel, grid, block, block.x / 32 * sizeof(uint32_t), cuda_stream(dev), r);
}

template <class T, int N, enum gate GATE>
static void launch(struct device *dev, const gated_rows<T> &r, int64_t num_rows) {
    int batch = r.dy ? BACKWARD_BATCH : FORWARD_BATCH;
    int64_t packs = divide_up(r.width, N), parts = divide_up(packs, GATED_THREADS * batch);
    /* As many threads as make the parts of a row equal. */
    int threads = whole_warps(divide_up(packs, parts * batch), GATED_THREADS);
    dim3 grid((unsigned)num_rows, (unsigned)divide_up(packs, (int64_t)threads * batch));
    dim3 block((unsigned)threads);
    if constexpr (HAS_LARGEST<T>)
        if (r.largest) {
            launch_largest<N, GATE>(dev, r, grid, block);
            return;
        }
    launch_plain<T, N, GATE>(dev, r, grid, block);
}

template <class T, int N>
static void launch_gate(struct device *dev, const gated_rows<T> &r, int64_t num_rows, enum gate gate) {
    if (gate == GATE_SILU)
        launch<T, N, GATE_SILU>(dev, r, num_rows);
    else
        launch<T, N, GATE_GELU_TANH>(dev, r, num_rows);
}

template <class T>
static void gated(struct device *dev, struct tensor out, struct tensor dy, struct tensor gate_up,
                  enum gate gate, uint32_t *largest) {
    int64_t num_rows = gate_up.dims[0], width = gate_up.dims[1] / 2;
    gated_rows<T> r = {(T *)out.data, (const T *)dy.data, (const T *)gate_up.data, width, largest};
    if (num_rows == 0 || width == 0)
        return;
    if (is_aligned<T>(r.out, width) && is_aligned<T>(r.dy, width) && is_aligned<T>(r.gate_up, width))
        launch_gate<T, VECTOR<T>>(dev, r, num_rows, gate);
    else
        launch_gate<T, 1>(dev, r, num_rows, gate);
}

extern "C" void cuda_glu_forward(struct device *dev, struct tensor y, struct tensor gate_up, enum gate gate,
                                 uint32_t *largest) {
    struct tensor none = {};
    BY_TYPE(y.dtype, gated, dev, y, none, gate_up, gate, largest);
}

extern "C" void cuda_glu_backward(struct device *dev, struct tensor dgate_up, struct tensor dy,
                                  struct tensor gate_up, enum gate gate, uint32_t *largest) {
    BY_TYPE(dy.dtype, gated, dev, dgate_up, dy, gate_up, gate, largest);
}
