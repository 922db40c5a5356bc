/* jinja_talk.h - conversations in JSON for the tests of chat templates: texts, lists of texts, whatever else messages have. */
#pragma once

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/template/jinja.h"

enum { TALK_MESSAGES = 64, TALK_PARTS = 64 };

/* A conversation of a golden file or a case, as the interpreter takes it. */
struct talk {
    struct jinja_message messages[TALK_MESSAGES];
    struct jinja_more more[TALK_MESSAGES];
    char *joined[TALK_MESSAGES];
    size_t part_bytes[TALK_MESSAGES][TALK_PARTS];
    int num_messages;
};

/* talk_parts - a list of texts, joined. */
static inline void talk_parts(struct talk *read, int i, const json_t *list) {
    struct text all = {0};
    CHECK(json_array_size(list) <= TALK_PARTS, "more than %d parts", TALK_PARTS);
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *text = json_object_get(json_array_get(list, k), "text");
        read->part_bytes[i][k] = json_string_length(text);
        text_append(&all, json_string_value(text), json_string_length(text));
    }
    read->joined[i] = text_copy(all.bytes ? all.bytes : "", all.length_bytes);
    read->messages[i].content = read->joined[i];
    read->messages[i].content_bytes = all.length_bytes;
    read->more[i].part_bytes = read->part_bytes[i];
    read->more[i].num_parts = (int)json_array_size(list);
    text_release(&all);
}

/* talk_read - a list of messages, whose texts are borrowed; talk_release frees what is not. */
static inline void talk_read(const json_t *list, struct talk *read) {
    const json_t *message;
    size_t i;
    CHECK(json_array_size(list) <= TALK_MESSAGES, "more than %d messages", TALK_MESSAGES);
    json_array_foreach(list, i, message) {
        const json_t *content = json_object_get(message, "content");
        read->messages[i] = (struct jinja_message){json_string_value(json_object_get(message, "role")),
                                                   json_is_string(content) ? json_string_value(content) : "",
                                                   json_string_length(content)};
        read->more[i] = (struct jinja_more){.fields = message};
        if (json_is_array(content))
            talk_parts(read, (int)i, content);
    }
    read->num_messages = (int)json_array_size(list);
}

static inline void talk_release(struct talk *read) {
    for (int i = 0; i < read->num_messages; i++)
        free(read->joined[i]);
}
