/* norm.c - RMSNorm and LayerNorm on the CPU.  One row per token; sums in f32 (rows are a few thousand long).
 * The weight gradient is a sum over all rows: it is taken in a fixed number of blocks of rows, each summed by
 * one thread and all added in order, so that its bits do not depend on the number of threads. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/norm.h"

/* Numbers that are added one after the other. */
enum { GROUP = 256 };

/* mean_of - of a row.  Added in groups, so that a long row loses no digits where the compiler does not make vectors of
 * the loop; so are the squares below. */
CPU_CLONES
static float mean_of(const float *restrict x, int64_t width) {
    float sum = 0;
    for (int64_t first = 0; first < width; first += GROUP) {
        float group = 0;
        int64_t end = first + GROUP < width ? first + GROUP : width;
#pragma omp simd reduction(+ : group)
        for (int64_t c = first; c < end; c++)
            group += x[c];
        sum += group;
    }
    return sum / (float)width;
}

/* rms_row - y = x / rms(x). */
CPU_CLONES
static struct row_stats rms_row(float *restrict y, const float *restrict x, int64_t width, float eps) {
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
    return (struct row_stats){rstd, 0};
}

/* layer_row - y = (x - mean) / deviation. */
CPU_CLONES
static struct row_stats layer_row(float *restrict y, const float *restrict x, int64_t width, float eps) {
    float mean = mean_of(x, width), sum = 0;
    for (int64_t first = 0; first < width; first += GROUP) {
        float group = 0;
        int64_t end = first + GROUP < width ? first + GROUP : width;
#pragma omp simd reduction(+ : group)
        for (int64_t c = first; c < end; c++)
            group += (x[c] - mean) * (x[c] - mean);
        sum += group;
    }
    float rstd = 1.0f / sqrtf(sum / (float)width + eps);
    for (int64_t c = 0; c < width; c++)
        y[c] = (x[c] - mean) * rstd;
    return (struct row_stats){rstd, mean};
}

/* round_row - to what remains of it in a type. */
CPU_CLONES
static void round_row(float *restrict y, int64_t width, enum dtype dtype) {
    if (dtype == DTYPE_BF16)
        for (int64_t c = 0; c < width; c++)
            y[c] = f32_from_bf16(bf16_from_f32(y[c]));
    if (dtype == DTYPE_F16)
        for (int64_t c = 0; c < width; c++)
            y[c] = f32_from_f16(f16_from_f32(y[c]));
}

CPU_CLONES
/* scale_row, shift_row - the weight and the bias, in f32 and rounded with the row. */
static void scale_row(float *restrict y, const float *restrict w, int64_t width) {
    for (int64_t c = 0; c < width; c++)
        y[c] *= w[c];
}

CPU_CLONES
static void shift_row(float *restrict y, const float *restrict bias, int64_t width) {
    for (int64_t c = 0; c < width; c++)
        y[c] += bias[c];
}

/* open_weights - w + offset in f32: in place where that is what lies there, else in the buffer. */
static const float *open_weights(const struct norm *norm, int64_t width, float *buffer) {
    const float *w = row_open(norm->w, 0, width, buffer);
    if (norm->offset == 0)
        return w;
    for (int64_t c = 0; c < width; c++)
        buffer[c] = w[c] + norm->offset;
    return buffer;
}

struct open_norm norm_open(const struct norm *norm, float *buffer) {
    int64_t width = norm->w.dims[0];
    return (struct open_norm){.kind = norm->kind,
                              .eps = norm->eps,
                              .width = width,
                              .w = open_weights(norm, width, buffer),
                              .bias =
                                  norm->bias.data ? row_open(norm->bias, 0, width, buffer + width) : NULL};
}

struct row_stats norm_forward_row(float *y, const float *x, const struct open_norm *norm, enum dtype dtype) {
    struct row_stats row = (norm->kind == NORM_LAYER ? layer_row : rms_row)(y, x, norm->width, norm->eps);
    if (norm->kind == NORM_RMS)
        round_row(y, norm->width, dtype);
    scale_row(y, norm->w, norm->width);
    if (norm->bias)
        shift_row(y, norm->bias, norm->width);
    return row;
}

void cpu_norm_forward(struct device *dev, struct tensor y, struct norm_stats stats, struct tensor x,
                      const struct norm *norm) {
    int64_t num_rows = x.dims[0], width = x.dims[1];
    /* Weights and bias as f32, then two row buffers per thread (unused when the tensors are f32). */
    float *scratch = cpu_scratch(dev, (size_t)(2 + 2 * dev->num_threads) * (size_t)width * sizeof(float));
    const struct open_norm open = norm_open(norm, scratch);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (num_rows > 1)
    for (int64_t i = 0; i < num_rows; i++) {
        float *buffers = scratch + (2 + 2 * cpu_thread()) * width;
        const float *x_row = row_open(x, i * width, width, buffers);
        float *y_row = row_target(y, i * width, buffers + width);
        struct row_stats row = norm_forward_row(y_row, x_row, &open, y.dtype);
        ((float *)stats.rstd.data)[i] = row.rstd;
        if (norm->kind == NORM_LAYER)
            ((float *)stats.mean.data)[i] = row.mean;
        row_commit(y, i * width, width, y_row);
    }
    cpu_put_largest(dev, norm->largest, y);
}

/* Two passes: on the CPU the sum comes back from the cache, and the bits are those of the two ops. */
void cpu_add_norm_forward(struct device *dev, struct tensor y, struct tensor sum, struct norm_stats stats,
                          struct tensor a, struct tensor b, const struct norm *norm) {
    cpu_add(dev, sum, a, b);
    cpu_norm_forward(dev, y, stats, sum, norm);
}

/* backward_of_rms - one row of dx and its part of dw.  With n = x rstd and g = dy w: mean(g n) takes one factor
 * rstd out of the sum, and the second loop uses n of f32, not the rounded one of the forward. */
CPU_CLONES
static void backward_of_rms(float *restrict dx, float *restrict dw, const float *restrict dy,
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

void rms_backward_row(float *dx, float *dw, const float *dy, const float *x, float rstd,
                      const struct open_norm *norm) {
    backward_of_rms(dx, dw, dy, x, norm->w, rstd, norm->width);
}

/* centre_row - (x - mean) in place of x: what is left of LayerNorm is RMSNorm's, but for the mean of g. */
CPU_CLONES
static void centre_row(float *restrict to, const float *restrict x, float mean, int64_t width) {
    for (int64_t c = 0; c < width; c++)
        to[c] = x[c] - mean;
}

/* mean_slope - rstd times the mean of g = dy w, which LayerNorm takes from every element of dx. */
CPU_CLONES
static float mean_slope(const float *restrict dy, const float *restrict w, float rstd, int64_t width) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < width; c++)
        sum += dy[c] * w[c];
    return rstd * sum / (float)width;
}

CPU_CLONES
static void lower_row(float *restrict dx, float by, int64_t width) {
    for (int64_t c = 0; c < width; c++)
        dx[c] -= by;
}

/* One backward under way; scratch: the weights as f32, the partial dw, four row buffers per thread. */
struct norm_job {
    struct tensor dx, dy, x;
    struct norm_stats stats;
    struct open_norm norm;
};

/* backward_row - LayerNorm as RMSNorm of the centred row, less the mean of the slopes. */
static void backward_row(const struct norm_job *job, int64_t i, float *block_dw, float *rows) {
    int64_t width = job->x.dims[1];
    float *dx = row_open(job->dx, i * width, width, rows);
    const float *dy = row_open(job->dy, i * width, width, rows + width);
    const float *x = row_open(job->x, i * width, width, rows + 2 * width);
    float rstd = ((const float *)job->stats.rstd.data)[i];
    if (job->norm.kind == NORM_LAYER) {
        centre_row(rows + 3 * width, x, ((const float *)job->stats.mean.data)[i], width);
        x = rows + 3 * width;
        lower_row(dx, mean_slope(dy, job->norm.w, rstd, width), width);
    }
    rms_backward_row(dx, block_dw, dy, x, rstd, &job->norm);
    row_commit(job->dx, i * width, width, dx);
}

void norm_add_blocks(struct tensor dw, const float *partial, int64_t width) {
    for (int block = 0; block < DW_BLOCKS && dw.data; block++)
        for (int64_t c = 0; c < width; c++)
            ((float *)dw.data)[c] += partial[block * width + c];
}

void cpu_norm_backward(struct device *dev, struct tensor dx, struct tensor dw, struct tensor dy,
                       struct tensor x, struct norm_stats stats, const struct norm *norm) {
    int64_t num_rows = x.dims[0], width = x.dims[1];
    size_t num_floats = (size_t)(2 + DW_BLOCKS + 4 * dev->num_threads) * (size_t)width;
    float *scratch = cpu_scratch(dev, num_floats * sizeof(float));
    float *partial = scratch + 2 * width, *buffers = partial + DW_BLOCKS * width;
    const struct norm_job job = {dx, dy, x, stats, norm_open(norm, scratch)};
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int block = 0; block < DW_BLOCKS; block++) {
        float *block_dw = partial + block * width;
        memset(block_dw, 0, (size_t)width * sizeof(float));
        for (int64_t i = block * num_rows / DW_BLOCKS; i < (block + 1) * num_rows / DW_BLOCKS; i++)
            backward_row(&job, i, block_dw, buffers + 4 * cpu_thread() * width);
    }
    norm_add_blocks(dw, partial, width);
    cpu_put_largest(dev, norm->largest, dx);
}
