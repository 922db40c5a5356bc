/* attention_cached.c - attention of new tokens over a cache of keys and values: generation.
 * A token or a few: reading the cache is the cost, and the form is the plain one, one query of one head per task, two passes.
 * Many, a prompt's: their products are the cost, and the form is that of training. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/attention.h"

/* What every task reads. */
struct cached_job {
    struct tensor out, lse, qkv, k_cache, v_cache;
    const struct attention_args *args;
    int64_t past;
};

/* fill_cache - the keys and values of the new tokens go after the past ones. */
static void fill_cache(const struct cached_job *job) {
    int64_t head_dim = job->args->head_dim;
    size_t element = dtype_bytes(job->qkv.dtype);
    size_t kv_bytes = (size_t)(job->args->num_kv_heads * head_dim) * element;
    for (int64_t i = 0; i < job->qkv.dims[0]; i++) {
        size_t to = (size_t)(job->past + i) * kv_bytes;
        const char *keys = (const char *)job->qkv.data +
                           (size_t)((i * job->qkv.dims[1] + job->args->num_heads) * head_dim) * element;
        memcpy((char *)job->k_cache.data + to, keys, kv_bytes);
        memcpy((char *)job->v_cache.data + to, keys + kv_bytes, kv_bytes);
    }
}

/* softmax_in_place - scores of one query become e^(score - max); returns their sum, and the maximum in *largest. */
CPU_CLONES_FUSED
static float softmax_in_place(float *scores, int64_t count, float *largest) {
    float max = scores[0], sum = 0;
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < count; i++)
        max = scores[i] > max ? scores[i] : max;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) {
        scores[i] = exp_f32(scores[i] - max);
        sum += scores[i];
    }
    *largest = max;
    return sum;
}

/* cached_row - one query of one head; buffers holds two rows, the output row and the scores. */
static void cached_row(const struct cached_job *job, int64_t row, int64_t head, float *buffers) {
    const struct attention_args *args = job->args;
    int64_t head_dim = args->head_dim, kv_head = head * args->num_kv_heads / args->num_heads;
    int64_t num_keys = job->past + row + 1, out_at = (row * args->num_heads + head) * head_dim;
    float *cache_row = buffers + head_dim, *scores = buffers + 3 * head_dim;
    const float *query = row_open(job->qkv, (row * job->qkv.dims[1] + head) * head_dim, head_dim, buffers);
    float *out = row_target(job->out, out_at, buffers + 2 * head_dim);
    for (int64_t j = 0; j < num_keys; j++) {
        int64_t at = (j * args->num_kv_heads + kv_head) * head_dim;
        scores[j] = args->scale * dot_f32(query, row_open(job->k_cache, at, head_dim, cache_row), head_dim);
    }
    if (args->softcap > 0)
        cap_scores(scores, num_keys, args->softcap);
    float max, sum = softmax_in_place(scores, num_keys, &max), inverse = 1.0f / sum;
    ((float *)job->lse.data)[row * args->num_heads + head] = max + logf(sum);
    memset(out, 0, (size_t)head_dim * sizeof(float));
    for (int64_t j = 0; j < num_keys; j++) {
        int64_t at = (j * args->num_kv_heads + kv_head) * head_dim;
        row_add(out, row_open(job->v_cache, at, head_dim, cache_row), head_dim, scores[j] * inverse);
    }
    row_commit(job->out, out_at, head_dim, out);
}

/* Fewer new tokens than these leave most of a block of queries empty. */
enum { LEAST_BLOCKED = 16 };

/* attend_blocked - the blocks want to be told which keys each row sees: all of the cache up to itself. */
static void attend_blocked(struct device *dev, const struct cached_job *job) {
    int64_t num_rows = job->qkv.dims[0];
    int32_t *first = xcalloc(2 * (size_t)num_rows, sizeof *first), *last = first + num_rows;
    for (int64_t i = 0; i < num_rows; i++)
        last[i] = (int32_t)(job->past + i);
    struct attention_blocks at = {
        .out = job->out,
        .lse = job->lse,
        .queries = job->qkv,
        .keys = tensor_rows(job->k_cache, 0, job->past + num_rows),
        .values = tensor_rows(job->v_cache, 0, job->past + num_rows),
        .mask = {tensor_1d(first, DTYPE_I32, num_rows), tensor_1d(last, DTYPE_I32, num_rows)},
        .products = DTYPE_F32}; /* as attend_plainly, so that how a prompt is cut changes little */
    cpu_attention_blocks(dev, &at, job->args);
    free(first);
}

static void attend_plainly(struct device *dev, const struct cached_job *job) {
    const struct attention_args *args = job->args;
    int64_t num_rows = job->qkv.dims[0], per_thread = 3 * args->head_dim + job->k_cache.dims[0];
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * per_thread) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t t = 0; t < num_rows * args->num_heads; t++)
        cached_row(job, t / args->num_heads, t % args->num_heads, scratch + cpu_thread() * per_thread);
}

/* All new tokens are in the cache before any is attended to: a prompt's later tokens see its earlier ones. */
void cpu_attention_cached(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                          struct tensor k_cache, struct tensor v_cache, int64_t past,
                          const struct attention_args *args) {
    struct cached_job job = {out, lse, qkv, k_cache, v_cache, args, past};
    fill_cache(&job);
    if (qkv.dims[0] < LEAST_BLOCKED)
        attend_plainly(dev, &job);
    else
        attend_blocked(dev, &job);
}
