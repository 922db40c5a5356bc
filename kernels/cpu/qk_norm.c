/* qk_norm.c - QK-norm with the rotation on the CPU: a row of heads is normalised and turned while it is in the cache.  What a
 * row goes through are the rows of norm.c and the rotation of pointwise.c, so the bits are those of the two ops. */
#include <string.h>

#include "kernels/cpu/norm.h"

/* The heads of one kind: what is normalised together is one piece of them, norm.width wide. */
struct head_kind {
    struct open_norm norm;
    int64_t num_pieces;
    int64_t first,
        first_piece; /* element of the row where they begin; their place among the pieces of a row */
};

/* One op under way; heads: qkv, or its gradient. */
struct qk_job {
    struct tensor heads, raw, rstd;
    struct head_kind kinds[2];
};

/* open_job - scratch: room for two rows of all heads, for the weights. */
static struct qk_job open_job(struct tensor heads, struct tensor raw, struct tensor rstd,
                              const struct qk_norms *norms, float *scratch) {
    int64_t head_dim = raw.dims[2], queries = norms->num_heads * head_dim,
            keys = norms->num_kv_heads * head_dim;
    int64_t width = norms->query.w.dims[0];
    struct head_kind query = {norm_open(&norms->query, scratch), queries / width, 0, 0};
    struct head_kind key = {norm_open(&norms->key, scratch + 2 * width), keys / norms->key.w.dims[0], queries,
                            query.num_pieces};
    return (struct qk_job){heads, raw, rstd, {query, key}};
}

/* row_width - elements of a row of a tensor of heads. */
static int64_t row_width(struct tensor heads) {
    return heads.dims[1] * heads.dims[2];
}

/* norm_row - all heads of one row; raw has them.  buffers: two rows. */
static void norm_row(const struct qk_job *job, int64_t row, float *buffers) {
    int64_t raw_width = row_width(job->raw), width = row_width(job->heads);
    for (int k = 0; k < 2; k++)
        for (int64_t p = 0; p < job->kinds[k].num_pieces; p++) {
            const struct head_kind *kind = &job->kinds[k];
            int64_t first = kind->first + p * kind->norm.width, at = row * width + first;
            const float *x = row_open(job->raw, row * raw_width + first, kind->norm.width, buffers);
            float *y = row_target(job->heads, at, buffers + raw_width);
            struct row_stats stats = norm_forward_row(y, x, &kind->norm, job->heads.dtype);
            ((float *)job->rstd.data)[row * job->rstd.dims[1] + kind->first_piece + p] = stats.rstd;
            row_commit(job->heads, at, kind->norm.width, y);
        }
}

/* keep_row - of the heads as they are. */
static void keep_row(const struct qk_job *job, int64_t row) {
    size_t element = dtype_bytes(job->raw.dtype), count = (size_t)row_width(job->raw);
    memcpy((char *)job->raw.data + (size_t)row * count * element,
           (const char *)job->heads.data + (size_t)(row * row_width(job->heads)) * element, count * element);
}

void cpu_qk_norm_forward(struct device *dev, struct tensor qkv, struct tensor raw, struct tensor rstd,
                         const struct qk_norms *norms, const struct rotation *rotation) {
    int64_t width = row_width(raw);
    float *scratch = cpu_scratch(dev, (size_t)(2 + 2 * dev->num_threads) * (size_t)width * sizeof(float));
    const struct qk_job job = open_job(qkv, raw, rstd, norms, scratch);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (qkv.dims[0] > 1)
    for (int64_t i = 0; i < qkv.dims[0]; i++) {
        float *buffers = scratch + (2 + 2 * cpu_thread()) * width;
        keep_row(&job, i);
        norm_row(&job, i, buffers);
        if (rotation)
            rotate_row(qkv, i, rotation, 1.0f, buffers);
    }
}

/* unnorm_piece - piece i of a kind, counted over all rows: its gradient takes the place of that of its norm.  buffers: three
 * pieces. */
static void unnorm_piece(const struct qk_job *job, const struct head_kind *kind, int64_t i, float *block_dw,
                         float *buffers) {
    int64_t row = i / kind->num_pieces, piece = i % kind->num_pieces, width = kind->norm.width;
    int64_t first = kind->first + piece * width, at = row * row_width(job->heads) + first;
    float *dx = buffers, *to = row_target(job->heads, at, dx);
    const float *dy = row_open(job->heads, at, width, buffers + width);
    const float *x = row_open(job->raw, row * row_width(job->raw) + first, width, buffers + 2 * width);
    float rstd = ((const float *)job->rstd.data)[row * job->rstd.dims[1] + kind->first_piece + piece];
    memset(dx, 0, (size_t)width * sizeof(float));
    rms_backward_row(dx, block_dw, dy, x, rstd, &kind->norm);
    if (to != dx)
        memcpy(to, dx, (size_t)width * sizeof(float));
    row_commit(job->heads, at, width, dx);
}

/* unnorm_kind - all heads of a kind.  scratch: DW_BLOCKS pieces, and three for each thread. */
static void unnorm_kind(struct device *dev, const struct qk_job *job, const struct head_kind *kind,
                        struct tensor dw, float *scratch) {
    int64_t num_pieces = job->heads.dims[0] * kind->num_pieces, width = kind->norm.width;
    float *buffers = scratch + DW_BLOCKS * width;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int block = 0; block < DW_BLOCKS; block++) {
        float *block_dw = scratch + block * width;
        memset(block_dw, 0, (size_t)width * sizeof(float));
        for (int64_t i = block * num_pieces / DW_BLOCKS; i < (block + 1) * num_pieces / DW_BLOCKS; i++)
            unnorm_piece(job, kind, i, block_dw, buffers + 3 * cpu_thread() * width);
    }
    norm_add_blocks(dw, scratch, width);
}

void cpu_qk_norm_backward(struct device *dev, struct tensor dqkv, struct qk_norm_grad dw, struct tensor raw,
                          struct tensor rstd, const struct qk_norms *norms) {
    int64_t query = norms->query.w.dims[0], key = norms->key.w.dims[0], widest = query > key ? query : key;
    size_t num_floats = (size_t)(2 * (query + key) + (DW_BLOCKS + 3 * dev->num_threads) * widest);
    float *scratch = cpu_scratch(dev, num_floats * sizeof(float));
    const struct qk_job job = open_job(dqkv, raw, rstd, norms, scratch);
    unnorm_kind(dev, &job, &job.kinds[0], dw.query, scratch + 2 * (query + key));
    unnorm_kind(dev, &job, &job.kinds[1], dw.key, scratch + 2 * (query + key));
}
