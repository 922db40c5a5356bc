/* tokenizer_parts.h - what a tokenizer consists of.  Private to the tokenizer_*.c files. */
#pragma once

#include "data/sha256.h"
#include "data/tokenizer/tokenizer_added.h"
#include "data/tokenizer/tokenizer_bpe.h"
#include "data/tokenizer/tokenizer_decode.h"
#include "data/tokenizer/tokenizer_normal.h"
#include "data/tokenizer/tokenizer_split.h"

/* In the order of use: added tokens, normaliser, pre-tokeniser, model, post-processor; and back, decoder. */
struct tokenizer {
    struct char_table *chars;
    struct added_tokens added;
    struct normaliser normaliser;
    struct splitter splitter;
    struct vocab vocab;
    struct bpe bpe;
    struct token_list before, after; /* what the post-processor puts around a text */
    struct decoder decoder;

    int32_t bos, eos, pad;
    char *chat_template; /* NULL for none */
    char *tool_template; /* for conversations with tools; NULL: the same */
    char hash[SHA256_HEX_ROOM];
};

/* config_apply - bos, eos, pad and chat template from tokenizer_config.json (config may be NULL), with the
 * post-processor's tokens where the file says nothing.  Returns 0, or -1 with err set. */
int config_apply(struct tokenizer *tok, const json_t *config, struct err *err);

/* hash_compute - fill tok->hash; root is the parsed tokenizer.json. */
void hash_compute(struct tokenizer *tok, const json_t *root);
