/* dropout.cu - elements that are left out.
 *
 *                       bytes per element (T of 2 bytes)             bound
 *   dropout             read x, write y (and read it)         4, 6   memory; ten rounds of Philox for four elements
 *
 * A thread takes the four columns of one block of random words, in one access where rows begin on a boundary. */
#include "kernels/dropout.h"

#include "kernels/cuda/vector.cuh"

enum { DROPOUT_THREADS = 128, BLOCK_COLUMNS = 4 };

template <class T> struct dropout_rows {
    T *y; /* may be x */
    const T *x;
    const int32_t *places;
    int64_t width;
    uint64_t seed, stream;
    dropout_factors factors;
    bool adds;
};

/* drop_pack - N columns from `at` on, whose words begin with number `first` of the block's. */
template <class T, int N> DEV void drop_pack(const dropout_rows<T> &d, int64_t at, const uint32_t *words) {
    float x[N], y[N] = {};
    pack_values(x, pack_load<T, N>(d.x + at));
    if (d.adds)
        pack_values(y, pack_load<T, N>(d.y + at));
    for (int i = 0; i < N; i++)
        y[i] += words[i] < d.factors.below ? 0.0f : mul_rounded(d.factors.scale, x[i]);
    pack_store(d.y + at, pack_of<T>(y));
}

/* N: columns of one access, BLOCK_COLUMNS or 1. */
template <class T, int N>
static __global__ void __launch_bounds__(DROPOUT_THREADS) dropout_kernel(dropout_rows<T> d) {
    int64_t block = (int64_t)blockIdx.y * DROPOUT_THREADS + threadIdx.x, first = block * BLOCK_COLUMNS;
    if (first >= d.width)
        return;
    int64_t row = (int64_t)blockIdx.x * d.width;
    philox words = dropout_block(d.seed, d.stream, d.places[blockIdx.x], block);
#pragma unroll
    for (int i = 0; i < BLOCK_COLUMNS; i += N)
        if (first + i < d.width)
            drop_pack<T, N>(d, row + first + i, words.words + i);
}

template <class T, int N> static void launch_dropout(struct device *dev, int64_t num_rows, const dropout_rows<T> &d) {
    dim3 grid((unsigned)num_rows, (unsigned)divide_up(d.width, DROPOUT_THREADS * BLOCK_COLUMNS));
    LAUNCH((dropout_kernel<T, N>), grid, dim3(DROPOUT_THREADS), 0, cuda_stream(dev), d);
}

/* starts_blocks - whether every row of that width begins where four elements can be moved at once. */
template <class T> static bool starts_blocks(const void *data, int64_t width) {
    return (uintptr_t)data % (BLOCK_COLUMNS * sizeof(T)) == 0 && width % BLOCK_COLUMNS == 0;
}

template <class T>
static void drop(struct device *dev, struct tensor y, struct tensor x, const struct dropout_args *args,
                 enum op_write write) {
    int64_t width = x.dims[1];
    dropout_rows<T> d = {(T *)y.data,
                         (const T *)x.data,
                         (const int32_t *)args->places.data,
                         width,
                         args->seed,
                         args->stream,
                         dropout_factors_of(args->share),
                         write == OP_ACCUMULATE};
    if (starts_blocks<T>(d.y, width) && starts_blocks<T>(d.x, width))
        launch_dropout<T, BLOCK_COLUMNS>(dev, x.dims[0], d);
    else
        launch_dropout<T, 1>(dev, x.dims[0], d);
}

extern "C" void cuda_dropout(struct device *dev, struct tensor y, struct tensor x, const struct dropout_args *args,
                             enum op_write write) {
    BY_TYPE(x.dtype, drop, dev, y, x, args, write);
}
