/* tokenizer_merge.h - lookups shared by loading and encoding a byte-pair encoding. */
#pragma once

#include "data/tokenizer/tokenizer_bpe.h"

#define MERGE_FREE UINT64_MAX /* no pair of ids: they are not negative */

/* merge_pair - two ids as one number.  merge_hash - its first place in the table of merges.  neighbour_hash - of two
 * characters that stand side by side, for bpe_cut's filter. */
static inline uint64_t merge_pair(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline uint64_t merge_hash(uint64_t pair) {
    pair *= 0x9E3779B97F4A7C15u;
    return pair ^ pair >> 32;
}

static inline uint64_t neighbour_hash(uint32_t left, uint32_t right) {
    return ((uint64_t)left << 21 | right) * 0x9E3779B97F4A7C15u >> 24;
}

/* The merge of two neighbouring ids, or NULL. */
static inline const struct merge_slot *merge_find(const struct bpe *bpe, int32_t left, int32_t right) {
    uint64_t pair = merge_pair(left, right);
    for (uint64_t at = merge_hash(pair) & bpe->mask;; at = (at + 1) & bpe->mask) {
        const struct merge_slot *slot = &bpe->slots[at];
        if (slot->pair == pair)
            return slot;
        if (slot->pair == MERGE_FREE)
            return NULL;
    }
}
