/* tool_jinja.c - chat templates as a filter, for tests/interop/check_jinja.py, check_templates.py and the makers of
 * tests/golden/chat.
 *
 *   tool_jinja < cases > answers
 * A case is a line of JSON: {"template": ..., "messages": [{"role": ..., "content": ...}], "prompt": bool, "bos":
 * text or null, "tools": list, "kwargs": object, "date": "YYYY-MM-DD"}, the last three where wanted; the end token is
 * </s>.  Its answer is a line of JSON: ["done", text, stretches], ["raised", why] or ["refused", why].  A stretch is
 * [end byte, origin, whether a generation block wrote it]. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/template/jinja.h"

enum { MAX_MESSAGES = 64, MAX_PARTS = 64 };

/* What a case holds, as the interpreter takes it. */
struct conversation {
    struct jinja_message messages[MAX_MESSAGES];
    struct jinja_more more[MAX_MESSAGES];
    char *joined[MAX_MESSAGES];
    size_t part_bytes[MAX_MESSAGES][MAX_PARTS];
    int num_messages;
};

/* read_parts - a list of texts, joined. */
static void read_parts(struct conversation *read, int i, const json_t *list) {
    struct text all = {0};
    CHECK(json_array_size(list) <= MAX_PARTS, "more than %d parts", MAX_PARTS);
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

static void read_messages(const json_t *list, struct conversation *read) {
    const json_t *message;
    size_t i;
    CHECK(json_array_size(list) <= MAX_MESSAGES, "more than %d messages", MAX_MESSAGES);
    json_array_foreach(list, i, message) {
        const json_t *content = json_object_get(message, "content");
        read->messages[i] = (struct jinja_message){json_string_value(json_object_get(message, "role")),
                                                   json_is_string(content) ? json_string_value(content) : "",
                                                   json_string_length(content)};
        read->more[i] = (struct jinja_more){.fields = message};
        if (json_is_array(content))
            read_parts(read, (int)i, content);
    }
    read->num_messages = (int)json_array_size(list);
}

static json_t *text_answer(const struct jinja_text *out) {
    json_t *stretches = json_array();
    for (int64_t i = 0; i < out->num_stretches; i++)
        json_array_append_new(stretches, json_pack("[Iib]", (json_int_t)out->stretches[i].end_byte,
                                                   out->stretches[i].origin, out->stretches[i].is_generated));
    return json_pack("[soo]", "done",
                     json_stringn(out->text.bytes ? out->text.bytes : "", out->text.length_bytes), stretches);
}

static json_t *answer(const json_t *c) {
    struct conversation *read = xcalloc(1, sizeof *read);
    read_messages(json_object_get(c, "messages"), read);
    struct jinja_input input = {.messages = read->messages,
                                .more = read->more,
                                .num_messages = read->num_messages,
                                .bos_token = json_string_value(json_object_get(c, "bos")),
                                .eos_token = "</s>",
                                .add_generation_prompt = json_is_true(json_object_get(c, "prompt")),
                                .date = json_string_value(json_object_get(c, "date")),
                                .tools = json_object_get(c, "tools"),
                                .kwargs = json_object_get(c, "kwargs")};
    struct jinja_text out = {0};
    struct err err = {""};
    struct jinja *template = jinja_parse(json_string_value(json_object_get(c, "template")), &err);
    enum jinja_outcome outcome = template ? jinja_render(template, &input, &out, &err) : JINJA_REFUSED;
    json_t *result = outcome == JINJA_DONE
                         ? text_answer(&out)
                         : json_pack("[ss]", outcome == JINJA_RAISED ? "raised" : "refused", err.text);
    jinja_free(template);
    jinja_text_release(&out);
    for (int i = 0; i < read->num_messages; i++)
        free(read->joined[i]);
    free(read);
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
