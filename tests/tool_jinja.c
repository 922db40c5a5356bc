/* tool_jinja.c - chat templates as a filter, for tests/interop/check_jinja.py, check_templates.py and the makers of
 * tests/golden/chat.
 *
 *   tool_jinja < cases > answers
 * A case is a line of JSON: {"template": ..., "messages": [{"role": ..., "content": ...}], "prompt": bool, "bos":
 * text or null, "tools": list, "kwargs": object, "date": "YYYY-MM-DD"}, the last three where wanted; the end token is
 * </s>.  Its answer is a line of JSON: ["done", text, stretches], ["raised", why] or ["refused", why].  A stretch is
 * [end byte, origin, whether a generation block wrote it]. */
#include <stdio.h>

#include "tests/jinja_talk.h"

static json_t *text_answer(const struct jinja_text *out) {
    json_t *stretches = json_array();
    for (int64_t i = 0; i < out->num_stretches; i++)
        json_array_append_new(stretches, json_pack("[Iib]", (json_int_t)out->stretches[i].end_byte,
                                                   out->stretches[i].origin, out->stretches[i].is_generated));
    return json_pack("[soo]", "done",
                     json_stringn(out->text.bytes ? out->text.bytes : "", out->text.length_bytes), stretches);
}

static json_t *answer(const json_t *c) {
    struct talk *read = xcalloc(1, sizeof *read);
    talk_read(json_object_get(c, "messages"), read);
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
    talk_release(read);
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
