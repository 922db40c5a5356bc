/* columns.cu - columns of a matrix taken out and put back, and the sums of columns.
 *
 *                       bytes per element (T of 2 bytes)             bound
 *   take                read x, write y                       4      memory
 *   put                 read x, write y (and read it)         4, 6   memory
 *   sums                read dy                               2      memory
 *
 * A block moves a piece of one row, in vectors where both sides are aligned for them.  The sums have a block per 32
 * columns: lane = column, each warp adds every eighth row, warp 0 adds the warps in order. */
#include "kernels/cuda/vector.cuh"

enum { COLUMN_THREADS = 128, SUM_WARPS = 8 };

/* Strides in elements; x_stride 0: one row for all. */
template <class T> struct column_move {
    T *y;
    const T *x;
    int64_t y_stride, x_stride, num_columns;
    float scale;
    bool adds;
};

template <class T, int N>
static __global__ void __launch_bounds__(COLUMN_THREADS) column_move_kernel(column_move<T> m) {
    int64_t c = ((int64_t)blockIdx.y * COLUMN_THREADS + threadIdx.x) * N;
    if (c >= m.num_columns)
        return;
    T *to = m.y + blockIdx.x * m.y_stride + c;
    float x[N], y[N] = {};
    pack_values(x, pack_load<T, N>(m.x + blockIdx.x * m.x_stride + c));
    if (m.adds)
        pack_values(y, pack_load<T, N>(to));
    for (int i = 0; i < N; i++)
        y[i] += m.scale * x[i];
    pack_store(to, pack_of<T>(y));
}

template <class T, int N> static void launch_move(struct device *dev, int64_t num_rows, const column_move<T> &m) {
    dim3 grid((unsigned)num_rows, (unsigned)divide_up(m.num_columns, COLUMN_THREADS * N));
    LAUNCH((column_move_kernel<T, N>), grid, dim3(COLUMN_THREADS), 0, cuda_stream(dev), m);
}

template <class T> static void move_columns(struct device *dev, int64_t num_rows, const column_move<T> &m) {
    constexpr int N = VECTOR<T>;
    if (is_aligned<T>(m.y, m.y_stride) && is_aligned<T>(m.x, m.x_stride) && m.num_columns % N == 0)
        launch_move<T, N>(dev, num_rows, m);
    else
        launch_move<T, 1>(dev, num_rows, m);
}

template <class T>
static void take(struct device *dev, struct tensor y, struct tensor x, const struct column_args *args) {
    move_columns<T>(dev, y.dims[0],
                    {(T *)y.data, (const T *)x.data + args->first, y.dims[1], x.dims[1], y.dims[1], args->scale,
                     false});
}

extern "C" void cuda_take_columns(struct device *dev, struct tensor y, struct tensor x,
                                  const struct column_args *args) {
    BY_TYPE(y.dtype, take, dev, y, x, args);
}

template <class T>
static void put(struct device *dev, struct tensor y, struct tensor x, const struct column_args *args) {
    int64_t num_columns = x.dims[x.ndim - 1];
    move_columns<T>(dev, y.dims[0],
                    {(T *)y.data + args->first, (const T *)x.data, y.dims[1], x.ndim == 1 ? 0 : num_columns,
                     num_columns, args->scale, args->write == OP_ACCUMULATE});
}

extern "C" void cuda_put_columns(struct device *dev, struct tensor y, struct tensor x,
                                 const struct column_args *args) {
    BY_TYPE(y.dtype, put, dev, y, x, args);
}

/* Shared memory: SUM_WARPS x 32 f32. */
template <class T>
static __global__ void __launch_bounds__(32 * SUM_WARPS)
    column_sums_kernel(float *dw, const T *dy, int64_t num_rows, int64_t width) {
    DYN_SHARED(shared);
    uint32_t sums = shared_address(shared);
    int lane = (int)threadIdx.x, warp = (int)threadIdx.y;
    int64_t c = (int64_t)blockIdx.x * 32 + lane;
    float sum = 0;
    for (int64_t row = warp; c < width && row < num_rows; row += SUM_WARPS) {
        float value[1];
        pack_values(value, pack_load<T, 1>(dy + row * width + c));
        sum += value[0];
    }
    shared_store_f32(sums + (uint32_t)(warp * 32 + lane) * 4, sum);
    block_barrier();
    if (warp == 0 && c < width) {
        for (int w = 1; w < SUM_WARPS; w++)
            sum += shared_load_f32(sums + (uint32_t)(w * 32 + lane) * 4);
        dw[c] += sum;
    }
}

template <class T> static void sums_of(struct device *dev, struct tensor dw, struct tensor dy) {
    LAUNCH(column_sums_kernel<T>, dim3((unsigned)divide_up(dy.dims[1], 32)), dim3(32, SUM_WARPS),
           SUM_WARPS * 32 * sizeof(float), cuda_stream(dev), (float *)dw.data, (const T *)dy.data, dy.dims[0],
           dy.dims[1]);
}

extern "C" void cuda_column_sums(struct device *dev, struct tensor dw, struct tensor dy) {
    BY_TYPE(dy.dtype, sums_of, dev, dw, dy);
}
