/* attention.h - what the forms of attention share; private to kernels/cpu/attention*.c. */
#pragma once

#include "kernels/cpu/cpu.h"

/* cap_scores - s = cap tanh(s / cap), for count scores; before the mask, whose -infinity must stay. */
void cap_scores(float *scores, int64_t count, float cap);

/* Queries over keys and values that may lie elsewhere, and be more: those of a cache. */
struct attention_blocks {
    struct tensor out, lse;     /* [N, H, D], [N, H] f32 */
    struct tensor queries;      /* [N, heads, D]: the first H of each row */
    struct tensor keys, values; /* [K, heads, D]: G of each row, from these on */
    int64_t first_key_head, first_value_head;
    struct attention_mask mask; /* of the N rows, over the K keys */
};

/* cpu_attention_blocks - 64 queries by 64 keys at a time; uses the scratch. */
void cpu_attention_blocks(struct device *dev, const struct attention_blocks *at,
                          const struct attention_args *args);
