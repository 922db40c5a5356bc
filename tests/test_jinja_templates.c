/* test_jinja_templates.c - whole chat templates, written after the ways of the families (golden/chat/templates), over
 * conversations with tools, calls, thoughts and lists of texts: the text and the marks of what is learnt equal those of
 * jinja2 with the settings of transformers (golden/chat/templates.json), and what is of a message is known for it. */
#include "data/corpus/json.h"
#include "tests/check.h"
#include "tests/jinja_talk.h"

static json_t *golden;

static char *load_template(const char *name) {
    char *path = xasprintf("tests/golden/chat/templates/%s", name);
    struct err err = {""};
    size_t length_bytes;
    char *source = file_read_whole(path, 1 << 20, &length_bytes, &err);
    CHECK(source, "%s", err.text);
    free(path);
    return source;
}

/* render - a template over a conversation of the golden file. */
static enum jinja_outcome render(const char *name, const json_t *conversation, struct jinja_text *out,
                                 struct err *err) {
    struct talk *talk = xcalloc(1, sizeof *talk);
    char *source = load_template(name);
    talk_read(json_object_get(conversation, "messages"), talk);
    struct jinja_input input = {.messages = talk->messages,
                                .more = talk->more,
                                .num_messages = talk->num_messages,
                                .bos_token = "<s>",
                                .eos_token = "</s>",
                                .add_generation_prompt =
                                    json_is_true(json_object_get(conversation, "prompt")),
                                .date = json_string_value(json_object_get(golden, "date")),
                                .tools = json_object_get(conversation, "tools"),
                                .kwargs = json_object_get(conversation, "kwargs")};
    struct jinja *template = jinja_parse(source, err);
    enum jinja_outcome outcome = template ? jinja_render(template, &input, out, err) : JINJA_REFUSED;
    jinja_free(template);
    talk_release(talk);
    free(talk);
    free(source);
    return outcome;
}

/* same_marks - the ranges written inside {% generation %}; neighbours are one. */
static bool same_marks(const struct jinja_text *out, const json_t *want) {
    size_t at = 0, k = 0, num_wanted = json_array_size(want);
    for (int64_t i = 0; i < out->num_stretches; i++) {
        size_t end = out->stretches[i].end_byte;
        for (; at < end; at++) {
            while (k < num_wanted &&
                   (size_t)json_integer_value(json_array_get(json_array_get(want, k), 1)) <= at)
                k++;
            bool is_marked = k < num_wanted &&
                             (size_t)json_integer_value(json_array_get(json_array_get(want, k), 0)) <= at;
            if (is_marked != out->stretches[i].is_generated)
                return false;
        }
    }
    return true;
}

static bool same(const struct jinja_text *out, const json_t *text) {
    return out->text.length_bytes == json_string_length(text) &&
           (out->text.length_bytes == 0 ||
            memcmp(out->text.bytes, json_string_value(text), out->text.length_bytes) == 0);
}

static void test_texts(void **state) {
    (void)state;
    const json_t *row, *before = NULL, *none = json_array();
    struct jinja_text out = {0};
    size_t i;
    int num_texts = 0, num_refused = 0, num_marked = 0, num_like_others = 0, num_without = 0;
    json_array_foreach(json_object_get(golden, "texts"), i, row) {
        const char *name = json_string_value(json_array_get(row, 0));
        json_int_t number = json_integer_value(json_array_get(row, 1));
        const json_t *text = json_array_get(row, 2), *marks = json_array_get(row, 3);
        struct err err = {""};
        enum jinja_outcome outcome = render(
            name, json_array_get(json_object_get(golden, "conversations"), (size_t)number), &out, &err);
        enum jinja_outcome want = json_is_string(text) ? JINJA_DONE
                                  : json_is_true(text) ? JINJA_RAISED
                                                       : JINJA_REFUSED;
        if (outcome != want)
            fail_msg("%s, conversation %lld: outcome %d instead of %d: %s", name, (long long)number, outcome,
                     want, err.text);
        num_refused += want != JINJA_DONE;
        if (want != JINJA_DONE)
            continue;
        if (!same(&out, text))
            fail_msg("%s, conversation %lld:\n  got  '%.*s'\n  want '%s'", name, (long long)number,
                     (int)out.text.length_bytes, out.text.bytes, json_string_value(text));
        if (!same_marks(&out, marks))
            fail_msg("%s, conversation %lld: other marks of what is learnt", name, (long long)number);
        num_texts++;
        num_marked += json_array_size(marks) > 0;
        num_without += json_array_size(marks) > 0 && same_marks(&out, none); /* control */
        num_like_others += before && same(&out, before);                     /* control */
        before = text;
    }
    jinja_text_release(&out);
    json_decref((json_t *)(uintptr_t)none);
    assert_true(num_texts > 600 && num_refused > 60 && num_marked > 15);
    assert_true(num_without == 0 && num_like_others < num_texts / 10);
}

/* marked_talk - five messages, message i of one character that stands nowhere else, U+E000 + i. */
static json_t *marked_talk(void) {
    static const char *const roles[] = {"system", "user", "assistant", "user", "assistant"};
    json_t *messages = json_array();
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        struct text text = {0};
        for (int k = 0; k < 6; k++)
            text_append_char(&text, k % 3 == 2 ? ' ' : (uint32_t)(0xE000 + i));
        json_array_append_new(
            messages, json_pack("{s:s, s:s%}", "role", roles[i], "content", text.bytes, text.length_bytes));
        text_release(&text);
    }
    return json_pack("{s:o}", "messages", messages);
}

/* test_markers - the control of the origins: each character of a message is of it, and no other of any. */
static void test_markers(void **state) {
    (void)state;
    const json_t *row;
    const char *last = "";
    struct jinja_text out = {0};
    size_t i;
    int num_templates = 0, num_characters = 0;
    json_t *conversation = marked_talk();
    json_array_foreach(json_object_get(golden, "texts"), i, row) {
        const char *name = json_string_value(json_array_get(row, 0));
        struct err err = {""};
        if (strcmp(name, last) == 0)
            continue;
        last = name;
        if (render(name, conversation, &out, &err) != JINJA_DONE)
            continue;
        num_templates++;
        bool shows_others = strcmp(name, "messages_as_json.jinja") == 0 || strcmp(name, "methods.jinja") == 0;
        const char *end = out.text.bytes + out.text.length_bytes;
        for (const char *at = out.text.bytes; at < end;) {
            size_t byte = (size_t)(at - out.text.bytes);
            uint32_t c = text_next_char(&at);
            bool is_marker = c >= 0xE000 && c < 0xE005;
            uint16_t origin = jinja_text_origin(&out, byte);
            bool is_others = origin == 0 || c == ' ' || shows_others; /* names of fields, escapes */
            if (is_marker ? origin != c - 0xE000 + 1 : !is_others)
                fail_msg("%s: the character U+%04X at byte %zu is said to be of message %d", name, c, byte,
                         origin);
            num_characters += is_marker;
        }
    }
    json_decref(conversation);
    jinja_text_release(&out);
    assert_true(num_templates > 35 && num_characters > 500);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts), cmocka_unit_test(test_markers)};
    json_error_t fault;
    golden = json_load_file("tests/golden/chat/templates.json", 0, &fault);
    CHECK(golden, "tests/golden/chat/templates.json: %s (run in the repository's root)", fault.text);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return status;
}
