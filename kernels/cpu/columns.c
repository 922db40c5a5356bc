/* columns.c - columns of a matrix taken out and put back on the CPU, and the sums of columns: one pass over memory.
 * The sums are taken in a fixed number of blocks of rows, added in order: their bits do not depend on the threads. */
#include <string.h>

#include "kernels/cpu/cpu.h"

/* Enough blocks to occupy 32 threads; each costs one row of scratch. */
enum { SUM_BLOCKS = 32 };

void cpu_take_columns(struct device *dev, struct tensor y, struct tensor x, const struct column_args *args) {
    int64_t width = x.dims[1], count = y.dims[1];
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * 2 * count) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (y.dims[0] > 1)
    for (int64_t i = 0; i < y.dims[0]; i++) {
        float *buffers = scratch + cpu_thread() * 2 * count;
        const float *from = row_open(x, i * width + args->first, count, buffers);
        float *to = row_target(y, i * count, buffers + count);
        row_scale(to, from, count, args->scale);
        row_commit(y, i * count, count, to);
    }
}

void cpu_put_columns(struct device *dev, struct tensor y, struct tensor x, const struct column_args *args) {
    int64_t width = y.dims[1], count = x.dims[x.ndim - 1], stride = x.ndim == 1 ? 0 : count;
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * 2 * count) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (y.dims[0] > 1)
    for (int64_t i = 0; i < y.dims[0]; i++) {
        float *buffers = scratch + cpu_thread() * 2 * count;
        const float *from = row_open(x, i * stride, count, buffers);
        int64_t at = i * width + args->first;
        bool adds = args->write == OP_ACCUMULATE;
        float *to = adds ? row_open(y, at, count, buffers + count) : row_target(y, at, buffers + count);
        (adds ? row_add : row_scale)(to, from, count, args->scale);
        row_commit(y, at, count, to);
    }
}

/* A block's rows are its number's share of all: the same for any number of threads. */
void cpu_column_sums(struct device *dev, struct tensor dw, struct tensor dy) {
    int64_t num_rows = dy.dims[0], width = dy.dims[1];
    size_t num_floats = (size_t)(SUM_BLOCKS + dev->num_threads) * (size_t)width;
    float *partial = cpu_scratch(dev, num_floats * sizeof(float)), *buffers = partial + SUM_BLOCKS * width;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int block = 0; block < SUM_BLOCKS; block++) {
        float *sums = partial + block * width;
        memset(sums, 0, (size_t)width * sizeof(float));
        for (int64_t i = block * num_rows / SUM_BLOCKS; i < (block + 1) * num_rows / SUM_BLOCKS; i++)
            row_add(sums, row_open(dy, i * width, width, buffers + cpu_thread() * width), width, 1.0f);
    }
    for (int block = 0; block < SUM_BLOCKS; block++)
        row_add(dw.data, partial + block * width, width, 1.0f);
}
