/* norm.c - RMSNorm on the CPU.  One row per token; sums in f32 (rows are a few thousand long).
 * The weight gradient is a sum over all rows: it is taken in a fixed number of blocks of rows, each summed by
 * one thread and all added in order, so that its bits do not depend on the number of threads. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

/* Enough blocks to occupy 32 threads; each costs one row of scratch. */
enum { DW_BLOCKS = 32 };
/* Numbers that are added one after the other. */
enum { GROUP = 256 };

/* norm_row - y = x / rms(x); returns 1 / rms(x).  The squares are added in groups, so that a long row loses
 * no digits where the compiler does not make vectors of the loop. */
CPU_CLONES
static float norm_row(float *restrict y, const float *restrict x, int64_t width, float eps) {
    float sum = 0;
    for (int64_t first = 0; first < width; first += GROUP) {
        float group = 0;
        int64_t end = first + GROUP < width ? first + GROUP : width;
#pragma omp simd reduction(+ : group)
        for (int64_t c = first; c < end; c++)
            group += x[c] * x[c];
        sum += group;
    }
    float rstd = 1.0f / sqrtf(sum / (float)width + eps);
    for (int64_t c = 0; c < width; c++)
        y[c] = x[c] * rstd;
    return rstd;
}

/* scale_row - y *= w, with y rounded first to the type that it will be stored in. */
CPU_CLONES
static void scale_row(float *restrict y, const float *restrict w, int64_t width, enum dtype dtype) {
    if (dtype == DTYPE_BF16)
        for (int64_t c = 0; c < width; c++)
            y[c] = f32_from_bf16(bf16_from_f32(y[c]));
    if (dtype == DTYPE_F16)
        for (int64_t c = 0; c < width; c++)
            y[c] = f32_from_f16(f16_from_f32(y[c]));
    for (int64_t c = 0; c < width; c++)
        y[c] *= w[c];
}

void cpu_rmsnorm_forward(struct device *dev, struct tensor y, struct tensor rstd, struct tensor x,
                         struct tensor w, float eps) {
    int64_t num_rows = x.dims[0], width = x.dims[1];
    /* The weights as f32, then two row buffers per thread (unused when the tensors are f32). */
    float *scratch = cpu_scratch(dev, (size_t)(1 + 2 * dev->num_threads) * (size_t)width * sizeof(float));
    const float *weights = row_open(w, 0, width, scratch);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (num_rows > 1)
    for (int64_t i = 0; i < num_rows; i++) {
        float *buffers = scratch + (1 + 2 * cpu_thread()) * width;
        const float *x_row = row_open(x, i * width, width, buffers);
        float *y_row = row_target(y, i * width, buffers + width);
        ((float *)rstd.data)[i] = norm_row(y_row, x_row, width, eps);
        scale_row(y_row, weights, width, y.dtype);
        row_commit(y, i * width, width, y_row);
    }
}

/* Two passes: on the CPU the sum comes back from the cache, and the bits are those of the two ops. */
void cpu_add_rmsnorm_forward(struct device *dev, struct tensor y, struct tensor sum, struct tensor rstd,
                             struct tensor a, struct tensor b, struct tensor w, float eps) {
    cpu_add(dev, sum, a, b);
    cpu_rmsnorm_forward(dev, y, rstd, sum, w, eps);
}

/* backward_row - one row of dx and its part of dw.  With n = x rstd and g = dy w: mean(g n) takes one factor
 * rstd out of the sum, and the second loop uses n of f32, not the rounded one of the forward. */
CPU_CLONES
static void backward_row(float *restrict dx, float *restrict dw, const float *restrict dy,
                         const float *restrict x, const float *restrict w, float rstd, int64_t width) {
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t c = 0; c < width; c++)
        dot += dy[c] * w[c] * x[c];
    float mean = dot * rstd / (float)width;
    for (int64_t c = 0; c < width; c++) {
        float normalised = x[c] * rstd;
        dx[c] += rstd * (dy[c] * w[c] - normalised * mean);
        dw[c] += dy[c] * normalised;
    }
}

void cpu_rmsnorm_backward(struct device *dev, struct tensor dx, struct tensor dw, struct tensor dy,
                          struct tensor x, struct tensor w, struct tensor rstd) {
    int64_t num_rows = x.dims[0], width = x.dims[1];
    /* The weights as f32, the partial dw, three row buffers per thread. */
    size_t num_floats = (size_t)(1 + DW_BLOCKS + 3 * dev->num_threads) * (size_t)width;
    float *scratch = cpu_scratch(dev, num_floats * sizeof(float));
    const float *weights = row_open(w, 0, width, scratch);
    float *partial = scratch + width, *buffers = partial + DW_BLOCKS * width;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int block = 0; block < DW_BLOCKS; block++) {
        float *block_dw = partial + block * width, *rows = buffers + 3 * cpu_thread() * width;
        memset(block_dw, 0, (size_t)width * sizeof(float));
        for (int64_t i = block * num_rows / DW_BLOCKS; i < (block + 1) * num_rows / DW_BLOCKS; i++) {
            float *dx_row = row_open(dx, i * width, width, rows);
            const float *dy_row = row_open(dy, i * width, width, rows + width);
            const float *x_row = row_open(x, i * width, width, rows + 2 * width);
            backward_row(dx_row, block_dw, dy_row, x_row, weights, ((const float *)rstd.data)[i], width);
            row_commit(dx, i * width, width, dx_row);
        }
    }
    for (int block = 0; block < DW_BLOCKS && dw.data; block++)
        for (int64_t c = 0; c < width; c++)
            ((float *)dw.data)[c] += partial[block * width + c];
}
