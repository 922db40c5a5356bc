/* jinja.h - the chat template of a model, run: the part of Jinja2 that chat templates are written in, with
 * the settings of transformers (trim_blocks, lstrip_blocks, raise_exception).
 *
 * Nothing is guessed: what lies outside that part is refused by name and line when the template reaches it for a
 * conversation, and what Python or the sandbox would refuse is refused.  Every byte of the result knows the message
 * that it comes from, through every filter, slice and sum, so that no message can be taken for the template's own text.
 */
#pragma once

#include "data/corpus/text.h"

struct jinja; /* a parsed template; read-only, may be shared by threads */

struct json_t; /* jansson's */

struct jinja_message {
    const char *role;
    const char *content; /* UTF-8, may hold NUL */
    size_t content_bytes;
};

/* What a message has beside its role and one text. */
struct jinja_more {
    const struct json_t *fields; /* all of it as it was written, in its order; NULL: role and content alone */
    const size_t *part_bytes; /* [num_parts] the content is a list of so many texts, which make up content */
    int num_parts;            /* 0: it is one text, or null or absent as fields say */
};

/* What a template can ask for. */
struct jinja_input {
    const struct jinja_message *messages; /* borrowed */
    int num_messages;                     /* at most JINJA_MAX_MESSAGES */
    const struct jinja_more *more;        /* [num_messages], or NULL: none has more */
    const char *bos_token, *eos_token;    /* NULL: the tokenizer has none */
    bool add_generation_prompt;
    const char *pad_token;       /* or NULL */
    const char *date;            /* that strftime_now writes, YYYY-MM-DD; NULL: what asks for it is refused */
    const struct json_t *tools;  /* a list, or NULL: none */
    const struct json_t *kwargs; /* an object of other names for the template, as enable_thinking; or NULL */
};
/* JINJA_OTHER - the origin of what comes from tools and kwargs. */
enum { JINJA_MAX_MESSAGES = 32766, JINJA_OTHER = 32767 };

/* What came of a rendering. */
enum jinja_outcome {
    JINJA_DONE,
    JINJA_RAISED,  /* the template itself refuses this conversation, with its message in err */
    JINJA_REFUSED, /* err says what cannot be done */
};

/* Bytes of a result that come from one place. */
struct jinja_stretch {
    size_t end_byte;   /* it begins where the one before ends */
    uint16_t origin;   /* 0: the template wrote it; 1 + i: of message i; JINJA_OTHER */
    bool is_generated; /* written inside of a {% generation %} block */
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

/* jinja_marks_generation - whether the template has a {% generation %} block. */
bool jinja_marks_generation(const struct jinja *template);

/* jinja_render - out is emptied first. */
enum jinja_outcome jinja_render(const struct jinja *template, const struct jinja_input *input,
                                struct jinja_text *out, struct err *err);
