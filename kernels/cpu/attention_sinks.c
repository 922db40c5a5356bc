/* attention_sinks.c - the sink of each head: a key without a value, folded into what attention computed.
 * The gradient is summed in a fixed number of blocks of rows, added in order: its bits do not depend on the threads. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

/* Enough blocks to occupy 32 threads; each costs one row of H sums. */
enum { SUM_BLOCKS = 32 };

CPU_CLONES
static void scale_row(float *row, int64_t count, float factor) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        row[i] *= factor;
}

/* joined - log(e^a + e^b), of any size. */
static float joined(float a, float b) {
    float larger = a < b ? b : a;
    return larger + log1pf(expf(-fabsf(a - b)));
}

void cpu_sinks_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor s) {
    int64_t num_heads = out.dims[1], width = out.dims[2];
    float *scratch = cpu_scratch(dev, (size_t)(num_heads + dev->num_threads * width) * sizeof(float));
    float *buffers = scratch + num_heads, *sums = lse.data;
    const float *scores = row_open(s, 0, num_heads, scratch);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (out.dims[0] > 1)
    for (int64_t i = 0; i < out.dims[0] * num_heads; i++) {
        float score = scores[i % num_heads];
        float *row = row_open(out, i * width, width, buffers + cpu_thread() * width);
        scale_row(row, width,
                  1.0f / (1.0f + expf(score - sums[i]))); /* an infinite e^x gives 0, as it should */
        row_commit(out, i * width, width, row);
        sums[i] = joined(sums[i], score);
    }
}

/* What every block of rows reads. */
struct sums_job {
    struct tensor dout, out, lse;
    const float *scores; /* [H] */
};

/* add_rows - rows [first, end) to the sums of the heads; buffers holds two rows of a head. */
static void add_rows(const struct sums_job *job, float *sums, int64_t first, int64_t end, float *buffers) {
    int64_t num_heads = job->out.dims[1], width = job->out.dims[2];
    for (int64_t i = first * num_heads; i < end * num_heads; i++) {
        const float *dout = row_open(job->dout, i * width, width, buffers);
        const float *out = row_open(job->out, i * width, width, buffers + width);
        float weight = expf(job->scores[i % num_heads] - ((const float *)job->lse.data)[i]);
        sums[i % num_heads] -= weight * dot_f32(dout, out, width);
    }
}

void cpu_sinks_backward(struct device *dev, struct tensor ds, struct tensor dout, struct tensor out,
                        struct tensor lse, struct tensor s) {
    int64_t num_rows = out.dims[0], num_heads = out.dims[1], width = out.dims[2];
    int64_t num_floats = (1 + SUM_BLOCKS) * num_heads + dev->num_threads * 2 * width;
    float *scratch = cpu_scratch(dev, (size_t)num_floats * sizeof(float));
    float *partial = scratch + num_heads, *buffers = partial + SUM_BLOCKS * num_heads;
    struct sums_job job = {dout, out, lse, row_open(s, 0, num_heads, scratch)};
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int block = 0; block < SUM_BLOCKS; block++) {
        float *sums = partial + block * num_heads;
        memset(sums, 0, (size_t)num_heads * sizeof(float));
        add_rows(&job, sums, block * num_rows / SUM_BLOCKS, (block + 1) * num_rows / SUM_BLOCKS,
                 buffers + cpu_thread() * 2 * width);
    }
    for (int block = 0; block < SUM_BLOCKS; block++)
        for (int64_t h = 0; h < num_heads; h++)
            ((float *)ds.data)[h] += partial[block * num_heads + h];
}
