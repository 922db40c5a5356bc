/* experts_bias.cu - the bias of each place's expert, and its gradient.
 *
 *                       bytes per element (T of 2 bytes)                  bound
 *   bias                read y, write y                        4          memory
 *   its gradient        read dy                                2          memory; where all places are one expert's, its blocks
 *                                                                         of columns are all that run
 */
#include "kernels/cuda/experts.cuh"

enum { BIAS_THREADS = 256, BIAS_BATCH = 4, SUM_WARPS = 8, SUM_BATCH = 4 };

template <class T> struct bias_rows {
    T *y;
    const T *bias;
    const int32_t *starts;
    int64_t width;
    int num_experts;
};

/* Blocks: x is the place, y the part of its width. */
template <class T, int N>
static __global__ void __launch_bounds__(BIAS_THREADS) grouped_bias_kernel(bias_rows<T> r) {
    int64_t first = ((int64_t)blockIdx.y * blockDim.x * BIAS_BATCH + threadIdx.x) * N, step = blockDim.x * N;
    T *y = r.y + blockIdx.x * r.width;
    pack<T, N> packs[BIAS_BATCH];
#pragma unroll
    for (int i = 0; i < BIAS_BATCH; i++)
        if (first + i * step < r.width)
            packs[i] = pack_load<T, N>(y + first + i * step);
    int expert = expert_tile_find<1>(r.starts, r.num_experts, (int)blockIdx.x, 1).expert;
    const T *bias = r.bias + expert * r.width;
#pragma unroll
    for (int i = 0; i < BIAS_BATCH; i++) {
        if (first + i * step >= r.width)
            continue;
        float values[N], added[N];
        pack_values(values, packs[i]);
        pack_values(added, pack_load<T, N>(bias + first + i * step));
        for (int j = 0; j < N; j++)
            values[j] += added[j];
        pack_store(y + first + i * step, pack_of<T>(values));
    }
}

template <class T, int N>
static void launch_bias(struct device *dev, const bias_rows<T> &r, int64_t num_places) {
    int64_t packs = divide_up(r.width, N), parts = divide_up(packs, BIAS_THREADS * BIAS_BATCH);
    int threads = whole_warps(divide_up(packs, parts * BIAS_BATCH), BIAS_THREADS);
    dim3 grid((unsigned)num_places, (unsigned)divide_up(packs, (int64_t)threads * BIAS_BATCH));
    LAUNCH((grouped_bias_kernel<T, N>), grid, dim3((unsigned)threads), 0, cuda_stream(dev), r);
}

template <class T>
static void bias(struct device *dev, struct tensor y, struct tensor b, struct tensor starts) {
    bias_rows<T> r = {(T *)y.data, (const T *)b.data, (const int32_t *)starts.data, y.dims[1],
                      (int)starts.dims[0] - 1};
    if (is_aligned<T>(r.y, r.width) && is_aligned<T>(r.bias, r.width))
        launch_bias<T, VECTOR<T>>(dev, r, y.dims[0]);
    else
        launch_bias<T, 1>(dev, r, y.dims[0]);
}

extern "C" void cuda_grouped_bias_forward(struct device *dev, struct tensor y, struct tensor b,
                                          struct tensor starts) {
    if (tensor_count(y) > 0)
        BY_TYPE(y.dtype, bias, dev, y, b, starts);
}

template <class T> struct bias_sums {
    float *db;
    const T *dy;
    const int32_t *starts;
    int64_t width;
};

/* Blocks: x is N columns a lane, y the expert.  Each warp adds every SUM_WARPS-th of its places, then the warps are added in order.
 * Shared memory: N f32 a thread. */
template <class T, int N>
static __global__ void __launch_bounds__(32 * SUM_WARPS) grouped_bias_sums_kernel(bias_sums<T> s) {
    DYN_SHARED(shared);
    const int lane = (int)threadIdx.x, warp = (int)threadIdx.y, expert = (int)blockIdx.y;
    const int first = s.starts[expert], end = s.starts[expert + 1];
    const int64_t c = ((int64_t)blockIdx.x * 32 + lane) * N;
    const uint32_t slots = shared_address(shared) + (uint32_t)lane * 4;
    float sums[N] = {};
    if (first == end)
        return;
    for (int place = first + warp; c < s.width && place < end; place += SUM_WARPS * SUM_BATCH) {
        pack<T, N> packs[SUM_BATCH];
#pragma unroll
        for (int i = 0; i < SUM_BATCH; i++) {
            const int64_t at = place + i * SUM_WARPS;
            packs[i] = at < end ? pack_load_once<T, N>(s.dy + at * s.width + c) : pack_filled<T, N>(0);
        }
#pragma unroll
        for (int i = 0; i < SUM_BATCH; i++) {
            float values[N];
            pack_values(values, packs[i]);
            for (int j = 0; j < N; j++)
                sums[j] += values[j];
        }
    }
    for (int j = 0; j < N; j++)
        shared_store_f32(slots + (uint32_t)(warp * N + j) * 32 * 4, sums[j]);
    block_barrier();
    for (int j = warp; j < N && c < s.width; j += SUM_WARPS) {
        float sum = 0;
        for (int w = 0; w < SUM_WARPS; w++)
            sum += shared_load_f32(slots + (uint32_t)(w * N + j) * 32 * 4);
        s.db[expert * s.width + c + j] += sum;
    }
}

template <class T, int N>
static void launch_sums(struct device *dev, const bias_sums<T> &s, int64_t num_experts) {
    LAUNCH((grouped_bias_sums_kernel<T, N>),
           dim3((unsigned)divide_up(s.width, 32 * N), (unsigned)num_experts), dim3(32, SUM_WARPS),
           SUM_WARPS * 32 * N * sizeof(float), cuda_stream(dev), s);
}

template <class T>
static void sums_of(struct device *dev, struct tensor db, struct tensor dy, struct tensor starts) {
    bias_sums<T> s = {(float *)db.data, (const T *)dy.data, (const int32_t *)starts.data, dy.dims[1]};
    if (is_aligned<T>(s.dy, s.width))
        launch_sums<T, VECTOR<T>>(dev, s, starts.dims[0] - 1);
    else
        launch_sums<T, 1>(dev, s, starts.dims[0] - 1);
}

extern "C" void cuda_grouped_bias_backward(struct device *dev, struct tensor db, struct tensor dy,
                                           struct tensor starts) {
    if (tensor_count(dy) > 0)
        BY_TYPE(dy.dtype, sums_of, dev, db, dy, starts);
}
