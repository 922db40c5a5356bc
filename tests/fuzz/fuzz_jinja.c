/* fuzz_jinja.c - any text as a chat template, run with a conversation that has tools, calls, a thought and a list of texts:
 * it ends, within its bounds, in a text
 * whose bytes know their messages, or in a reason. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/template/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    static const struct jinja_message messages[] = {
        {"system", "s", 1}, {"user", " \xC3\xA9</s> ", 8}, {"assistant", "<think>a</think>\n\nb", 19}};
    static const size_t part_bytes[] = {3, 5};
    json_t *tools = json_loads(
        "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": "
        "\"object\", \"properties\": {\"a\": {\"type\": \"number\", \"enum\": [1, 2.5, null]}}}}}]",
        0, NULL);
    json_t *asks = json_loads("{\"role\": \"user\", \"content\": []}", 0, NULL);
    json_t *calls = json_loads(
        "{\"role\": \"assistant\", \"reasoning_content\": \"so\", \"content\": \"\", \"tool_calls\": "
        "[{\"id\": \"abcdefghi\", \"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1.5}}}]}",
        0, NULL);
    CHECK(tools && asks && calls, "the conversation of the fuzzer is not JSON");
    const struct jinja_more more[] = {
        {0}, {.fields = asks, .part_bytes = part_bytes, .num_parts = 2}, {.fields = calls}};
    const struct jinja_input input = {.messages = messages,
                                      .more = size_bytes & 4 ? more : NULL,
                                      .tools = size_bytes & 8 ? tools : NULL,
                                      .date = "2026-01-31",
                                      .num_messages = 3,
                                      .bos_token = "<s>",
                                      .eos_token = size_bytes & 1 ? "</s>" : NULL,
                                      .add_generation_prompt = size_bytes & 2};
    struct jinja_text out = {0};
    struct err err = {""};
    char *source = text_copy((const char *)data, size_bytes);
    struct jinja *template = jinja_parse(source, &err);
    enum jinja_outcome outcome = template ? jinja_render(template, &input, &out, &err) : JINJA_REFUSED;
    CHECK(outcome != JINJA_REFUSED || err.text[0], "refused without a reason");
    size_t end = 0;
    for (int64_t i = 0; outcome == JINJA_DONE && i < out.num_stretches; i++) {
        const struct jinja_stretch *stretch = &out.stretches[i];
        CHECK(stretch->end_byte > end && (stretch->origin <= 3 || stretch->origin == JINJA_OTHER),
              "a stretch up to byte %zu of message %d", stretch->end_byte, stretch->origin);
        end = stretch->end_byte;
    }
    CHECK(outcome != JINJA_DONE || end == out.text.length_bytes, "stretches up to byte %zu of %zu", end,
          out.text.length_bytes);
    jinja_text_release(&out);
    jinja_free(template);
    json_decref(tools);
    json_decref(asks);
    json_decref(calls);
    free(source);
    return 0;
}
