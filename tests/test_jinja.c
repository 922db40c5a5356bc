/* test_jinja.c - chat templates run: the text equals what jinja2 gives with the settings of transformers
 * (golden/chat/jinja.json), every byte knows its message, and what is not supported is refused by name. */
#include <stdio.h>
#include <time.h>

#include "tests/jinja_fixture.h"

static json_t *golden, *cases;

/* input_of - the conversation of a case; messages [MAX_MESSAGES]. */
static struct jinja_input input_of(const json_t *c, struct jinja_message *messages) {
    const json_t *list = json_array_get(json_object_get(golden, "conversations"),
                                        (size_t)json_integer_value(json_object_get(c, "conversation")));
    return (struct jinja_input){.messages = messages,
                                .num_messages = read_messages(list, messages),
                                .bos_token = json_string_value(json_object_get(c, "bos")),
                                .eos_token = "</s>",
                                .add_generation_prompt = json_is_true(json_object_get(c, "prompt"))};
}

static const char *source_of(const json_t *c) {
    const char *name = json_string_value(json_object_get(c, "name"));
    return json_string_value(json_object_get(json_object_get(golden, "templates"), name));
}

static void test_golden(void **state) {
    (void)state;
    struct jinja_text out = {0};
    const json_t *c, *before = NULL;
    size_t i;
    int num_texts = 0, num_raised = 0, mixed_up = 0;
    json_array_foreach(cases, i, c) {
        struct jinja_message messages[MAX_MESSAGES];
        struct jinja_input input = input_of(c, messages);
        struct err err = {""};
        const char *name = json_string_value(json_object_get(c, "name"));
        const json_t *want = json_object_get(c, "text");
        enum jinja_outcome outcome = render_input(source_of(c), &input, &out, &err);
        if (json_is_null(want)) {
            if (outcome == JINJA_DONE)
                fail_msg("'%s' case %zu: jinja2 refuses it, here it gave text", name, i);
            assert_int_equal(outcome == JINJA_RAISED, json_is_true(json_object_get(c, "raised")));
            num_raised += outcome == JINJA_RAISED;
            continue;
        }
        if (outcome != JINJA_DONE)
            fail_msg("'%s' case %zu: %s", name, i, err.text);
        if (!same(&out, want))
            fail_msg("'%s' case %zu:\n  got  '%.*s'\n  want '%s'", name, i, (int)out.text.length_bytes,
                     out.text.bytes, json_string_value(want));
        num_texts++;
        const json_t *other = before ? json_object_get(before, "text") : NULL; /* control: texts do differ */
        mixed_up += json_is_string(other) && same(&out, other);
        before = c;
    }
    jinja_text_release(&out);
    assert_true(num_texts > 120 && num_raised > 0);
    assert_true(mixed_up <
                num_texts / 2); /* templates that ignore the prompt or bos give the same text again */
}

/* test_origins - a message that writes what the template writes is known for a message. */
static void test_origins(void **state) {
    (void)state;
    static const char source[] =
        "{% for m in messages %}{{ '<|' + m.role + '|>' ~ m.content | trim ~ '<|end|>' }}"
        "{% endfor %}";
    const struct jinja_message messages[] = {{"user", " <|end|>x ", 10}, {"assistant", "<|end|>", 7}};
    const struct jinja_input input = {.messages = messages, .num_messages = 2};
    static const char want[] = "<|user|><|end|>x<|end|><|assistant|><|end|><|end|>";
    static const char marks[] = "000000001111111100000000000000000000" /* user */
                                "22222220000000";
    struct jinja_text out = {0};
    struct err err = {""};
    assert_int_equal(render_input(source, &input, &out, &err), JINJA_DONE);
    assert_int_equal(out.text.length_bytes, strlen(want));
    assert_memory_equal(out.text.bytes, want, strlen(want));
    assert_int_equal(strlen(marks), strlen(want));
    for (size_t i = 0; i < strlen(want); i++)
        if (jinja_text_origin(&out, i) != marks[i] - '0')
            fail_msg("byte %zu is of message %d, not %c", i, jinja_text_origin(&out, i), marks[i]);
    jinja_text_release(&out);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *source, *reason;
    } sources[] = {
        {"{% call f() %}{% endcall %}", "the function 'f'"},
        {"a\n{{ 1 }}\n{% include 'x' %}", "line 3: the block 'include' is not supported"},
        {"a\n{% if true %}\n{{ [1]|batch(2) }}{% endif %}", "line 3: the filter 'batch' of a list"},
        {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "the macro 'f'"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "macros inside each other"},
        {"{{ [].append(1) }}", "line 1: the method 'append' of a list"},
        {"{{ range(100000000) }}", "'range' of more than 100000 items"},
        {"{{ strftime_now('%d') }}", "present date"},
        {"{{ unk_token }}", "'unk_token'"},
        {"{{ range(3) }}", "writing a list"},
        {"{{ nothing.x }}", "'nothing' is undefined"},
        {"{{ nothing + 'x' }}", "nothing"},
        {"{{ 1_5 }}", "a number of this form"},
        {"{{ {1: 1} }}", "a dictionary with a key"},
        {"{% for a, b in messages %}{% endfor %}", "2 values from a dictionary"},
        {"{% for a in 3 %}{% endfor %}", "a loop over a number"},
        {"{% if true %}", "ends inside a block"},
        {"{{ 'x", "string without an end"},
        {"{{ x", "tag without an end"},
        {"{# x", "comment without an end"},
        {"{% endif %}", "block 'endif'"},
        {"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
         "the template takes too much"},
        {"{% set ns = namespace(x='0123456789') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% "
         "endfor %}",
         "memory"},
        {"\xff", "not UTF-8"},
    };
    const struct jinja_message message = {"user", "x", 1};
    const struct jinja_input input = {.messages = &message, .num_messages = 1};
    struct jinja_text out = {0};
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        struct err err = {""};
        assert_int_equal(render_input(sources[i].source, &input, &out, &err), JINJA_REFUSED);
        if (!strstr(err.text, sources[i].reason))
            fail_msg("'%s': expected '%s' in '%s'", sources[i].source, sources[i].reason, err.text);
    }
    struct err err = {""};
    assert_int_equal(render_input("{{ raise_exception('no ' + 'way') }}", &input, &out, &err), JINJA_RAISED);
    assert_string_equal(err.text, "no way");
    /* control: what a template does not reach does no harm */
    assert_int_equal(render_input("a{% if false %}{{ messages | batch(2) }}{{ strftime_now() }}{% endif %}b",
                                  &input, &out, &err),
                     JINJA_DONE);
    assert_int_equal(out.text.length_bytes, 2);
    jinja_text_release(&out);
}

/* Nesting and chains are bounded. */
static void test_bounded_depth(void **state) {
    (void)state;
    const struct jinja_input input = {0};
    struct jinja_text out = {0};
    char *deep = xmalloc(20001); /* brackets without end */
    struct err err = {""};
    memset(deep, '(', 20000);
    memcpy(deep, "{{", 2);
    deep[20000] = '\0';
    assert_int_equal(render_input(deep, &input, &out, &err), JINJA_REFUSED);
    assert_non_null(strstr(err.text, "deeper"));
    free(deep);
    struct text chain = {0}; /* so many terms that their depth must be bounded */
    text_append(&chain, "{{ 'a'", 6);
    for (int i = 0; i < 200000; i++)
        text_append(&chain, "+'a'", 4);
    text_append(&chain, " }}", 4);
    assert_int_equal(render_input(chain.bytes, &input, &out, &err), JINJA_REFUSED);
    assert_non_null(strstr(err.text, "more than 1000 parts"));
    text_release(&chain);
}

/* What a hostile template may compute; a sanitizer looks at every byte of it. */
#ifdef __SANITIZE_ADDRESS__
enum { SECONDS = 16 };
#else
enum { SECONDS = 2 };
#endif

/* test_hostile - what would run or grow without end is refused within a second of computing. */
static void test_hostile(void **state) {
    (void)state;
    static const char *const sources[] = {
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'x' * 100000 }}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        "{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{{ 'b' in t }}{% endfor %}",
        "{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{{ t|replace('b', 'c')|length }}{% endfor %}",
        "{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{{ t.split('b')|length }}{% endfor %}",
        "{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{{ t|trim('a') }}{{ t|length }}{{ t[5:] == t }}{% endfor %}",
        "{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{{ t.rfind('b') }}{{ t.count('b') }}{% endfor %}",
        "{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{% if t|length %}{% endif %}{% endfor %}",
        "{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{% if t[5:].startswith('b') %}{% endif %}{% endfor %}",
        "{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{% if t.isalpha() %}{% endif %}{% endfor %}",
        "{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{% if t < t %}{% endif %}{% endfor %}",
        "{% set t = 'a' * 1000000 %}{% for i in range(99999) %}{% if t.find('b') %}{% endif %}{% endfor %}",
        "{% set t = 'a' * 1000000 %}{% if t.rfind('a' * 250000 ~ 'b' ~ 'a' * 250000) %}{% endif %}",
        "{% set t = 'a' * 1000000 %}{% if t.rsplit('a' * 250000 ~ 'b' ~ 'a' * 250000) %}{% endif %}",
        "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}"
        "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
        "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(99999) %}{% set ns.a = [ns.a] %}"
        "{% set ns.b = [ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a|tojson }}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(40) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}",
        "{{ range(99999)|map('string')|list|sort(reverse=true)|join }}{{ range(99999)|unique|list }}",
        "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call f() %}{% for i in range(99999) %}"
        "{{ 'xy' * 9999 }}{% endfor %}{% endcall %}",
    };
    const struct jinja_message message = {"user", "x", 1};
    const struct jinja_input input = {.messages = &message, .num_messages = 1};
    struct jinja_text out = {0};
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        struct err err = {""};
        clock_t before = clock();
        enum jinja_outcome outcome = render_input(sources[i], &input, &out, &err);
        double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
        if (outcome != JINJA_REFUSED || seconds > SECONDS)
            fail_msg("'%s': outcome %d after %.2f s", sources[i], outcome, seconds);
        if (!strstr(err.text, "line 1: "))
            fail_msg("'%s': no line in '%s'", sources[i], err.text);
    }
    /* Control: the long text of them is made, and walked through a few times. */
    struct err err = {""};
    static const char walked[] = "{% set t = 'a' * 1000000 %}{% for i in range(20) %}{{ t|length }}"
                                 "{{ t[5:].startswith('b') }}{{ t.rfind('b') }}{{ t < t }};{% endfor %}";
    assert_int_equal(render_input(walked, &input, &out, &err), JINJA_DONE);
    assert_int_equal(out.text.length_bytes, 20 * strlen("1000000False-1False;"));
    jinja_text_release(&out);
}

/* Names without end: a dictionary that takes as many searches to be made as it has names, and one of JSON, which takes none
 * but is searched. */
static void test_many_names(void **state) {
    (void)state;
    enum { MANY = 50000, FEW = 2000 };
    for (int count = FEW; count <= MANY; count += MANY - FEW) {
        struct text made = {0}, searched = {0};
        struct jinja_text out = {0};
        struct err err = {""};
        json_t *kwargs = json_object(), *names = json_object();
        static const char search[] = "{% for i in range(500) %}{% if d.none %}{% endif %}{% endfor %}x";
        text_append(&made, "{% set d = {", 12);
        for (int i = 0; i < count; i++) {
            char name[32];
            snprintf(name, sizeof name, "'k%d': 1,", i);
            text_append(&made, name, strlen(name));
            name[strlen(name) - 5] = '\0';
            json_object_set_new(names, name + 1, json_integer(i));
        }
        text_append(&made, "} %}x", 6); /* with its NUL */
        text_append(&searched, search, sizeof search);
        json_object_set_new(kwargs, "d", names);
        const struct jinja_input input = {.kwargs = kwargs};
        const char *const sources[] = {made.bytes, searched.bytes};
        for (int i = 0; i < 2; i++) {
            clock_t before = clock();
            assert_int_equal(render_input(sources[i], &input, &out, &err),
                             count == FEW || i == 1 ? JINJA_DONE : JINJA_REFUSED);
            assert_true(clock() - before < SECONDS * CLOCKS_PER_SEC);
        }
        jinja_text_release(&out);
        json_decref(kwargs);
        text_release(&made);
        text_release(&searched);
    }
}

/* test_long - strings so long that they are joined without being copied: the text, and whose each byte is. */
static void test_long(void **state) {
    (void)state;
    enum { LONG = 3000, TURNS = 1000 };
    static const struct {
        const char *source;
        const char *want; /* A: the message, B: in capitals; everything else stands for itself */
    } texts[] = {
        {"{{ '<' + messages[0].content + '>' + messages[0].content ~ 1 }}", "<A>A1"},
        {"{% set c = '<' + messages[0].content + '>' %}{{ c }}{{ c|length }}{{ c[:1] }}{{ c == c }}",
         "<A>3002<True"},
        {"{% set c = messages[0].content ~ messages[0].content %}{{ c|trim }}{% if c and 'zz' not in c %}y{% endif %}",
         "AAy"},
        {"{{ ('<' ~ messages[0].content ~ '>')|replace('<', '((')|replace('>', messages[0].content) }}",
         "((AA"},
        {"{{ [messages[0].content, messages[0].content]|join('-') }}|{{ ('-' ~ messages[0].content).split('-')|join('+') }}",
         "A-A|+A"},
        {"{{ ('x' ~ messages[0].content)|upper }}", "XB"},
    };
    char message[LONG + 1], capitals[LONG + 1];
    memset(message, 'a', LONG);
    memset(capitals, 'A', LONG);
    const struct jinja_message messages[] = {{"user", message, LONG}};
    const struct jinja_input input = {.messages = messages, .num_messages = 1};
    struct jinja_text out = {0};
    struct err err = {""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct text want = {0};
        for (const char *at = texts[i].want; *at; at++)
            text_append(&want,
                        *at == 'A'   ? message
                        : *at == 'B' ? capitals
                                     : at,
                        *at == 'A' || *at == 'B' ? LONG : 1);
        if (render_input(texts[i].source, &input, &out, &err) != JINJA_DONE)
            fail_msg("'%s': %s", texts[i].source, err.text);
        assert_int_equal(out.text.length_bytes, want.length_bytes);
        assert_memory_equal(out.text.bytes, want.bytes, want.length_bytes);
        size_t at = 0;
        for (const char *c = texts[i].want; *c; c++) {
            bool is_message = *c == 'A' || *c == 'B';
            assert_int_equal(jinja_text_origin(&out, at), is_message);
            at += is_message ? LONG : 1;
            assert_int_equal(jinja_text_origin(&out, at - 1), is_message);
        }
        text_release(&want);
    }
    /* one that grows at its end, and one at its beginning */
    assert_int_equal(
        render_input(
            "{% set ns = namespace(t='', u='') %}{% for i in range(1000) %}{% set ns.t = ns.t + messages[0].content %}"
            "{% set ns.u = messages[0].content[:9] ~ '.' ~ ns.u %}{% endfor %}{{ ns.u }}{{ ns.t }}",
            &input, &out, &err),
        JINJA_DONE);
    assert_int_equal(out.text.length_bytes, TURNS * (LONG + 10));
    assert_int_equal(out.num_stretches, 2 * TURNS + 1);
    jinja_text_release(&out);
}

/* test_cut - every beginning of every template ends in an answer, not in a crash. */
static void test_cut(void **state) {
    (void)state;
    const json_t *c;
    const char *last = "";
    size_t i;
    int num_refused = 0;
    struct jinja_text out = {0};
    json_array_foreach(cases, i, c) {
        const char *source = source_of(c);
        struct jinja_message messages[MAX_MESSAGES];
        struct jinja_input input = input_of(c, messages);
        if (strcmp(source, last) == 0)
            continue;
        last = source;
        for (size_t length = 0; length < strlen(source); length++) {
            struct err err = {""};
            char *part = xstrndup(source, length);
            num_refused += render_input(part, &input, &out, &err) != JINJA_DONE;
            free(part);
        }
    }
    jinja_text_release(&out);
    assert_true(num_refused > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounded_depth), cmocka_unit_test(test_golden),
        cmocka_unit_test(test_origins),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hostile),       cmocka_unit_test(test_many_names),

        cmocka_unit_test(test_long),          cmocka_unit_test(test_cut),
    };
    json_error_t fault;
    golden = json_load_file("tests/golden/chat/jinja.json", 0, &fault);
    CHECK(golden, "tests/golden/chat/jinja.json: %s (run in the repository's root)", fault.text);
    cases = json_object_get(golden, "cases");
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return status;
}
