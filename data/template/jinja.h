/* jinja.h - the chat template of a model, run: the part of Jinja2 that chat templates are written in, with
 * the settings of transformers (trim_blocks, lstrip_blocks, raise_exception).
 *
 * Nothing is guessed: what lies outside that part (numbers with a point, lists as text, the present date) is refused by name when
 * the template reaches it for a conversation, and what Python would refuse is refused.  Every byte of the
 * result knows the message that it comes from, so that no message can be taken for the template's own text.
 */
#pragma once

#include "data/corpus/text.h"

struct jinja; /* a parsed template; read-only, may be shared by threads */

struct jinja_message {
    const char *role;
    const char *content; /* UTF-8, may hold NUL */
    size_t content_bytes;
};

/* What a template can ask for. */
struct jinja_input {
    const struct jinja_message *messages; /* borrowed */
    int num_messages;                     /* at most JINJA_MAX_MESSAGES */
    const char *bos_token, *eos_token;    /* NULL: the tokenizer has none */
    bool add_generation_prompt;
};
enum { JINJA_MAX_MESSAGES = 65534 };

/* What came of a rendering. */
enum jinja_outcome {
    JINJA_DONE,
    JINJA_RAISED,  /* the template itself refuses this conversation, with its message in err */
    JINJA_REFUSED, /* err says what cannot be done */
};

/* Bytes of a result that come from one place. */
struct jinja_stretch {
    size_t end_byte; /* it begins where the one before ends */
    uint16_t origin; /* 0: the template wrote it; 1 + i: of the content of message i */
};

/* The result; start from {0}, jinja_text_release frees. */
struct jinja_text {
    struct text text;
    struct jinja_stretch *stretches; /* in order, none empty, neighbours of different origins */
    int64_t num_stretches, stretches_room;
};
void jinja_text_release(struct jinja_text *out);
/* jinja_text_origin - of one byte. */
uint16_t jinja_text_origin(const struct jinja_text *text, size_t at_byte);

/* jinja_parse - returns NULL with err set: not a template, or outside the part that is known.  jinja_free
 * frees. */
struct jinja *jinja_parse(const char *source, struct err *err);
void jinja_free(struct jinja *template);

/* jinja_reads - whether the template looks at this field of a message: of whatever it also asks the role of. */
bool jinja_reads(const struct jinja *template, const char *field);

/* jinja_render - out is emptied first. */
enum jinja_outcome jinja_render(const struct jinja *template, const struct jinja_input *input,
                                struct jinja_text *out, struct err *err);
