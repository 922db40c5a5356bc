/* tokenizer_decode.h - the decoder of a tokenizer: steps that turn a list of token strings into text. */
#pragma once

#include <jansson.h>

#include "data/tokenizer/tokenizer_normal.h"

enum decode_kind {
    DECODE_BYTE_LEVEL,
    DECODE_BYTE_FALLBACK,
    DECODE_FUSE,
    DECODE_REPLACE,
    DECODE_STRIP,
    DECODE_METASPACE,
};

struct decode_step {
    enum decode_kind kind;
    struct replacement replacement;
    uint32_t character;  /* DECODE_STRIP: what is stripped; DECODE_METASPACE: what stands for a space */
    int64_t start, stop; /* DECODE_STRIP: at most this many at either end of each string */
    bool drops_first;    /* DECODE_METASPACE: the first string's replacements vanish */
};

/* Strings laid end to end; string i ends at ends[i]. */
struct string_list {
    struct text text;
    size_t *ends;
    int64_t count, room;
};
void string_list_end(struct string_list *list); /* what was appended to text since becomes a string */
void string_list_release(struct string_list *list);

struct decoder {
    struct decode_step *steps;
    int num_steps;
    bool joins_with_spaces; /* no decoder at all: strings are joined by spaces */
};

/* decoder_parse - from the "decoder" value of tokenizer.json (NULL: none).  Returns 0, or -1 with err set: a
 * component that is not supported.  decoder_release frees in both cases. */
int decoder_parse(struct decoder *decoder, const json_t *json, struct err *err);
void decoder_release(struct decoder *decoder);

/* decoder_apply - run the steps over the strings and append the text to out.  Empties strings.  Returns 0, or
 * -1 with err set: a regular expression ran out of its limits. */
int decoder_apply(const struct decoder *decoder, struct string_list *strings, struct text *out,
                  struct err *err);

/* decoder_append_token - the bytes of one token, whatever its neighbours: nothing is repaired, and nothing taken off at the
 * beginning.  Returns 0, or -1 with err set, as decoder_apply. */
int decoder_append_token(const struct decoder *decoder, struct text_span token, struct text *bytes,
                         struct err *err);
