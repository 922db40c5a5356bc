/* tool_jinja.c - chat templates as a filter, for tests/interop/check_jinja.py and tests/golden/chat/make_jinja.py.
 *
 *   tool_jinja < cases > answers
 * A case is a line of JSON: {"template": ..., "messages": [{"role": ..., "content": ...}], "prompt": bool, "bos":
 * text or null}; the end token is </s>.  Its answer is a line of JSON: ["done", text], ["raised", why] or
 * ["refused", why]. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/template/jinja.h"

enum { MAX_MESSAGES = 64 };

/* read_messages - into messages [MAX_MESSAGES], borrowed from the list; returns their number. */
static int read_messages(const json_t *list, struct jinja_message *messages) {
    const json_t *message;
    size_t i;
    CHECK(json_array_size(list) <= MAX_MESSAGES, "more than %d messages", MAX_MESSAGES);
    json_array_foreach(list, i, message) {
        const json_t *content = json_object_get(message, "content");
        messages[i] = (struct jinja_message){json_string_value(json_object_get(message, "role")),
                                             json_string_value(content), json_string_length(content)};
    }
    return (int)json_array_size(list);
}

static json_t *answer(const json_t *c) {
    struct jinja_message messages[MAX_MESSAGES];
    struct jinja_input input = {.messages = messages,
                                .num_messages = read_messages(json_object_get(c, "messages"), messages),
                                .bos_token = json_string_value(json_object_get(c, "bos")),
                                .eos_token = "</s>",
                                .add_generation_prompt = json_is_true(json_object_get(c, "prompt"))};
    struct jinja_text out = {0};
    struct err err = {""};
    struct jinja *template = jinja_parse(json_string_value(json_object_get(c, "template")), &err);
    enum jinja_outcome outcome = template ? jinja_render(template, &input, &out, &err) : JINJA_REFUSED;
    json_t *result =
        outcome == JINJA_DONE
            ? json_pack("[so]", "done",
                        json_stringn(out.text.bytes ? out.text.bytes : "", out.text.length_bytes))
            : json_pack("[ss]", outcome == JINJA_RAISED ? "raised" : "refused", err.text);
    jinja_free(template);
    jinja_text_release(&out);
    CHECK(result, "an answer that is not UTF-8");
    return result;
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        json_error_t fault;
        json_t *c = json_loads(line, JSON_ALLOW_NUL, &fault);
        CHECK(c, "not a case: %s", fault.text);
        json_t *result = answer(c);
        json_dumpf(result, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(result);
        json_decref(c);
    }
    free(line);
    return 0;
}
