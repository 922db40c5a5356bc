/* attention_backward.c - gradient of attention on the CPU (Dao 2023, algorithm 2).
 *
 * With S = scale q k^T, P = e^(S - lse), delta = rowsum(dout * out):
 *   dV = P^T dout,  dP = dout V^T,  dS = P (dP - delta),  dQ = scale dS K,  dK = scale dS^T Q.
 * With a soft-cap, S = cap tanh(scale q k^T / cap) and dS gains the factor 1 - (S / cap)^2.
 * Blocks of 64 x 64, scores transposed ([keys, queries]) as in the forward; queries are packed with the scale
 * in them, or with bf16 as it is (struct block_form): then P and dS are rounded to bf16 for the products that read them, as
 * on a GPU.  A task is one query head and one stretch of keys.  dK and dV of a key block belong to one task;
 * dQ is summed over the stretches, whose number depends on the sequence alone, and dK and dV over the query
 * heads of a kv head, in order, at the end.  So the bits do not depend on the number of threads.
 * A rotation is undone row by row while the finished row is in the cache: rounded to its type before and
 * after. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/attention.h"

enum {
    MAX_STRETCHES = 4,     /* bounds the memory for partial dQ */
    STRETCH_MIN_BLOCKS = 4 /* below that, more tasks do not balance better */
};

/* Memory of a thread: P and dS of a pair of blocks, in f32 and as bf16. */
struct pair_work {
    float scores[BLOCK * BLOCK], dp[BLOCK * BLOCK];
    uint16_t p_rows[BLOCK * BLOCK], ds_rows[BLOCK * BLOCK];
    uint32_t ds_across[BLOCK / 2 * BLOCK];
};
enum { PAIR_WORK_FLOATS = sizeof(struct pair_work) / sizeof(float) };

/* Packed inputs and partial gradients, all [heads, blocks, ...] f32. */
struct backward_job {
    struct tensor dqkv, dout, out, lse, qkv;
    struct row_keys seen;
    const struct attention_args *args;
    struct block_form form;
    int64_t width, num_blocks, num_stretches;
    int64_t run_first, run_of;            /* blocks: where these begin in the micro-batch, and all of it */
    int64_t first_queries[MAX_STRETCHES]; /* the first block of queries that sees keys of each stretch */
    float *query_rows, *query_columns;    /* [H, blocks, BLOCK * width] */
    float *dout_rows, *dout_columns;      /* the same for dout */
    float *lse_rows, *delta_rows;         /* [H, blocks, BLOCK] */
    float *keys, *values;                 /* [G, blocks, BLOCK * width] */
    float *dkeys, *dvalues;               /* [H, blocks, BLOCK * width]: one part per query head */
    float *dqueries;                      /* [stretches, H, blocks, BLOCK * width] */
    float *work;                          /* [threads] of struct pair_work */
};

/* lay_out - share out the scratch; returns the floats needed (with base NULL: to size it). */
static int64_t lay_out(struct backward_job *job, float *base, int64_t num_threads) {
    int64_t block = BLOCK * job->width, at = 0;
    int64_t heads = job->args->num_heads * job->num_blocks,
            kv_heads = job->args->num_kv_heads * job->num_blocks;
    struct {
        float **place;
        int64_t count;
    } parts[] = {
        {&job->query_rows, heads * block},
        {&job->query_columns, heads * block},
        {&job->dout_rows, heads * block},
        {&job->dout_columns, heads * block},
        {&job->lse_rows, heads * BLOCK},
        {&job->delta_rows, heads * BLOCK},
        {&job->keys, kv_heads * block},
        {&job->values, kv_heads * block},
        {&job->dkeys, heads * block},
        {&job->dvalues, heads * block},
        {&job->dqueries, job->num_stretches * heads * block},
        {&job->work, num_threads * PAIR_WORK_FLOATS},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *parts[i].place = base ? base + at : NULL;
        at += parts[i].count;
    }
    return at;
}

/* row_statistics - lse and delta of one block of queries of one head.  Rows past the end get lse = infinity,
 * so that their probabilities vanish. */
static void row_statistics(const struct backward_job *job, int64_t head, int64_t block, float *buffers) {
    int64_t num_heads = job->args->num_heads, head_dim = job->args->head_dim;
    float *lse = job->lse_rows + (head * job->num_blocks + block) * BLOCK;
    float *delta = job->delta_rows + (head * job->num_blocks + block) * BLOCK;
    for (int64_t q = 0; q < BLOCK; q++) {
        int64_t at = (block * BLOCK + q) * num_heads + head;
        lse[q] = INFINITY;
        delta[q] = 0;
        if (block * BLOCK + q >= job->qkv.dims[0])
            continue;
        const float *out = row_open(job->out, at * head_dim, head_dim, buffers);
        const float *dout = row_open(job->dout, at * head_dim, head_dim, buffers + head_dim);
        delta[q] = dot_f32(dout, out, head_dim);
        lse[q] = ((const float *)job->lse.data)[at];
    }
}

/* A block of a head to be packed, times scale. */
struct packed_from {
    struct tensor t;
    int64_t first, head;
    float scale;
};

/* pack_twice - a block of queries as rows and as columns. */
static void pack_twice(const struct backward_job *job, float *rows, float *columns,
                       const struct packed_from *from) {
    form_pack(&job->form, rows, from->t, from->first, from->head, from->scale);
    transpose_block(columns, rows, job->width / job->form.together, job->form.depth);
    form_pack_across(&job->form, rows);
}

/* pack_inputs - every block once, before the tasks that read it many times; keys and values by the task of the head
 * that has their number. */
static void pack_inputs(struct device *dev, const struct backward_job *job) {
    const struct attention_args *args = job->args;
    int64_t num_heads = args->num_heads, block = BLOCK * job->width;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t t = 0; t < num_heads * job->num_blocks; t++) {
        int64_t head = t / job->num_blocks, index = t % job->num_blocks;
        row_statistics(job, head, index, job->query_rows + t * block); /* packed over below */
        pack_twice(job, job->query_rows + t * block, job->query_columns + t * block,
                   &(struct packed_from){job->qkv, index * BLOCK, head, job->form.query_scale});
        pack_twice(job, job->dout_rows + t * block, job->dout_columns + t * block,
                   &(struct packed_from){job->dout, index * BLOCK, head, 1.0f});
        if (head >= args->num_kv_heads)
            continue;
        form_pack(&job->form, job->keys + t * block, job->qkv, index * BLOCK, num_heads + head, 1.0f);
        form_pack_across(&job->form, job->keys + t * block);
        form_pack(&job->form, job->values + t * block, job->qkv, index * BLOCK,
                  num_heads + args->num_kv_heads + head, 1.0f);
    }
}

/* probabilities - scores become P, dp becomes dS. */
CPU_CLONES_FUSED
static void probabilities(float *restrict scores, float *restrict dp, const float *restrict lse,
                          const float *restrict delta) {
    for (int k = 0; k < BLOCK; k++)
        for (int q = 0; q < BLOCK; q++) {
            float p = exp_f32(scores[k * BLOCK + q] - lse[q]);
            scores[k * BLOCK + q] = p;
            dp[k * BLOCK + q] = p * (dp[k * BLOCK + q] - delta[q]);
        }
}

/* probabilities_capped - the same for scores under a soft-cap.  A masked score, minus infinity, counts as
 * -cap: slope 0, where 1 - infinity would turn its dS of 0 into NaN. */
CPU_CLONES_FUSED
static void probabilities_capped(float *restrict scores, float *restrict dp, const float *restrict lse,
                                 const float *restrict delta, float cap) {
    float inverse = 1.0f / cap;
    for (int k = 0; k < BLOCK; k++)
        for (int q = 0; q < BLOCK; q++) {
            float s = scores[k * BLOCK + q], p = exp_f32(s - lse[q]);
            float t = select_f32(s < -cap, -1.0f, s * inverse);
            scores[k * BLOCK + q] = p;
            dp[k * BLOCK + q] = p * (dp[k * BLOCK + q] - delta[q]) * (1.0f - t * t);
        }
}

/* pair_probabilities - scores become P, dp becomes dS. */
static void pair_probabilities(const struct backward_job *job, struct pair_work *work, int64_t at_q) {
    const float *lse = job->lse_rows + at_q * BLOCK, *delta = job->delta_rows + at_q * BLOCK;
    if (job->args->softcap > 0)
        probabilities_capped(work->scores, work->dp, lse, delta, job->args->softcap);
    else
        probabilities(work->scores, work->dp, lse, delta);
    if (job->form.together == 1)
        return;
    round_block(work->p_rows, work->scores);
    round_block(work->ds_rows, work->dp);
    pair_rows(work->ds_across, work->ds_rows, BLOCK);
}

/* pair_scores - scaled, capped and masked. */
static void pair_scores(const struct backward_job *job, float *scores, int64_t key_block,
                        int64_t query_block) {
    if (job->form.score_scale != 1)
        scale_scores(scores, job->form.score_scale);
    if (job->args->softcap > 0)
        cap_scores(scores, BLOCK * BLOCK, job->args->softcap);
    mask_block(scores, key_block, query_block, &job->seen);
}

/* block_pair - what one block of keys and one block of queries add to the three gradients. */
static void block_pair(const struct backward_job *job, struct pair_work *work, int64_t head,
                       int64_t key_block, int64_t query_block, float *dqueries) {
    const struct attention_args *args = job->args;
    const struct block_form *form = &job->form;
    int64_t kv_head = head * args->num_kv_heads / args->num_heads, block = BLOCK * job->width;
    int64_t at_q = head * job->num_blocks + query_block, at_k = head * job->num_blocks + key_block;
    int64_t at_kv = kv_head * job->num_blocks + key_block;
    int width = (int)job->width, row = width / form->together, side = BLOCK / form->together;
    bool is_paired = form->together == 2;
    const float *keys = job->keys + at_kv * block, *values = job->values + at_kv * block;
    form->gemm(&(struct block_product){work->scores, keys, job->query_columns + at_q * block, row, 1,
                                       form->depth, BLOCK, OP_OVERWRITE});
    pair_scores(job, work->scores, key_block, query_block);
    form->gemm(&(struct block_product){work->dp, values, job->dout_columns + at_q * block, row, 1,
                                       form->depth, BLOCK, OP_OVERWRITE});
    pair_probabilities(job, work, at_q);
    const void *p = is_paired ? (const void *)work->p_rows : work->scores;
    const void *ds = is_paired ? (const void *)work->ds_rows : work->dp;
    const void *ds_across = is_paired ? (const void *)work->ds_across : work->dp;
    form->gemm(&(struct block_product){job->dvalues + at_k * block, p,
                                       form_across(form, job->dout_rows + at_q * block), side, 1, side, width,
                                       OP_ACCUMULATE});
    form->gemm(&(struct block_product){job->dkeys + at_k * block, ds,
                                       form_across(form, job->query_rows + at_q * block), side, 1, side,
                                       width, OP_ACCUMULATE});
    form->gemm(&(struct block_product){dqueries + query_block * block, ds_across, form_across(form, keys), 1,
                                       BLOCK, side, width, OP_ACCUMULATE});
}

/* stretch_first - first key block of a stretch.  Those of a run of rows are cut where the whole micro-batch's are. */
static int64_t stretch_first(const struct backward_job *job, int64_t stretch) {
    int64_t first = stretch * job->run_of / job->num_stretches - job->run_first;
    if (first < 0)
        return 0;
    return first < job->num_blocks ? first : job->num_blocks;
}

/* first_queries - the first block of queries, from `block` on, whose last row sees as far as a block of keys. */
static int64_t first_queries(const struct row_keys *seen, int64_t block, int64_t key_block,
                             int64_t num_blocks) {
    while (block < num_blocks && row_last_key(seen, block_last_row(seen, block)) < key_block * BLOCK)
        block++;
    return block;
}

/* backward_task - one stretch of keys of one head: dK and dV of its blocks, and its part of dQ.  What it adds to is
 * cleared here, by the thread that fills it. */
static void backward_task(const struct backward_job *job, struct pair_work *work, int64_t head,
                          int64_t stretch) {
    int64_t block = BLOCK * job->width, num_blocks = job->num_blocks, begin = job->first_queries[stretch];
    size_t block_bytes = (size_t)block * sizeof(float);
    float *dqueries = job->dqueries + (stretch * job->args->num_heads + head) * num_blocks * block;
    memset(dqueries + begin * block, 0, (size_t)(num_blocks - begin) * block_bytes);
    for (int64_t k = stretch_first(job, stretch); k < stretch_first(job, stretch + 1); k++) {
        memset(job->dkeys + (head * num_blocks + k) * block, 0, block_bytes);
        memset(job->dvalues + (head * num_blocks + k) * block, 0, block_bytes);
        begin = first_queries(&job->seen, begin, k, num_blocks);
        /* First keys never decrease: past the first block of queries that starts after these keys, none
         * sees them. */
        for (int64_t q = begin; q < num_blocks && job->seen.first[q * BLOCK] < (k + 1) * BLOCK; q++)
            block_pair(job, work, head, k, q, dqueries);
    }
}

/* sum_parts - row = factor * (the same row of num_parts partial gradients), added in order. */
CPU_CLONES
static void sum_parts(float *restrict row, const float *restrict parts, int64_t num_parts, int64_t stride,
                      int64_t count, float factor) {
    for (int64_t d = 0; d < count; d++)
        row[d] = parts[d];
    for (int64_t p = 1; p < num_parts; p++)
        for (int64_t d = 0; d < count; d++)
            row[d] += parts[p * stride + d];
    for (int64_t d = 0; d < count; d++)
        row[d] *= factor;
}

/* gather_row - dqkv of one token.  Only stretches whose queries begin at or before its block wrote its dQ. */
static void gather_row(const struct backward_job *job, int64_t row, float *buffer) {
    const struct attention_args *args = job->args;
    int64_t head_dim = args->head_dim, num_heads = args->num_heads, group = num_heads / args->num_kv_heads;
    int64_t per_head = job->num_blocks * BLOCK * job->width, in_head = row * job->width, num_parts = 1;
    int64_t row_count = job->dqkv.dims[1] * head_dim;
    float *to = row_target(job->dqkv, row * row_count, buffer);
    while (num_parts < job->num_stretches && job->first_queries[num_parts] <= row / BLOCK)
        num_parts++;
    for (int64_t h = 0; h < num_heads; h++)
        sum_parts(to + h * head_dim, job->dqueries + h * per_head + in_head, num_parts, num_heads * per_head,
                  head_dim, args->scale);
    for (int64_t g = 0; g < args->num_kv_heads; g++) {
        int64_t from = g * group * per_head + in_head;
        float *dkey = to + (num_heads + g) * head_dim;
        sum_parts(dkey, job->dkeys + from, group, per_head, head_dim, job->form.score_scale);
        sum_parts(dkey + args->num_kv_heads * head_dim, job->dvalues + from, group, per_head, head_dim, 1.0f);
    }
    row_commit(job->dqkv, row * row_count, row_count, to);
}

void cpu_attention_backward(struct device *dev, struct tensor dqkv, struct tensor dout, struct tensor out,
                            struct tensor lse, struct tensor qkv, const struct attention_mask *mask,
                            const struct attention_args *args, const struct rotation *rotation) {
    int64_t num_rows = qkv.dims[0], num_blocks = (num_rows + BLOCK - 1) / BLOCK;
    int64_t run_of = mask->run_of ? (mask->run_of + BLOCK - 1) / BLOCK : num_blocks;
    int64_t stretches = (run_of + STRETCH_MIN_BLOCKS - 1) / STRETCH_MIN_BLOCKS;
    struct backward_job job = {.dqkv = dqkv, .dout = dout, .out = out, .lse = lse, .qkv = qkv, .args = args};
    job.seen = row_keys_of(mask);
    job.form = block_form_of(dev, qkv.dtype == dout.dtype ? qkv.dtype : DTYPE_F32, args);
    job.width = padded_width(args->head_dim);
    job.num_blocks = num_blocks;
    job.run_first = mask->run_first / BLOCK;
    job.run_of = run_of;
    job.num_stretches = stretches < MAX_STRETCHES ? stretches : MAX_STRETCHES;
    for (int64_t s = 0; s < job.num_stretches; s++)
        job.first_queries[s] = first_queries(&job.seen, 0, stretch_first(&job, s), num_blocks);
    int64_t row_count = qkv.dims[1] * args->head_dim, num_floats = lay_out(&job, NULL, dev->num_threads);
    float *scratch = cpu_scratch(dev, (size_t)(num_floats + dev->num_threads * row_count) * sizeof(float));
    lay_out(&job, scratch, dev->num_threads);
    pack_inputs(dev, &job);
#pragma omp parallel for num_threads(dev->num_threads) schedule(dynamic, 1)
    for (int64_t t = 0; t < job.num_stretches * args->num_heads;
         t++) /* the first stretch has the most work */
        backward_task(&job, (struct pair_work *)(job.work + cpu_thread() * PAIR_WORK_FLOATS),
                      t % args->num_heads, t / args->num_heads);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t i = 0; i < num_rows; i++) {
        float *buffer = scratch + num_floats + cpu_thread() * row_count;
        gather_row(&job, i, buffer);
        if (rotation)
            rotate_row(dqkv, i, rotation, -1.0f, buffer);
    }
}
