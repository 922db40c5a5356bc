/* tokenizer_added.h - added tokens: strings that are found in the text before anything else is done to it. */
#pragma once

#include "data/tokenizer/tokenizer_chars.h"
#include "data/tokenizer/tokenizer_normal.h"
#include "data/tokenizer/tokenizer_vocab.h"

struct added_token {
    int32_t id;
    char *content; /* owned; as in the file */
    size_t content_bytes;
    char *match; /* owned; what is looked for: normalised where the token says so */
    size_t match_bytes;
    bool special, single_word, strips_left, strips_right, normalised;
};

/* Tokens looked for at the same stage, sorted by their match so that walking down a text is a narrowing of a
 * range. */
struct added_set {
    const struct added_token **sorted; /* [count] borrowed */
    int count;
    int first[257]; /* sorted[first[b]] .. sorted[first[b + 1]] start with byte b */
};

struct added_tokens {
    struct added_token *tokens; /* [count], by content */
    int count;
    struct added_set raw, normalised; /* matched on the text as it comes, and after the normaliser */
};

/* added_parse - from the "added_tokens" array (NULL: none).  added_highest - highest id + 1, 0 for none.
 * added_prepare - check against the vocabulary and enter new strings into it, normalise what is to be matched
 * normalised, sort.  Return 0, or -1 with err set; added_release frees in all cases. */
int added_parse(struct added_tokens *added, const json_t *json, struct err *err);
int64_t added_highest(const struct added_tokens *added);
int added_prepare(struct added_tokens *added, struct vocab *vocab, const struct normaliser *normaliser,
                  struct err *err);
void added_release(struct added_tokens *added);

/* The token of exactly this content, or NULL. */
const struct added_token *added_find(const struct added_tokens *added, const char *content,
                                     size_t length_bytes);

/* added_next - the next token in text at or after from: the leftmost, the longest of those (which may be
 * skipped: special ones unless with_special, single words inside a word; the search then goes on after
 * them).  Returns NULL for none; *span is the text it takes, with the white space it strips; *resume is where
 * to go on searching. */
const struct added_token *added_next(const struct added_set *set, const struct char_table *chars,
                                     struct text_span text, size_t from, bool with_special,
                                     struct text_span *span, size_t *resume);
