/* prepare_form.h - the spellings of a conversation, told apart by the fields of a line: a list of messages, ShareGPT's list of
 * {from, value}, Alpaca's instruction with input and output, a prompt with a completion.  Each becomes the messages that it
 * means, and is written as such. */
#pragma once

#include "data/corpus/prepare_batch.h"

/* How a line says its conversation. */
struct line_form {
    enum conversation_form
        form; /* of a list FORM_MESSAGES or FORM_SHAREGPT as the source says, FORM_AUTO: by each message */
    const char *field;      /* of a list */
    struct json_line found; /* of a list: where it is; else the names of the line */
};

/* form_find - of a line of valid UTF-8, as the source says or by its fields: of several forms the only one that the line has
 * whole, else the only one of which it has something; null, "", [] and {} are nothing.  Returns 0, or -1 with err set: not JSON,
 * none of the forms, several of them, a field of another type.
 * form_check_columns - the same of a table, of which sample is a record (table_append_sample): that it may have rows with a
 * form.  Which one is said by each row. */
int form_find(const struct prepare_source *source, struct text_span line, struct line_form *found,
              struct err *err);
int form_check_columns(const struct prepare_source *source, struct text_span sample, struct err *err);

/* form_has_field - whether a conversation in such a form may have a field of this name, beside what every form may have. */
bool form_has_field(enum conversation_form form, struct text_span name);

/* form_is_list - the conversation is in one field; else in several. */
bool form_is_list(const struct line_form *found);

/* form_parse - as source_parse_chat, with the messages still as the line has them; NULL with err set.  form_convert - and as
 * {role, content}.  Returns 0, or -1 with err set: a role that is not known, both spellings in a message. */
json_t *form_parse(const struct line_form *found, struct text_span line, struct err *err);
int form_convert(const struct line_form *found, json_t *root, struct err *err);
