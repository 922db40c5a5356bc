/* tokenizer.h - text to token ids and back, from a Hugging Face tokenizer.json.
 *
 * Byte-level BPE (Llama 3, SmolLM2, Qwen, Tekken) and SentencePiece-style BPE with byte fallback (Llama 2,
 * Lucie), with the normalisers, pre-tokenisers, post-processors, decoders and added tokens of those files.
 * A component that is not supported is refused by name when the file is loaded, never ignored.
 * The tokenizer itself is read-only after loading and may be shared by threads; each thread encodes through
 * its own struct encoder (caches, scratch). */
#pragma once

#include "data/corpus/text.h"
#include "kernels/error.h"

struct tokenizer;
struct encoder;

/* Ids, growing; the caller's.  Freed with token_list_release. */
struct token_list {
    int32_t *ids;
    int64_t count, room;
};
/* token_list_push - one more; its room doubles. */
void token_list_push(struct token_list *list, int32_t id);
void token_list_release(struct token_list *list);

/* What encode does beyond the plain text. */
enum encode_flags {
    ENCODE_PLAIN = 0,
    ENCODE_ADD_SPECIAL = 1,   /* what the post-processor adds (bos, sometimes eos) */
    ENCODE_PARSE_SPECIAL = 2, /* special added tokens written in the text become their ids */
    ENCODE_CONTINUES =
        4, /* the text is not the beginning of one: Metaspace 'first' puts no space before it */
};

/* tokenizer_load - from a tokenizer.json, a tekken.json or a folder, as tokenizer_files.h reads them; tokenizer_config.json beside
 * it is read where present (bos, eos, pad, chat template).  tokenizer_parse - from text in memory (origin names it in messages,
 * config_text is the text of tokenizer_config.json or NULL).  Returns NULL with err set: unreadable, malformed,
 * unsupported. */
struct tokenizer *tokenizer_load(const char *path, struct err *err);
struct tokenizer *tokenizer_parse(const char *text, size_t length_bytes, const char *config_text,
                                  const char *origin, struct err *err);
/* tokenizer_read_template - a folder's chat_template.jinja, where it has one, counts before what tokenizer_config.json says;
 * tokenizer_load does so itself.  Returns 0, or -1 with err set. */
int tokenizer_read_template(struct tokenizer *tok, const char *folder, struct err *err);
void tokenizer_free(struct tokenizer *tok);

/* tokenizer_vocab_size and what follows - facts.  tokenizer_bos, _eos, _pad, _unknown - ids, -1 where the tokenizer has no such
 * token. */
int64_t tokenizer_vocab_size(const struct tokenizer *tok); /* highest id + 1, added tokens included */
int32_t tokenizer_bos(const struct tokenizer *tok);
int32_t tokenizer_eos(const struct tokenizer *tok);
int32_t tokenizer_pad(const struct tokenizer *tok);
int32_t tokenizer_unknown(const struct tokenizer *tok);
bool tokenizer_adds_bos(const struct tokenizer *tok); /* by its post-processor */
bool tokenizer_adds_eos(const struct tokenizer *tok);
bool tokenizer_normalises_nfc(const struct tokenizer *tok);       /* before anything else is done to a text */
const char *tokenizer_chat_template(const struct tokenizer *tok); /* Jinja text, or NULL */
/* tokenizer_tool_template - the one named "tool_use" for conversations with tools, where there are several; else NULL. */
const char *tokenizer_tool_template(const struct tokenizer *tok);
/* SHA-256 (hex, 64 characters) of vocabulary, merges, added tokens and pipeline in a canonical order: equal
 * for two files that tokenise alike, whatever their white space or key order. */
const char *tokenizer_hash(const struct tokenizer *tok);
/* The id of exactly this token string as it stands in the file's vocabulary or added tokens, or -1. */
int32_t tokenizer_id(const struct tokenizer *tok, const char *token, size_t length_bytes);

/* tokenizer_find_special - the first special token whose text stands somewhere in these bytes, or -1. */
int32_t tokenizer_find_special(const struct tokenizer *tok, const char *bytes, size_t length_bytes);

/* tokenizer_added_at - the longest added token that starts here, as it is found in a text before anything
 * else is done to it: its id with its length in *token_bytes, or -1.  tokenizer_strips - whether a token
 * takes the white space beside it. */
int32_t tokenizer_added_at(const struct tokenizer *tok, const char *bytes, size_t length_bytes,
                           size_t *token_bytes);
void tokenizer_strips(const struct tokenizer *tok, int32_t id, bool *left, bool *right);

/* encoder_open - scratch for one thread; the tokenizer itself may serve all of them.  encoder_close - frees.  encoder_encode - append the ids of text (UTF-8, may hold NUL
 * bytes). Returns 0, or -1 with err set: text is not UTF-8 (the byte offset is named). */
struct encoder *encoder_open(const struct tokenizer *tok);
void encoder_close(struct encoder *enc);
int encoder_encode(struct encoder *enc, const char *text, size_t length_bytes, unsigned flags,
                   struct token_list *out, struct err *err);

/* tokenizer_decode - the text of ids, malloc'ed, NUL-terminated (length in *length_bytes where not NULL).
 * Special tokens are left out when skip_special.  Incomplete UTF-8 is replaced by U+FFFD as the reference
 * does. Dies on an id outside [0, vocab_size). */
char *tokenizer_decode(const struct tokenizer *tok, const int32_t *ids, int64_t count, bool skip_special,
                       size_t *length_bytes);

/* tokenizer_append_token - the bytes that one token stands for, appended: not always whole characters, and with the space
 * that a text's first word loses when it is decoded.  Dies on an id outside [0, vocab_size). */
void tokenizer_append_token(const struct tokenizer *tok, int32_t id, struct text *bytes);

/* tokenizer_token_bytes - of each id how many bytes of text it stands for, [tokenizer_vocab_size], malloc'ed; special tokens stand for
 * none.  What a loss per token is made comparable by between tokenizers. */
int32_t *tokenizer_token_bytes(const struct tokenizer *tok);

/* What the exporters need (checkpoints/gguf/gguf_tokenizer.c): the vocabulary as it stands in the file. */
enum token_kind { TOKEN_NORMAL, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER_DEFINED, TOKEN_BYTE, TOKEN_UNUSED };
enum tokenizer_model { TOKENIZER_BYTE_LEVEL, TOKENIZER_SENTENCEPIECE };
struct token_entry {
    const char *text; /* borrowed, as in the file (byte-level: GPT-2 alphabet); NULL for a hole */
    size_t length_bytes;
    enum token_kind kind;
};
/* tokenizer_entry - of an id from 0 to tokenizer_vocab_size - 1.  tokenizer_num_merges - how many tokenizer_merge counts. */
enum tokenizer_model tokenizer_model(const struct tokenizer *tok);
struct token_entry tokenizer_entry(const struct tokenizer *tok, int32_t id);
int64_t tokenizer_num_merges(const struct tokenizer *tok);
/* Merge number i in priority order: ids of left, right and result. */
void tokenizer_merge(const struct tokenizer *tok, int64_t i, int32_t *left, int32_t *right, int32_t *result);
/* The regular expression of the pre-tokeniser's Split, or NULL ("" for plain ByteLevel with its own GPT-2
 * pattern). */
const char *tokenizer_pattern(const struct tokenizer *tok);
/* tokenizer_ignores_merges - a piece that is a token as a whole is not built by merges.  tokenizer_adds_space_prefix - a
 * space before the text, as SentencePiece puts one. */
bool tokenizer_ignores_merges(const struct tokenizer *tok);
bool tokenizer_adds_space_prefix(const struct tokenizer *tok);
/* Individual digits split before ByteLevel (SmolLM2). */
bool tokenizer_splits_digits(const struct tokenizer *tok);
/* How many added tokens take the white space beside them or stand for whole words only, and one of them
 * (NULL: none). tokenizer_prefix_is_first - Metaspace 'first': the space prefix at the beginning of a text
 * alone, not after each added token. */
int64_t tokenizer_num_particular(const struct tokenizer *tok, const char **example);
bool tokenizer_prefix_is_first(const struct tokenizer *tok);
/* Normaliser steps that GGUF cannot express (Lucie's 22), or NULL: a sentence for the user. */
const char *tokenizer_inexpressible(const struct tokenizer *tok);
