/* attention.h - what the forms of attention share; private to kernels/cpu/attention*.c. */
#pragma once

#include "kernels/cpu/cpu.h"

/* cap_scores - s = cap tanh(s / cap), for count scores; before the mask, whose -infinity must stay. */
void cap_scores(float *scores, int64_t count, float cap);

/* How blocks are multiplied: as f32, or, where all tensors are bf16 and the processor multiplies those, as pairs of them
 * (block_gemm_pairs).  A packed block takes BLOCK * width elements of 32 bits: the rows; of pairs the rows take half of that,
 * and the rest has room for them as pairs of two rows, which is how a second operand is read along its rows. */
struct block_form {
    block_gemm_fn *gemm;
    int together; /* values in an element: 1 or 2 */
    int width;    /* values of a packed row */
    int depth;    /* elements of a row that are not all padding */
    float query_scale,
        score_scale; /* one has the scale of the scores, the other is 1: bf16 queries are not scaled */
};

/* block_form_of - for tensors all of that type. */
struct block_form block_form_of(const struct device *dev, enum dtype type, const struct attention_args *args);

/* form_pack - the rows of a block, as pack_block has them; scale 1 for pairs.  form_pack_across - from them, what form_across
 * points to. */
void form_pack(const struct block_form *form, void *block, struct tensor t, int64_t first, int64_t head,
               float scale);
void form_pack_across(const struct block_form *form, void *block);
static inline const float *form_across(const struct block_form *form, const float *block) {
    return form->together == 1 ? block : block + BLOCK * form->width / 2;
}

/* Queries over keys and values that may lie elsewhere, and be more: those of a cache. */
struct attention_blocks {
    struct tensor out, lse;     /* [N, H, D], [N, H] f32 */
    struct tensor queries;      /* [N, heads, D]: the first H of each row */
    struct tensor keys, values; /* [K, heads, D]: G of each row, from these on */
    int64_t first_key_head, first_value_head;
    struct attention_mask mask; /* of the N rows, over the K keys */
    enum dtype products;        /* DTYPE_BF16: in that type where the processor does it; DTYPE_F32 */
};

/* cpu_attention_blocks - 64 queries by 64 keys at a time; uses the scratch. */
void cpu_attention_blocks(struct device *dev, const struct attention_blocks *at,
                          const struct attention_args *args);
