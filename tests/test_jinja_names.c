/* test_jinja_names.c - each filter, test, method and operator of chat templates gives what jinja2 gives
 * (golden/chat/jinja_names.json), what jinja2 or Python refuses is refused, and what we cannot render as jinja2 does
 * is refused, never rendered otherwise. */
#include "tests/jinja_fixture.h"

static json_t *golden;

static enum jinja_outcome render(const char *source, struct jinja_text *out, struct err *err) {
    struct jinja_message messages[MAX_MESSAGES];
    const struct jinja_input input = {.messages = messages,
                                      .num_messages =
                                          read_messages(json_object_get(golden, "messages"), messages),
                                      .bos_token = "<s>",
                                      .eos_token = "</s>",
                                      .add_generation_prompt = true};
    return render_input(source, &input, out, err);
}

static void test_names(void **state) {
    (void)state;
    const json_t *c, *before = NULL;
    struct jinja_text out = {0};
    size_t i;
    int num_texts = 0, num_faults = 0, num_refused = 0, num_like_others = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, c) {
        struct err err = {""};
        const char *source = json_string_value(json_array_get(c, 0));
        const json_t *want = json_array_get(c, 1);
        enum jinja_outcome outcome = render(source, &out, &err);
        bool is_refused = json_is_true(json_array_get(c, 2));
        num_refused += is_refused;
        num_faults += json_is_null(want);
        if (is_refused || json_is_null(want)) {
            if (outcome != JINJA_REFUSED || err.text[0] == '\0')
                fail_msg("'%s' is not refused: it gave '%.*s'", source, (int)out.text.length_bytes,
                         out.text.bytes);
            continue;
        }
        if (outcome != JINJA_DONE)
            fail_msg("'%s': %s", source, err.text);
        if (!same(&out, want))
            fail_msg("'%s':\n  got  '%.*s'\n  want '%s'", source, (int)out.text.length_bytes, out.text.bytes,
                     json_string_value(want));
        num_texts++;
        num_like_others += before && same(&out, before); /* control: the texts do differ */
        before = want;
    }
    jinja_text_release(&out);
    assert_true(num_texts > 500 && num_faults > 100 && num_refused > 20);
    assert_true(num_like_others < num_texts / 2);
}

/* test_origins - what filters and methods make of a message is still known for the message's. */
static void test_origins(void **state) {
    (void)state;
    static const char source[] =
        "{{ messages[1].content|trim|replace('b', '<b>')|upper }}|{{ 'x'|replace('x', messages[1].content) }}";
    static const char want[] = "A,<B>,,C| a,b,,c \n", marks[] = "220002220";
    struct jinja_text out = {0};
    struct err err = {""};
    assert_int_equal(render(source, &out, &err), JINJA_DONE);
    assert_int_equal(out.text.length_bytes, strlen(want));
    assert_memory_equal(out.text.bytes, want, strlen(want));
    for (size_t i = 0; i < strlen(want); i++)
        if (i < 9 && jinja_text_origin(&out, i) != marks[i] - '0')
            fail_msg("byte %zu is of message %d, not %c", i, jinja_text_origin(&out, i), marks[i]);
    for (size_t i = 9; i < strlen(want); i++)
        assert_int_equal(jinja_text_origin(&out, i), 2);
    jinja_text_release(&out);
}

/* test_repeated_origins - the same of a text that is written several times. */
static void test_repeated_origins(void **state) {
    (void)state;
    static const char want[] = "<a,b,,c<a,b,,c", marks[] = "02222220222222";
    struct jinja_text out = {0};
    struct err err = {""};
    assert_int_equal(render("{{ ('<' ~ messages[1].content|trim) * 2 }}", &out, &err), JINJA_DONE);
    assert_int_equal(out.text.length_bytes, strlen(want));
    assert_memory_equal(out.text.bytes, want, strlen(want));
    for (size_t i = 0; i < strlen(want); i++)
        assert_int_equal(jinja_text_origin(&out, i), marks[i] - '0');
    jinja_text_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_origins),
                                       cmocka_unit_test(test_repeated_origins)};
    json_error_t fault;
    golden = json_load_file("tests/golden/chat/jinja_names.json", 0, &fault);
    CHECK(golden, "tests/golden/chat/jinja_names.json: %s (run in the repository's root)", fault.text);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return status;
}
