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
    NORMAL_REPLACE,
    NORMAL_PAD_MARKS, /* a space after listed characters where a word or a space follows */
    NORMAL_STRIP,
};

/* Each place where a string stands, or where a regular expression matches, by another string; all owned. */
struct replacement {
    char *pattern, *content;
    size_t pattern_bytes, content_bytes;
    struct regex *regex; /* NULL: pattern is the string itself */
};

struct normal_step {
    enum normal_kind kind;
    struct replacement replacement; /* NORMAL_PREPEND: its content alone */
    bool left, right;               /* NORMAL_STRIP */
    uint32_t *marks;                /* NORMAL_PAD_MARKS: the characters, owned */
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

/* replacement_parse - a Replace of tokenizer.json.  Returns 0, or -1 with err set; replacement_release in both cases. */
int replacement_parse(struct replacement *replacement, const json_t *json, struct err *err);
void replacement_release(struct replacement *replacement);

/* replacement_apply - text with all of them replaced; false in *changed, and out untouched, where there is none.  Returns 0,
 * or -1 with err set, as regex_next does. */
int replacement_apply(const struct replacement *replacement, struct regex_state *regexes,
                      struct text_span text, struct text *out, bool *changed, struct err *err);
