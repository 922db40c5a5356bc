/* tokenizer_normal.h - the normaliser of a tokenizer: a list of steps applied to a text in turn. */
#pragma once

#include <jansson.h>

#include "data/tokenizer/tokenizer_chars.h"
#include "data/tokenizer/tokenizer_nfc.h"
#include "data/tokenizer/tokenizer_regex.h"

enum normal_kind {
    NORMAL_NFC,
    NORMAL_NFKC,
    NORMAL_LOWERCASE,
    NORMAL_PREPEND,
    NORMAL_REPLACE,       /* a string by a string */
    NORMAL_REPLACE_REGEX, /* each match of a regular expression by a string */
    NORMAL_PAD_MARKS,     /* a space after listed characters where a word or a space follows */
    NORMAL_STRIP,
};

struct normal_step {
    enum normal_kind kind;
    char *pattern, *content; /* owned */
    size_t pattern_bytes, content_bytes;
    struct regex *regex; /* owned */
    bool left, right;    /* NORMAL_STRIP */
    uint32_t *marks;     /* NORMAL_PAD_MARKS: the characters, owned */
    int num_marks;
};

struct normaliser {
    struct normal_step *steps;
    int num_steps;
    const struct char_table *chars; /* borrowed */
    struct nfc_table *nfc;          /* owned; NULL where no step needs it */
};

/* normaliser_parse - from the "normalizer" value of tokenizer.json (NULL: none).  Returns 0, or -1 with err
 * set: a component that is not supported.  normaliser_release frees in both cases. */
int normaliser_parse(struct normaliser *normaliser, const json_t *json, const struct char_table *chars,
                     struct err *err);
void normaliser_release(struct normaliser *normaliser);

/* normaliser_apply - run all steps on text (valid UTF-8).  *result is text itself or lies in one of the two
 * buffers.  Returns 0, or -1 with err set: a regular expression ran out of its limits. */
int normaliser_apply(const struct normaliser *normaliser, struct regex_state *regexes, struct text_span text,
                     struct text buffers[2], struct text_span *result, struct err *err);

/* A pattern of tokenizer.json, {"String": ...} or {"Regex": ...}.  Returns 0, or -1 with err set. */
int pattern_parse(const json_t *step, const char **pattern, size_t *length_bytes, bool *is_regex,
                  struct err *err);

/* replace_regex - text with each match replaced by content; false in *changed, and out untouched, when there is none.  Returns
 * 0, or -1 with err set, as regex_next does.  replace_string - the same for a plain string; whether there was one. */
int replace_regex(const struct regex *regex, struct regex_state *state, struct text_span text,
                  struct text_span content, struct text *out, bool *changed, struct err *err);
bool replace_string(struct text_span text, struct text_span pattern, struct text_span content,
                    struct text *out);
