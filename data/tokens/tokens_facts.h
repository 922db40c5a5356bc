/* tokens_facts.h - inside the token file's modules: all that a reader has to know to read it with pread. They
 * come either from the seal at the end of the file (tokens_seal.h) or, for files without one, from a child
 * process that asked HDF5 (tokens_h5.h).  Both hand them over as bytes, which are believed only after the
 * checks of token_facts_decode. */
#pragma once

#include "data/corpus/text.h"
#include "data/tokens/h5.h"
#include "data/tokens/tokens.h"

/* The datasets that are large: one or more items per document or token. */
enum token_part {
    PART_TOKENS,
    PART_OFFSETS,
    PART_SOURCES,
    PART_MASK,
    PART_SIDES,
    PART_RECORDS, /* where documents stand in the files that they were read from (token_places.h) */
    PART_FILES,
    NUM_PARTS
};

struct token_facts {
    char *tokenizer_hash;
    int64_t vocab_size;
    struct h5_dataset parts[NUM_PARTS]; /* PART_MASK and those after it: count 0 where there is none */
    bool has_mask, has_sides, has_places;
    struct token_source *sources;
    int64_t num_sources;
    struct token_chat chat;
};

/* token_facts_encode - as bytes, appended. */
void token_facts_encode(const struct token_facts *facts, struct text *bytes);

/* token_facts_decode - returns 0, or -1 with err set and facts empty: bytes that end early or hold more,
 * types that do not belong, datasets not wholly inside the first file_bytes of the file, counts that
 * disagree.  token_facts_release - what facts hold; they are empty afterwards. */
int token_facts_decode(struct token_facts *facts, struct text_span bytes, int64_t file_bytes,
                       const char *path, struct err *err);
void token_facts_release(struct token_facts *facts);

/* token_facts_num_parts - the parts that the facts and the seal of such a file speak of: files without sides, or without places, are
 * written as before there were any.  token_facts_num_learnt - those of them that training sees. */
int token_facts_num_parts(const struct token_facts *facts);
int token_facts_num_learnt(const struct token_facts *facts);

/* token_part_name - of the dataset, for messages.  token_part_bytes - its length. */
const char *token_part_name(enum token_part part);
int64_t token_part_bytes(const struct token_facts *facts, enum token_part part);
