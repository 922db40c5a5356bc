/* attention.c - attention on the CPU, forward: training (packed documents), and prompts over a cache.
 *
 * Blocks of 64 queries by 64 keys with an online softmax (Dao 2023, algorithm 1).  Scores are kept
 * transposed, [keys, queries]: the maximum and the sum of each query then run down columns, 64 queries side
 * by side in vector lanes, with no horizontal step.  A task is one block of queries of one head; every
 * output is written by one task, over key blocks in order, so results do not depend on scheduling.
 * Where the processor multiplies pairs of bf16, tensors of bf16 stay in it and probabilities are rounded to it; sums are
 * f32 in both forms. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/attention.h"

struct block_form block_form_of(const struct device *dev, enum dtype type,
                                const struct attention_args *args) {
    const struct cpu_state *state = dev->state;
    int width = (int)padded_width(args->head_dim), depth = (int)args->head_dim;
    if (type == DTYPE_BF16 && state->block_gemm_pairs)
        return (struct block_form){state->block_gemm_pairs, 2, width, (depth + 1) / 2, 1, args->scale};
    return (struct block_form){state->block_gemm, 1, width, depth, args->scale, 1};
}

void form_pack(const struct block_form *form, void *block, struct tensor t, int64_t first, int64_t head,
               float scale) {
    if (form->together == 1)
        pack_block(block, t, first, head, form->width, scale);
    else
        pack_pairs(block, t, first, head, form->width);
}

void form_pack_across(const struct block_form *form, void *block) {
    if (form->together == 2)
        pair_rows((uint32_t *)block + BLOCK * form->width / 2, block, form->width);
}

/* Running softmax of a block of queries. */
struct softmax_state {
    float max[BLOCK], sum[BLOCK];
    float shrink[BLOCK]; /* e^(old max - new max): what earlier sums must be multiplied by */
};

/* Per-thread memory of the forward. */
struct forward_work {
    struct softmax_state softmax;
    float scores[BLOCK * BLOCK];
    uint16_t rounded[BLOCK * BLOCK];         /* scores in bf16, */
    uint32_t pairs[BLOCK / 2 * BLOCK];       /* and as pairs of keys */
    float *query_rows, *query_columns, *out; /* [BLOCK, width], [D, BLOCK], [BLOCK, width] */
};

/* What every task reads. */
struct forward_job {
    const struct attention_blocks *at;
    const struct attention_args *args;
    struct row_keys seen;
    struct block_form form;
    int64_t width, num_blocks; /* of keys */
    float *keys, *values;      /* [G, blocks, BLOCK, width], of pairs half of each block */
};

/* softmax_block - scores become probabilities relative to the running maximum, which is brought up to date.
 */
CPU_CLONES_FUSED
static void softmax_block(float *restrict scores, struct softmax_state *restrict state) {
    float max[BLOCK], sum[BLOCK];
    for (int q = 0; q < BLOCK; q++) {
        max[q] = state->max[q];
        sum[q] = 0;
    }
    for (int k = 0; k < BLOCK; k++)
        for (int q = 0; q < BLOCK; q++)
            max[q] = scores[k * BLOCK + q] > max[q] ? scores[k * BLOCK + q] : max[q];
    for (int k = 0; k < BLOCK; k++)
        for (int q = 0; q < BLOCK; q++) {
            float p = exp_f32(scores[k * BLOCK + q] - max[q]);
            scores[k * BLOCK + q] = p;
            sum[q] += p;
        }
    for (int q = 0; q < BLOCK; q++) {
        state->shrink[q] = exp_f32(state->max[q] - max[q]);
        state->sum[q] = state->sum[q] * state->shrink[q] + sum[q];
        state->max[q] = max[q];
    }
}

CPU_CLONES_FUSED
void cap_scores(float *scores, int64_t count, float cap) {
    float inverse = 1.0f / cap;
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        scores[i] = cap * tanh_f32(scores[i] * inverse);
}

CPU_CLONES
static void scale_rows(float *restrict rows, const float *restrict factors, int64_t width) {
    for (int i = 0; i < BLOCK; i++)
        for (int64_t d = 0; d < width; d++)
            rows[i * width + d] *= factors[i];
}

/* attend_scores - scores of a block of keys become probabilities; returns them as the second product reads them. */
static const void *attend_scores(const struct forward_job *job, struct forward_work *work, int64_t key_block,
                                 int64_t query_block) {
    if (job->form.score_scale != 1)
        scale_scores(work->scores, job->form.score_scale);
    if (job->args->softcap > 0)
        cap_scores(work->scores, BLOCK * BLOCK, job->args->softcap);
    mask_block(work->scores, key_block, query_block, &job->seen);
    softmax_block(work->scores, &work->softmax);
    if (job->form.together == 1)
        return work->scores;
    round_block(work->rounded, work->scores);
    pair_rows(work->pairs, work->rounded, BLOCK);
    return work->pairs;
}

/* attend_block - fold one block of keys into the running output. */
static void attend_block(const struct forward_job *job, struct forward_work *work, int64_t kv_head,
                         int64_t key_block, int64_t query_block) {
    int64_t offset = (kv_head * job->num_blocks + key_block) * BLOCK * job->width;
    int width = (int)job->width, together = job->form.together;
    job->form.gemm(&(struct block_product){.c = work->scores,
                                           .a = job->keys + offset,
                                           .b = work->query_columns,
                                           .a_row = width / together,
                                           .a_col = 1,
                                           .depth = job->form.depth,
                                           .cols = BLOCK,
                                           .write = OP_OVERWRITE});
    const void *probabilities = attend_scores(job, work, key_block, query_block);
    scale_rows(work->out, work->softmax.shrink, job->width);
    job->form.gemm(&(struct block_product){.c = work->out,
                                           .a = probabilities,
                                           .b = form_across(&job->form, job->values + offset),
                                           .a_row = 1,
                                           .a_col = BLOCK,
                                           .depth = BLOCK / together,
                                           .cols = width,
                                           .write = OP_ACCUMULATE});
}

/* finish_rows - divide by the softmax sums; store the output rows and their log-sum-exp. */
static void finish_rows(const struct forward_job *job, struct forward_work *work, int64_t head,
                        int64_t query_block) {
    int64_t num_heads = job->args->num_heads, head_dim = job->args->head_dim;
    float inverse[BLOCK];
    for (int q = 0; q < BLOCK; q++)
        inverse[q] = 1.0f / work->softmax.sum[q];
    scale_rows(work->out, inverse, job->width);
    struct tensor out = job->at->out;
    for (int64_t q = 0; q < BLOCK && query_block * BLOCK + q < out.dims[0]; q++) {
        int64_t at = (query_block * BLOCK + q) * num_heads + head;
        const float *row = work->out + q * job->width;
        if (out.dtype == DTYPE_F32)
            memcpy((float *)out.data + at * head_dim, row, (size_t)head_dim * sizeof(float));
        row_commit(out, at * head_dim, head_dim, row);
        ((float *)job->at->lse.data)[at] = work->softmax.max[q] + logf(work->softmax.sum[q]);
    }
}

/* forward_task - one block of queries of one head, against the blocks of keys from the first that its first row
 * sees to the last that its last row sees. */
static void forward_task(const struct forward_job *job, struct forward_work *work, int64_t head,
                         int64_t query_block) {
    const struct attention_args *args = job->args;
    int64_t kv_head = head * args->num_kv_heads / args->num_heads;
    form_pack(&job->form, work->query_rows, job->at->queries, query_block * BLOCK, head,
              job->form.query_scale);
    transpose_block(work->query_columns, work->query_rows, job->width / job->form.together, job->form.depth);
    memset(work->out, 0, (size_t)(BLOCK * job->width) * sizeof(float));
    for (int q = 0; q < BLOCK; q++) {
        work->softmax.max[q] = -FLT_MAX; /* finite: a block that masks a whole row must not give inf - inf */
        work->softmax.sum[q] = 0;
    }
    int64_t last = row_last_key(&job->seen, block_last_row(&job->seen, query_block)) / BLOCK;
    for (int64_t k = job->seen.first[query_block * BLOCK] / BLOCK; k <= last; k++)
        attend_block(job, work, kv_head, k, query_block);
    finish_rows(job, work, head, query_block);
}

/* pack_keys_values - all key and value heads as dense blocks, once for all query heads. */
static void pack_keys_values(struct device *dev, const struct forward_job *job) {
    const struct attention_blocks *at = job->at;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t t = 0; t < job->args->num_kv_heads * job->num_blocks; t++) {
        int64_t kv_head = t / job->num_blocks, first = t % job->num_blocks * BLOCK;
        int64_t offset = t * BLOCK * job->width;
        form_pack(&job->form, job->keys + offset, at->keys, first, at->first_key_head + kv_head, 1.0f);
        form_pack(&job->form, job->values + offset, at->values, first, at->first_value_head + kv_head, 1.0f);
        form_pack_across(&job->form, job->values + offset);
    }
}

void cpu_attention_blocks(struct device *dev, const struct attention_blocks *at,
                          const struct attention_args *args) {
    int64_t num_queries = (at->queries.dims[0] + BLOCK - 1) / BLOCK;
    int64_t num_blocks = (at->keys.dims[0] + BLOCK - 1) / BLOCK, width = padded_width(args->head_dim);
    int64_t packed_count = args->num_kv_heads * num_blocks * BLOCK * width;
    size_t rows_bytes = (size_t)(BLOCK * width) * sizeof(float);
    size_t work_bytes = sizeof(struct forward_work) + 3 * rows_bytes;
    char *scratch =
        cpu_scratch(dev, (size_t)(2 * packed_count) * sizeof(float) + (size_t)dev->num_threads * work_bytes);
    float *keys = (float *)(scratch + (size_t)dev->num_threads * work_bytes), *values = keys + packed_count;
    struct forward_job job = {
        at,   args,  row_keys_of(&at->mask), block_form_of(dev, at->products, args), width, num_blocks,
        keys, values};
    pack_keys_values(dev, &job);
#pragma omp parallel for num_threads(dev->num_threads) schedule(dynamic, 1)
    for (int64_t t = 0; t < num_queries * args->num_heads; t++) {
        char *mine = scratch + (size_t)cpu_thread() * work_bytes;
        struct forward_work *work = (struct forward_work *)mine;
        work->query_rows = (float *)(mine + sizeof *work);
        work->query_columns = work->query_rows + BLOCK * width;
        work->out = work->query_columns + BLOCK * width;
        /* The last queries see the most keys: start with them, so that no long task is left over. */
        forward_task(&job, work, t % args->num_heads, num_queries - 1 - t / args->num_heads);
    }
}

void cpu_attention_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                           const struct attention_mask *mask, const struct attention_args *args) {
    struct attention_blocks at = {.out = out,
                                  .lse = lse,
                                  .queries = qkv,
                                  .keys = qkv,
                                  .values = qkv,
                                  .first_key_head = args->num_heads,
                                  .first_value_head = args->num_heads + args->num_kv_heads,
                                  .mask = *mask,
                                  .products = qkv.dtype};
    cpu_attention_blocks(dev, &at, args);
}
