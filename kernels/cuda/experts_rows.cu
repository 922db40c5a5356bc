/* experts_rows.cu - rows to experts and back.
 *
 *                       bytes (T of 2 bytes, K choices a row of C)        bound
 *   spread              2 C (1 + K) a row: read once, written K times     memory
 *   collect             2 C (1 + K)                                       memory
 *   its gradient        2 C (1 + 2 K): dy is read K times, by warps of    memory
 *                       one block, from memory once
 */
#include "kernels/cuda/vector.cuh"

enum { MOVE_THREADS = 256, MOVE_BATCH = 4, DOT_WARPS = 8 };

template <class T> struct moving {
    T *y;
    const T *x;
    const int32_t *places;
    const float *weights; /* NULL: each 1 */
    int64_t num_rows, width;
    int num_chosen;
};

/* One row per team of blockDim.x threads, blockDim.y rows per block: read once, written K times. */
template <class T, int N> static __global__ void __launch_bounds__(MOVE_THREADS) spread_kernel(moving<T> m) {
    int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y, stride = (int64_t)blockDim.x * N;
    if (row >= m.num_rows)
        return;
    const int32_t *places = m.places + row * m.num_chosen;
    for (int64_t first = (int64_t)threadIdx.x * N; first < m.width; first += MOVE_BATCH * stride) {
        pack<T, N> values[MOVE_BATCH];
#pragma unroll
        for (int i = 0; i < MOVE_BATCH; i++)
            if (first + i * stride < m.width)
                values[i] = pack_load<T, N>(m.x + row * m.width + first + i * stride);
        for (int k = 0; k < m.num_chosen; k++) {
            T *to = m.y + places[k] * m.width + first;
#pragma unroll
            for (int i = 0; i < MOVE_BATCH; i++)
                if (first + i * stride < m.width)
                    pack_store(to + i * stride, values[i]);
        }
    }
}

/* The same teams; the sum of an element runs over k in its order, MOVE_BATCH of them in flight. */
template <class T, int N> static __global__ void __launch_bounds__(MOVE_THREADS) collect_kernel(moving<T> m) {
    int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y, first_choice = row * m.num_chosen;
    if (row >= m.num_rows)
        return;
    const int32_t *places = m.places + first_choice;
    for (int64_t c = (int64_t)threadIdx.x * N; c < m.width; c += (int64_t)blockDim.x * N) {
        float sum[N] = {};
        for (int k = 0; k < m.num_chosen; k += MOVE_BATCH) {
            pack<T, N> packs[MOVE_BATCH];
#pragma unroll
            for (int i = 0; i < MOVE_BATCH; i++)
                if (k + i < m.num_chosen)
                    packs[i] = pack_load<T, N>(m.x + places[k + i] * m.width + c);
#pragma unroll
            for (int i = 0; i < MOVE_BATCH; i++) {
                if (k + i >= m.num_chosen)
                    continue;
                float values[N], weight = m.weights ? m.weights[first_choice + k + i] : 1;
                pack_values(values, packs[i]);
                for (int j = 0; j < N; j++)
                    sum[j] += weight * values[j];
            }
        }
        pack_store(m.y + row * m.width + c, pack_of<T>(sum));
    }
}

template <class T> struct collect_gradient {
    T *dx;
    float *dweights;
    const T *dy, *x; /* x may be dx */
    const int32_t *places;
    const float *weights;
    int64_t num_choices, width;
    int num_chosen;
};

/* One warp per choice, which reads and writes its own place alone. */
template <class T, int N>
static __global__ void __launch_bounds__(32 * DOT_WARPS) collect_backward_kernel(collect_gradient<T> g) {
    int64_t choice = (int64_t)blockIdx.x * DOT_WARPS + threadIdx.y;
    if (choice >= g.num_choices)
        return;
    const T *dy = g.dy + choice / g.num_chosen * g.width;
    int64_t place = g.places[choice] * g.width;
    float weight = g.weights[choice], dot = 0;
    for (int64_t first = (int64_t)threadIdx.x * N; first < g.width; first += MOVE_BATCH * 32 * N) {
        pack<T, N> of_y[MOVE_BATCH], of_x[MOVE_BATCH];
#pragma unroll
        for (int i = 0; i < MOVE_BATCH; i++) {
            int64_t c = first + i * 32 * N;
            of_y[i] = c < g.width ? pack_load<T, N>(dy + c) : pack_filled<T, N>(0);
            of_x[i] = c < g.width ? pack_load<T, N>(g.x + place + c) : pack_filled<T, N>(0);
        }
#pragma unroll
        for (int i = 0; i < MOVE_BATCH; i++) {
            float y[N], x[N];
            pack_values(y, of_y[i]);
            pack_values(x, of_x[i]);
            for (int j = 0; j < N; j++) {
                dot += y[j] * x[j];
                y[j] *= weight;
            }
            if (first + i * 32 * N < g.width)
                pack_store(g.dx + place + first + i * 32 * N, pack_of<T>(y));
        }
    }
    dot = warp_sum(dot);
    if (threadIdx.x == 0)
        g.dweights[choice] = dot;
}

/* launch_teams - of `pieces` accesses a row. */
template <class T>
static void launch_teams(struct device *dev, void (*kernel)(moving<T>), const moving<T> &m, int64_t pieces) {
    int threads = whole_warps(pieces, MOVE_THREADS), rows = MOVE_THREADS / threads;
    LAUNCH(kernel, dim3((unsigned)divide_up(m.num_rows, rows)), dim3((unsigned)threads, (unsigned)rows), 0,
           cuda_stream(dev), m);
}

template <class T>
static moving<T> moving_of(struct tensor y, struct tensor x, const struct expert_routes *routes) {
    return {(T *)y.data,
            (const T *)x.data,
            (const int32_t *)routes->places.data,
            NULL,
            routes->places.dims[0],
            x.dims[1],
            (int)routes->places.dims[1]};
}

template <class T>
static void spread(struct device *dev, struct tensor y, struct tensor x, const struct expert_routes *routes) {
    constexpr int N = VECTOR<T>;
    moving<T> m = moving_of<T>(y, x, routes);
    if (is_aligned<T>(m.y, m.width) && is_aligned<T>(m.x, m.width))
        launch_teams(dev, spread_kernel<T, N>, m, divide_up(m.width, N * MOVE_BATCH));
    else
        launch_teams(dev, spread_kernel<T, 1>, m, divide_up(m.width, MOVE_BATCH));
}

extern "C" void cuda_spread(struct device *dev, struct tensor y, struct tensor x,
                            const struct expert_routes *routes) {
    if (tensor_count(y) > 0)
        BY_TYPE(y.dtype, spread, dev, y, x, routes);
}

template <class T>
static void collect(struct device *dev, struct tensor y, struct tensor x, struct tensor weights,
                    const struct expert_routes *routes) {
    constexpr int N = VECTOR<T>;
    moving<T> m = moving_of<T>(y, x, routes);
    m.weights = (const float *)weights.data;
    if (is_aligned<T>(m.y, m.width) && is_aligned<T>(m.x, m.width))
        launch_teams(dev, collect_kernel<T, N>, m, divide_up(m.width, N));
    else
        launch_teams(dev, collect_kernel<T, 1>, m, m.width);
}

extern "C" void cuda_collect(struct device *dev, struct tensor y, struct tensor x, struct tensor weights,
                             const struct expert_routes *routes) {
    if (tensor_count(y) > 0)
        BY_TYPE(y.dtype, collect, dev, y, x, weights, routes);
}

template <class T>
static void collect_back(struct device *dev, struct tensor dx, struct tensor dweights, struct tensor dy,
                         struct tensor x, const struct expert_routes *routes) {
    constexpr int N = VECTOR<T>;
    collect_gradient<T> g = {(T *)dx.data,
                             (float *)dweights.data,
                             (const T *)dy.data,
                             (const T *)x.data,
                             (const int32_t *)routes->places.data,
                             (const float *)routes->weights.data,
                             dx.dims[0],
                             dx.dims[1],
                             (int)routes->places.dims[1]};
    bool aligned =
        is_aligned<T>(g.dx, g.width) && is_aligned<T>(g.dy, g.width) && is_aligned<T>(g.x, g.width);
    LAUNCH((aligned ? collect_backward_kernel<T, N> : collect_backward_kernel<T, 1>),
           dim3((unsigned)divide_up(g.num_choices, DOT_WARPS)), dim3(32, DOT_WARPS), 0, cuda_stream(dev), g);
}

extern "C" void cuda_collect_backward(struct device *dev, struct tensor dx, struct tensor dweights,
                                      struct tensor dy, struct tensor x, const struct expert_routes *routes) {
    if (tensor_count(dx) > 0)
        BY_TYPE(dx.dtype, collect_back, dev, dx, dweights, dy, x, routes);
}
