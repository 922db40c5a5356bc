/* magnitude.c - matrices by the length and the direction of their rows on the CPU: row norms, outputs scaled by them, and the
 * gradient of the lengths.  The latter is a sum over rows in a fixed number of blocks, added in order: its bits do not depend on the
 * threads. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/rounded.h"

/* Enough blocks to occupy 32 threads; each costs one row of scratch. */
enum { SUM_BLOCKS = 32 };
/* Squares that are added one after the other. */
enum { GROUP = 256 };

CPU_CLONES
static float row_norm(const float *restrict w, const float *restrict delta, int64_t width, float scale) {
    float sum = 0;
    for (int64_t first = 0; first < width; first += GROUP) {
        float group = 0;
        int64_t end = first + GROUP < width ? first + GROUP : width;
#pragma omp simd reduction(+ : group)
        for (int64_t c = first; c < end; c++) {
            float element = w[c] + scale * delta[c];
            group += element * element;
        }
        sum += group;
    }
    return sqrtf(sum);
}

void cpu_row_norms(struct device *dev, struct tensor norms, struct tensor w, struct tensor delta,
                   float scale) {
    int64_t width = w.dims[1];
    float *out = norms.data,
          *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * 2 * width) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (w.dims[0] > 1)
    for (int64_t i = 0; i < w.dims[0]; i++) {
        float *buffers = scratch + cpu_thread() * 2 * width;
        const float *row = row_open(w, i * width, width, buffers);
        const float *added = row_open(delta, i * width, width, buffers + width);
        out[i] = rounded_to(w.dtype, row_norm(row, added, width, scale));
    }
}

/* factors_of - what multiplies each output: its length over its norm; 0 of a row of zeros. */
static void factors_of(const struct magnitude *magnitude, float *factors, float *inverse) {
    int64_t count = magnitude->norms.dims[0];
    const float *norms = magnitude->norms.data, *lengths = row_open(magnitude->lengths, 0, count, factors);
    for (int64_t c = 0; c < count; c++) {
        inverse[c] = norms[c] > 0 ? 1 / norms[c] : 0;
        factors[c] = lengths[c] * inverse[c];
    }
}

CPU_CLONES
static void scale_columns(float *restrict y, const float *restrict factors, int64_t count) {
    for (int64_t c = 0; c < count; c++)
        y[c] *= factors[c];
}

/* add_products - sums += dy z, before dy is scaled. */
CPU_CLONES
static void add_products(float *restrict sums, const float *restrict dy, const float *restrict z,
                         int64_t count) {
    for (int64_t c = 0; c < count; c++)
        sums[c] += dy[c] * z[c];
}

void cpu_magnitude_forward(struct device *dev, struct tensor y, const struct magnitude *magnitude) {
    int64_t width = y.dims[1], count = magnitude->norms.dims[0];
    float *factors = cpu_scratch(dev, (size_t)((2 + dev->num_threads) * count) * sizeof(float));
    float *buffers = factors + 2 * count;
    factors_of(magnitude, factors, factors + count);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (y.dims[0] > 1)
    for (int64_t i = 0; i < y.dims[0]; i++) {
        int64_t at = i * width + magnitude->first;
        float *row = row_open(y, at, count, buffers + cpu_thread() * count);
        scale_columns(row, factors, count);
        row_commit(y, at, count, row);
    }
}

void cpu_magnitude_backward(struct device *dev, struct tensor dlengths, struct tensor dy, struct tensor z,
                            const struct magnitude *magnitude) {
    int64_t num_rows = dy.dims[0], width = dy.dims[1], count = magnitude->norms.dims[0];
    float *factors =
        cpu_scratch(dev, (size_t)((2 + SUM_BLOCKS + 2 * dev->num_threads) * count) * sizeof(float));
    float *inverse = factors + count, *partial = inverse + count, *buffers = partial + SUM_BLOCKS * count;
    factors_of(magnitude, factors, inverse);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int block = 0; block < SUM_BLOCKS; block++) {
        float *sums = partial + block * count, *own = buffers + cpu_thread() * 2 * count;
        memset(sums, 0, (size_t)count * sizeof(float));
        for (int64_t i = block * num_rows / SUM_BLOCKS; i < (block + 1) * num_rows / SUM_BLOCKS; i++) {
            int64_t at = i * width + magnitude->first;
            float *row = row_open(dy, at, count, own);
            add_products(sums, row, row_open(z, at, count, own + count), count);
            scale_columns(row, factors, count);
            row_commit(dy, at, count, row);
        }
    }
    for (int block = 0; dlengths.data && block < SUM_BLOCKS; block++)
        add_products(dlengths.data, partial + block * count, inverse, count);
}
