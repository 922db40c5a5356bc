/* test_chat_learnt.c - what of a conversation is learnt: by the template's marks, by the origin of each byte where it
 * has none, by the weights of messages; what templates write of tools, calls, thoughts, lists of texts and dates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/template/chat.h"
#include "data/template/jinja.h"
#include "tests/check.h"
#include "tests/tiny_tokenizer.h"

enum { MAX_MESSAGES = 8 };

#define OPEN "{{ '<|im_start|>' + m.role + '\n' }}"
#define TURNS "{% for m in messages %}" OPEN "{{ m.content }}{{ '<|im_end|>\n' }}{% endfor %}"
#define OPENED "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

/* A conversation in JSON, {"messages": [...], "tools": [...], "kwargs": {...}, "parts": bool}, as prepare reads one. */
struct talk {
    json_t *root;
    struct chat_message messages[MAX_MESSAGES];
    struct jinja_more more[MAX_MESSAGES];
    size_t part_bytes[MAX_MESSAGES];
    int num_messages;
};

static void talk_read(struct talk *talk, const char *json) {
    json_error_t fault;
    const json_t *message;
    size_t i;
    *talk = (struct talk){.root = json_loads(json, 0, &fault)};
    CHECK(talk->root, "%s: %s", json, fault.text);
    json_array_foreach(json_object_get(talk->root, "messages"), i, message) {
        const json_t *content = json_object_get(message, "content");
        const json_t *text =
            json_is_array(content) ? json_object_get(json_array_get(content, 0), "text") : content;
        talk->messages[i] = (struct chat_message){json_string_value(json_object_get(message, "role")),
                                                  json_is_string(text) ? json_string_value(text) : "",
                                                  json_string_length(text)};
        talk->more[i].fields = message;
        talk->part_bytes[i] = json_string_length(text);
        talk->more[i].part_bytes = &talk->part_bytes[i];
        talk->more[i].num_parts = json_is_array(content);
        talk->num_messages++;
    }
}

/* A template with a tokenizer and the style that it makes. */
struct writer {
    struct tokenizer *tok;
    struct chat_style style;
};

static void writer_open(struct writer *writer, const json_t *template, const char *date) {
    json_t *config =
        json_pack("{s:s s:s s:O}", "bos_token", "<s>", "eos_token", "</s>", "chat_template", template);
    char *text = json_dumps(config, 0);
    struct err err = {""};
    writer->tok = tiny_tokenizer_with(TINY_ALL, text);
    if (chat_style_open(&writer->style, writer->tok, "auto", date, &err) != 0)
        fail_msg("%s", err.text);
    free(text);
    json_decref(config);
}

static void writer_close(struct writer *writer) {
    chat_style_release(&writer->style);
    tokenizer_free(writer->tok);
}

static struct chat chat_of(const struct writer *writer, const struct talk *talk) {
    return (struct chat){.kind = CHAT_OWN,
                         .messages = talk->messages,
                         .num_messages = talk->num_messages,
                         .more = talk->more,
                         .tools = json_object_get(talk->root, "tools"),
                         .kwargs = json_object_get(talk->root, "kwargs"),
                         .style = &writer->style};
}

/* learnt_text - the tokens that count, or with whole all; NULL with err set. */
static char *learnt_text(const struct writer *writer, const struct chat *chat, bool whole, struct err *err) {
    struct encoder *enc = encoder_open(writer->tok);
    struct token_list tokens = {0}, kept = {0};
    uint8_t *mask = NULL;
    char *text = NULL;
    if (chat_encode(writer->tok, enc, chat, &tokens, &mask, err) == 0) {
        for (int64_t i = 0; i < tokens.count; i++)
            if (whole || mask[i])
                token_list_push(&kept, tokens.ids[i]);
        text = tokenizer_decode(writer->tok, kept.ids, kept.count, false, NULL);
    }
    encoder_close(enc);
    token_list_release(&tokens);
    token_list_release(&kept);
    free(mask);
    return text;
}

/* check - what a template writes of a conversation, and what of it is learnt; whole NULL: not looked at; learnt NULL:
 * refused with whole in the reason. */
static void check(const char *template, const char *json, const char *whole, const char *learnt) {
    struct writer writer;
    struct talk talk;
    struct err err = {""};
    json_t *text = json_string(template);
    writer_open(&writer, text, "2026-01-31");
    json_decref(text);
    talk_read(&talk, json);
    struct chat chat = chat_of(&writer, &talk);
    char *counted = learnt_text(&writer, &chat, false, &err), *all = learnt_text(&writer, &chat, true, &err);
    if (!learnt && (counted || !strstr(err.text, whole)))
        fail_msg("'%s' of '%s': expected '%s' in '%s'", template, json, whole, err.text);
    if (learnt && !counted)
        fail_msg("'%s' of '%s': %s", template, json, err.text);
    if (learnt && (strcmp(counted, learnt) != 0 || (whole && strcmp(all, whole) != 0)))
        fail_msg("'%s' of '%s':\n  whole  '%s'\n  learnt '%s'", template, json, all, counted);
    free(counted);
    free(all);
    json_decref(talk.root);
    writer_close(&writer);
}

#define ASK "{\"role\": \"user\", \"content\": \"q\"}"
#define SAY "{\"role\": \"assistant\", \"content\": \"r on\"}"
#define TALK(messages) "{\"messages\": [" messages "]}"

/* test_marks - {% generation %} says what is learnt, no more and no less. */
static void test_marks(void **state) {
    (void)state;
    static const char marked[] =
        "{% for m in messages %}" OPEN "{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>"
        "{% endif %}\n{% endfor %}" OPENED;
    check(marked, TALK(ASK "," SAY), "<|im_start|>user\nq<|im_end|><|im_start|>assistant\nr on<|im_end|>",
          "r on<|im_end|>");
    check(marked, TALK(ASK "," SAY "," ASK "," SAY), NULL, "r on<|im_end|>r on<|im_end|>");
    /* parts of what stands between two tokens */
    check(
        "{% for m in messages %}{{ m.role }}: {% generation %}{{ m.content[:2] }}{% endgeneration %}{{ m.content[2:] }}{% endfor %}</s>",
        TALK(ASK "," SAY), "user: qassistant: r on</s>", "qr ");
    /* through a macro, a set block and a filter; the end token outside of the marks is not added */
    check("{% macro f(t) %}<{% generation %}{{ t }}{% endgeneration %}>{% endmacro %}{% for m in messages %}"
          "{% set x %}{{ f(m.content) }}{% endset %}{{ x | upper }}<|im_end|>{% endfor %}",
          TALK(ASK "," SAY), "<Q><|im_end|><R ON><|im_end|>", "QR ON");
    /* control: the same template without marks learns by origin */
    check("{% for m in messages %}<{{ m.content }}><|im_end|>{% endfor %}", TALK(ASK "," SAY), NULL,
          "r on><|im_end|>");
}

/* test_calls - all that the assistant says is learnt: thoughts, calls, arguments, and the token that ends them. */
static void test_calls(void **state) {
    (void)state;
    static const char template[] =
        "{% if tools %}{{ '<|im_start|>system\n' }}{{ tools | tojson }}{{ '<|im_end|>\n' }}{% endif %}"
        "{% for m in messages %}" OPEN
        "{% if m.reasoning_content %}{{ '(' + m.reasoning_content + ')' }}{% endif %}"
        "{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ '<call>' }}{{ c.function | tojson }}{{ '</call>' }}"
        "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}" OPENED;
    check(
        template,
        "{\"tools\": [{\"name\": \"<|im_end|>\"}], \"messages\": [" ASK
        ", {\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\", "
        "\"arguments\": {\"a<|im_end|>\": [1.5, true]}}}]}, {\"role\": \"tool\", \"content\": \"3\"}, "
        "{\"role\": \"assistant\", \"reasoning_content\": \"so\", \"content\": \"r\"}]}",
        "<|im_start|>system\n[{\"name\": \"<|im_end|>\"}]<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
        "<call>{\"name\": \"f\", \"arguments\": {\"a<|im_end|>\": [1.5, true]}}</call><|im_end|>\n<|im_start|>tool\n3<|im_end|>\n"
        "<|im_start|>assistant\n(so)r<|im_end|>\n",
        "<call>{\"name\": \"f\", \"arguments\": {\"a<|im_end|>\": [1.5, true]}}</call><|im_end|>(so)r<|im_end|>");
}

/* test_never_special - the text of a message, of a tool or of a name is never a token of the template. */
static void test_never_special(void **state) {
    (void)state;
    static const char template[] = "{% if tools %}{{ tools | tojson }}{% endif %}" TURNS OPENED;
    static const char json[] =
        "{\"tools\": [{\"<|im_end|>\": \"<|im_start|>\"}], \"messages\": [{\"role\": \"user\", "
        "\"content\": \"<|im_end|>\"}, {\"role\": \"assistant\", \"content\": \"</s>\"}]}";
    struct writer writer;
    struct talk talk;
    struct err err = {""};
    json_t *text = json_string(template);
    writer_open(&writer, text, NULL);
    talk_read(&talk, json);
    struct chat chat = chat_of(&writer, &talk);
    struct encoder *enc = encoder_open(writer.tok);
    struct token_list tokens = {0};
    uint8_t *mask = NULL;
    assert_int_equal(chat_encode(writer.tok, enc, &chat, &tokens, &mask, &err), 0);
    int num_ends = 0, num_starts = 0, num_eos = 0;
    for (int64_t i = 0; i < tokens.count; i++) {
        num_ends += tokens.ids[i] == tokenizer_id(writer.tok, "<|im_end|>", 10);
        num_starts += tokens.ids[i] == tokenizer_id(writer.tok, "<|im_start|>", 12);
        num_eos += tokens.ids[i] == tokenizer_eos(writer.tok);
    }
    assert_int_equal(num_ends, 2); /* those of the template alone */
    assert_int_equal(num_starts, 2);
    assert_int_equal(num_eos, 0);
    encoder_close(enc);
    token_list_release(&tokens);
    free(mask);
    json_decref(text);
    json_decref(talk.root);
    writer_close(&writer);
}

/* test_rewritten - templates that cut, move and rewrite the texts of earlier turns: origin tells whose each byte is. */
static void test_rewritten(void **state) {
    (void)state;
    check(
        "{% for m in messages %}" OPEN "{% if m.role == 'assistant' and not loop.last %}"
        "{{ m.content.split('</t>')[-1].lstrip() }}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>' }}{% endfor %}" OPENED,
        TALK(ASK ", {\"role\": \"assistant\", \"content\": \"<t>hm</t> a\"}, " ASK
                 ", {\"role\": \"assistant\", \"content\": \"<t>ho</t> b\"}"),
        NULL, "a<|im_end|><t>ho</t> b<|im_end|>");
    check("{% for m in messages %}" OPEN
          "{{ m.content | upper | replace('ON', 'off') }}{{ '<|im_end|>' }}{% endfor %}" OPENED,
          TALK(ASK "," SAY), NULL, "R off<|im_end|>");
    check("{% for m in messages %}" OPEN
          "{{ m.content }}<|im_end|>{% endfor %}{{ messages[-1].content }}<|im_end|>" OPENED,
          TALK(ASK "," SAY "," ASK), NULL, "r on<|im_end|>"); /* a question may come twice */
    check("{% for m in messages %}" OPEN
          "{{ m.content }}<|im_end|>{% endfor %}{% if messages|length > 2 %}again: "
          "{{ messages[1].content }}<|im_end|>{% endif %}" OPENED,
          TALK(ASK "," SAY "," ASK), "writes the assistant's message 2 in two places", NULL);
}

/* test_weights - which messages count. */
static void test_weights(void **state) {
    (void)state;
    static const bool second[] = {false, true, false, false}, question[] = {true, false, false, false};
    static const struct {
        const bool *unlearnt;
        bool all;
        const char *want;
    } cases[] = {
        {NULL, false, "r on<|im_end|>r on<|im_end|>"},
        {second, false, "r on<|im_end|>"},
        {NULL, true,
         "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nr on<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
         "<|im_start|>assistant\nr on<|im_end|>\n"},
        {question, true,
         "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\nr on<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
         "<|im_start|>assistant\nr on<|im_end|>\n"}};
    struct writer writer;
    struct talk talk;
    struct err err = {""};
    json_t *text = json_string(TURNS OPENED);
    writer_open(&writer, text, NULL);
    talk_read(&talk, TALK(ASK "," SAY "," ASK "," SAY));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chat chat = chat_of(&writer, &talk);
        chat.unlearnt = cases[i].unlearnt;
        chat.learns_all = cases[i].all;
        char *counted = learnt_text(&writer, &chat, false, &err);
        assert_string_equal(counted, cases[i].want);
        free(counted);
    }
    json_decref(text);
    json_decref(talk.root);
    writer_close(&writer);
}

/* test_input - dates, names of the line, lists of texts, roles. */
static void test_input(void **state) {
    (void)state;
    check("{{ strftime_now('%d %B %Y, %A') }}" TURNS OPENED, TALK(ASK "," SAY),
          "31 January 2026, Saturday<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nr on<|im_end|>\n",
          "r on<|im_end|>");
    check("{% if thinks is defined %}{{ thinks }}{% endif %}" TURNS OPENED,
          "{\"kwargs\": {\"thinks\": false}, \"messages\": [" ASK "," SAY "]}",
          "False<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nr on<|im_end|>\n", "r on<|im_end|>");
    check(
        "{% for m in messages %}" OPEN
        "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
        "{{ p.text }}{% endfor %}{% endif %}<|im_end|>{% endfor %}" OPENED,
        "{\"messages\": [{\"role\": \"developer\", \"content\": [{\"type\": \"text\", \"text\": \"p\"}]}, " SAY
        "]}",
        "<|im_start|>developer\np<|im_end|><|im_start|>assistant\nr on<|im_end|>", "r on<|im_end|>");
    check(TURNS OPENED, "{\"messages\": [{\"role\": \"human\", \"content\": \"p\"}, " SAY "]}",
          "role 'human'", NULL);
}

/* check_tool_use - takes templates over. */
static void check_tool_use(json_t *templates) {
    struct writer writer;
    struct talk talk;
    struct err err = {""};
    writer_open(&writer, templates, NULL);
    for (int has_tools = 0; has_tools < 2; has_tools++) {
        talk_read(&talk,
                  has_tools ? "{\"tools\": [1, 2], \"messages\": [" ASK "," SAY "]}" : TALK(ASK "," SAY));
        struct chat chat = chat_of(&writer, &talk);
        char *all = learnt_text(&writer, &chat, true, &err);
        assert_int_equal(strncmp(all, "T2", 2) == 0, has_tools);
        free(all);
        json_decref(talk.root);
    }
    json_decref(templates);
    writer_close(&writer);
}

/* Of several named templates the one for tools writes conversations that have them: a list, in which the last of a name
 * counts, or an object. */
static void test_tool_use(void **state) {
    (void)state;
    const char *tools = "T{{ tools|length }}" TURNS OPENED;
    check_tool_use(json_pack("[{s:s s:s} {s:s s:s} {s:s s:s}]", "name", "tool_use", "template", "other",
                             "name", "default", "template", TURNS OPENED, "name", "tool_use", "template",
                             tools));
    check_tool_use(json_pack("{s:s s:s}", "default", TURNS OPENED, "tool_use", tools));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks),         cmocka_unit_test(test_calls),
        cmocka_unit_test(test_never_special), cmocka_unit_test(test_rewritten),
        cmocka_unit_test(test_weights),       cmocka_unit_test(test_input),
        cmocka_unit_test(test_tool_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
