/* tokenizer_bpe.h - byte-pair encoding of one piece of text. */
#pragma once

#include "data/tokenizer/tokenizer_vocab.h"

/* One merge in the hash table: the pair (left << 32 | right), its priority (0 first) and what it becomes. */
struct merge_slot {
    uint64_t pair;
    uint32_t rank;
    int32_t result;
};

/* Read-only after loading. */
struct bpe {
    const struct vocab *vocab; /* borrowed */
    struct merge_slot *slots;  /* open addressing */
    uint64_t mask;
    int32_t (*merges)[3]; /* [num_merges] left, right, result, in priority order */
    int64_t num_merges;
    int32_t byte_ids[256]; /* byte-level: the token of each byte; else of its "<0xNN>"; -1 for none */
    int32_t *char_ids;     /* tokens of the code points below BPE_CHAR_IDS, -1 for none */
    int32_t unknown;       /* id of the unknown token, or -1 */
    bool byte_level, fuse_unknown, byte_fallback, ignore_merges;
    uint64_t *neighbours; /* Bloom filter of the character pairs inside tokens, or NULL: see bpe_cut */
    uint64_t neighbours_mask;
};
enum { BPE_CHAR_IDS = 0x3000 };

/* bpe_parse - from the "model" object of tokenizer.json, whose vocabulary is loaded.  Returns 0, or -1 with
 * err set; bpe_release frees in both cases. */
int bpe_parse(struct bpe *bpe, const json_t *model, const struct vocab *vocab, bool byte_level,
              struct err *err);
void bpe_release(struct bpe *bpe);

/* Scratch of one thread: symbols of the current piece, the queue of merges, the cache of pieces. */
struct bpe_state;

/* bpe_state_create - bpe is borrowed.  bpe_state_free - frees. */
struct bpe_state *bpe_state_create(const struct bpe *bpe);
void bpe_state_free(struct bpe_state *state);

/* bpe_encode - append the ids of one piece (valid UTF-8, not empty). */
void bpe_encode(struct bpe_state *state, const char *piece, size_t length_bytes, struct token_list *out);

/* bpe_cut - bytes of the longest start of text whose encoding does not depend on what follows.
 * A cut between two characters is exact when no token contains them side by side, since no merge can then
 * span it. SentencePiece-style tokenizers have no pre-tokeniser; cutting gives pieces that the cache knows.
 * Returns length_bytes where nothing can be cut. */
size_t bpe_cut(const struct bpe *bpe, const char *text, size_t length_bytes);
