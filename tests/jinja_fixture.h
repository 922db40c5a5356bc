/* jinja_fixture.h - what the tests of chat templates share: messages and texts of the golden files, one template
 * rendered. */
#pragma once

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/template/jinja.h"
#include "tests/check.h"

enum { MAX_MESSAGES = 8 };

/* read_messages - a list [{"role": ..., "content": ...}] into messages [MAX_MESSAGES], texts borrowed; returns their
 * number. */
static inline int read_messages(const json_t *list, struct jinja_message *messages) {
    const json_t *message;
    size_t i;
    assert_true(json_array_size(list) <= MAX_MESSAGES);
    json_array_foreach(list, i, message) {
        const json_t *content = json_object_get(message, "content");
        messages[i] = (struct jinja_message){json_string_value(json_object_get(message, "role")),
                                             json_string_value(content), json_string_length(content)};
    }
    return (int)json_array_size(list);
}

/* render_input - a template parsed, rendered and freed; one that does not parse is refused. */
static inline enum jinja_outcome render_input(const char *source, const struct jinja_input *input,
                                              struct jinja_text *out, struct err *err) {
    struct jinja *template = jinja_parse(source, err);
    enum jinja_outcome outcome = template ? jinja_render(template, input, out, err) : JINJA_REFUSED;
    jinja_free(template);
    return outcome;
}

/* same - out is the golden file's string. */
static inline bool same(const struct jinja_text *out, const json_t *text) {
    return out->text.length_bytes == json_string_length(text) &&
           (out->text.length_bytes == 0 ||
            memcmp(out->text.bytes, json_string_value(text), out->text.length_bytes) == 0);
}
