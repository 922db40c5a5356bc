/* test_chat_own.c - conversations through the model's own chat template: the same tokens and mask as the
 * format of that name, default system messages and begin tokens where the template says so, and refused what
 * it cannot write. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/template/chat.h"
#include "tests/check.h"
#include "tests/tiny_tokenizer.h"

#define TURN "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
#define EACH_TURN "{% for m in messages %}" TURN "{% endfor %}"
#define OPENED "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

static const struct chat_message SYSTEM = {"system", "sys", 3}, USER = {"user", "u on", 4},
                                 REPLY = {"assistant", "r on", 4}, SPACED = {"assistant", " \n x \n", 6};

/* with_template - a tokenizer whose model has this template. */
static struct tokenizer *with_template(enum tiny_kind kind, const char *template_text) {
    json_t *config =
        json_pack("{s:s s:s s:s}", "bos_token", "<s>", "eos_token", "</s>", "chat_template", template_text);
    char *text = json_dumps(config, 0);
    struct tokenizer *tok = tiny_tokenizer_with(kind, text);
    free(text);
    json_decref(config);
    return tok;
}

/* A conversation as tokens. */
struct encoded {
    struct token_list tokens;
    uint8_t *mask;
};

static int encode(const struct tokenizer *tok, const struct chat *chat, struct encoded *out,
                  struct err *err) {
    struct encoder *enc = encoder_open(tok);
    *out = (struct encoded){{0}, NULL};
    int status = chat_encode(tok, enc, chat, &out->tokens, &out->mask, err);
    encoder_close(enc);
    return status;
}

static void release(struct encoded *encoded) {
    token_list_release(&encoded->tokens);
    free(encoded->mask);
}

static bool same(const struct encoded *a, const struct encoded *b) {
    return a->tokens.count == b->tokens.count &&
           memcmp(a->tokens.ids, b->tokens.ids, (size_t)a->tokens.count * sizeof *a->tokens.ids) == 0 &&
           memcmp(a->mask, b->mask, (size_t)a->tokens.count) == 0;
}

/* text_of - all tokens, or those that are learnt. */
static char *text_of(const struct tokenizer *tok, const struct encoded *encoded, bool learnt) {
    struct token_list kept = {0};
    for (int64_t i = 0; i < encoded->tokens.count; i++)
        if (!learnt || encoded->mask[i])
            token_list_push(&kept, encoded->tokens.ids[i]);
    char *text = tokenizer_decode(tok, kept.ids, kept.count, false, NULL);
    token_list_release(&kept);
    return text;
}

/* check_texts - what a template makes of a conversation, whole and learnt; NULL: not looked at. */
static void check_texts(const char *template_text, const struct chat_message *messages, int num_messages,
                        const char *whole, const char *learnt) {
    struct tokenizer *tok = with_template(TINY_ALL, template_text);
    struct chat_style style;
    struct encoded got;
    struct err err = {""};
    if (chat_style_open(&style, tok, "auto", NULL, &err) != 0)
        fail_msg("%s", err.text);
    struct chat chat = {
        .kind = style.kind, .messages = messages, .num_messages = num_messages, .style = &style};
    if (encode(tok, &chat, &got, &err) != 0)
        fail_msg("%s", err.text);
    char *all = text_of(tok, &got, false), *counted = text_of(tok, &got, true);
    if (whole)
        assert_string_equal(all, whole);
    if (learnt)
        assert_string_equal(counted, learnt);
    free(all);
    free(counted);
    release(&got);
    chat_style_release(&style);
    tokenizer_free(tok);
}

/* test_formats - each named format as a template gives what its renderer gives. */
static void test_formats(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum tiny_kind tiny;
    } formats[] = {{"chatml", TINY_ALL},      {"llama3", TINY_ALL},  {"llama2", TINY_NO_INST},
                   {"mistral", TINY_NO_INST}, {"mistral", TINY_ALL}, {"mistral", TINY_SENTENCEPIECE}};
    const struct chat_message conversations[][5] = {{USER, REPLY},
                                                    {SYSTEM, USER, REPLY},
                                                    {USER, SPACED, USER, REPLY},
                                                    {SYSTEM, USER, SPACED, USER, REPLY}};
    static const int counts[] = {2, 3, 4, 5};
    int num_same = 0, num_equal = 0;
    struct encoded before = {{0}, NULL};
    for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
        struct tokenizer *plain = tiny_tokenizer(formats[f].tiny);
        struct chat_style named, own;
        struct err err = {""};
        assert_int_equal(chat_style_open(&named, plain, formats[f].name, NULL, &err), 0);
        char *template_text = chat_style_template(&named, plain);
        struct tokenizer *tok = with_template(formats[f].tiny, template_text);
        if (chat_style_open(&own, tok, NULL, NULL, &err) != 0)
            fail_msg("%s: %s", formats[f].name, err.text);
        assert_int_equal(own.end_id, named.end_id);
        for (int c = 0; c < 4; c++) {
            struct chat chat = {.kind = named.kind, .messages = conversations[c], .num_messages = counts[c]};
            struct encoded want, got;
            assert_int_equal(encode(tok, &chat, &want, &err), 0);
            chat.kind = own.kind;
            chat.style = &own;
            if (encode(tok, &chat, &got, &err) != 0)
                fail_msg("%s conversation %d: %s", formats[f].name, c, err.text);
            if (!same(&want, &got))
                fail_msg("%s conversation %d: '%s' '%s'", formats[f].name, c, text_of(tok, &got, false),
                         text_of(tok, &got, true));
            num_same++;
            num_equal += before.mask && same(&before, &got); /* control: they are not all one */
            release(&want);
            release(&before);
            before = got;
        }
        struct chat_style again; /* the format asked for by name does not differ from the same template */
        assert_int_equal(chat_style_open(&again, tok, formats[f].name, NULL, &err), 0);
        assert_false(again.differs);
        chat_style_release(&again);
        chat_style_release(&named);
        chat_style_release(&own);
        free(template_text);
        tokenizer_free(plain);
        tokenizer_free(tok);
    }
    release(&before);
    assert_int_equal(num_same, 24);
    assert_int_equal(num_equal, 0);
}

static void test_variants(void **state) {
    (void)state;
    const struct chat_message chat[] = {USER, REPLY}, with_system[] = {SYSTEM, USER, REPLY};
    static const char plain[] = "<|im_start|>user\nu on<|im_end|>\n<|im_start|>assistant\nr on<|im_end|>\n";
    char text[256];
    check_texts(EACH_TURN OPENED, chat, 2, plain, "r on<|im_end|>");
    snprintf(text, sizeof text, "<s>%s", plain);
    check_texts("{{ bos_token }}" EACH_TURN OPENED, chat, 2, text, "r on<|im_end|>");
    snprintf(text, sizeof text, "<|im_start|>system\nbe<|im_end|>\n%s", plain);
    check_texts("{% for m in messages %}{% if loop.first and m.role != 'system' %}{{ "
                "'<|im_start|>system\\nbe<|im_end|>\\n' "
                "}}{% endif %}" TURN "{% endfor %}" OPENED,
                chat, 2, text, "r on<|im_end|>");
    snprintf(text, sizeof text, "<|im_start|>system\nsys<|im_end|>\n%s", plain);
    check_texts("{% for m in messages %}{% if loop.first and m.role != 'system' %}{{ "
                "'<|im_start|>system\\nbe<|im_end|>\\n' "
                "}}{% endif %}" TURN "{% endfor %}" OPENED,
                with_system, 3, text, "r on<|im_end|>");
    /* what follows the opened turn is the assistant's to say, and so to learn */
    check_texts("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' "
                "%}{{ 'so: ' }}"
                "{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}" OPENED,
                chat, 2, NULL, "so: r on<|im_end|>");
    check_texts("{% for m in messages %}{{ m.role + ': ' + m.content }}{% if m.role == 'assistant' %}{{ '!' "
                "+ eos_token }}"
                "{% endif %}{% endfor %}",
                chat, 2, "user: u onassistant: r on!</s>", "r on!</s>");
}

static void test_unlearnt(void **state) {
    (void)state;
    const struct chat_message messages[] = {USER, SPACED, USER, REPLY};
    const bool unlearnt[] = {false, true, false, false};
    struct tokenizer *tok = with_template(TINY_ALL, EACH_TURN OPENED);
    struct chat_style style;
    struct err err = {""};
    assert_int_equal(chat_style_open(&style, tok, "auto", NULL, &err), 0);
    for (int named = 0; named < 2; named++) {
        struct chat chat = {.kind = named ? CHAT_CHATML : style.kind,
                            .messages = messages,
                            .num_messages = 4,
                            .unlearnt = unlearnt,
                            .style = named ? NULL : &style};
        struct encoded got;
        assert_int_equal(encode(tok, &chat, &got, &err), 0);
        char *learnt = text_of(tok, &got, true);
        assert_string_equal(learnt, "r on<|im_end|>");
        free(learnt);
        release(&got);
        chat.unlearnt = NULL; /* control */
        assert_int_equal(encode(tok, &chat, &got, &err), 0);
        learnt = text_of(tok, &got, true);
        assert_string_equal(learnt, " \n x \n<|im_end|>r on<|im_end|>");
        free(learnt);
        release(&got);
    }
    chat_style_release(&style);
    tokenizer_free(tok);
}

/* refused - a template that cannot be used at all. */
static void refused(const char *template_text, const char *reason) {
    struct tokenizer *tok = with_template(TINY_ALL, template_text);
    struct chat_style style;
    struct err err = {""};
    if (chat_style_open(&style, tok, "auto", NULL, &err) == 0)
        fail_msg("'%s' is taken", template_text);
    if (!strstr(err.text, reason) || !strstr(err.text, "choose chatml"))
        fail_msg("'%s': expected '%s' in '%s'", template_text, reason, err.text);
    chat_style_release(&style);
    assert_int_equal(chat_style_open(&style, tok, "chatml", NULL, &err), 0); /* the way out */
    assert_true(style.differs);
    chat_style_release(&style);
    tokenizer_free(tok);
}

static void test_refused(void **state) {
    (void)state;
    refused("{{ strftime_now('%d') }}" EACH_TURN, "present date");
    refused("{% include 'f' %}" EACH_TURN, "line 1: the block 'include'");
    refused("{% for m in messages %}{{ '<|im_start|>' + m.content }}{% endfor %}",
            "after the assistant's message 2");
    refused("{% for m in messages %}{{ m.role + m.content + ' ' }}{% endfor %}",
            "no token after the assistant's message");
    struct tokenizer *tok = tiny_tokenizer(TINY_ALL);
    struct chat_style style;
    struct err err = {""};
    assert_int_equal(chat_style_open(&style, tok, "auto", NULL, &err), -1);
    assert_non_null(strstr(err.text, "no chat template"));
    assert_int_equal(chat_style_open(&style, tok, "alpaca", NULL, &err), -1);
    assert_non_null(strstr(err.text, "unknown chat template 'alpaca'"));
    tokenizer_free(tok);
}

/* test_left_out - a template that drops the system message must not lose it without a word. */
static void test_left_out(void **state) {
    (void)state;
    const struct chat_message messages[] = {SYSTEM, USER, REPLY};
    struct tokenizer *tok =
        with_template(TINY_ALL, "{% for m in messages if m.role != 'system' %}" TURN "{% endfor %}");
    struct chat_style style;
    struct encoded got;
    struct err err = {""};
    assert_int_equal(chat_style_open(&style, tok, "auto", NULL, &err), 0);
    struct chat chat = {.kind = style.kind, .messages = messages, .num_messages = 3, .style = &style};
    assert_int_equal(encode(tok, &chat, &got, &err), -1);
    assert_non_null(strstr(err.text, "leaves out message 1 (of the system)"));
    release(&got);
    chat.messages++; /* control: without it the conversation is fine */
    chat.num_messages--;
    assert_int_equal(encode(tok, &chat, &got, &err), 0);
    release(&got);
    chat_style_release(&style);
    tokenizer_free(tok);
}

/* test_bos_marker - tokenizers whose bos opens turns are known. */
static void test_bos_marker(void **state) {
    (void)state;
    for (int is_marker = 0; is_marker < 2; is_marker++) {
        json_t *config = json_pack("{s:s s:s s:s}", "bos_token", is_marker ? "<|im_start|>" : "<s>",
                                   "eos_token", "</s>", "chat_template", EACH_TURN OPENED);
        char *text = json_dumps(config, 0);
        struct tokenizer *tok = tiny_tokenizer_with(TINY_ALL, text);
        struct chat_style style;
        struct err err = {""};
        assert_int_equal(chat_style_open(&style, tok, "auto", NULL, &err), 0);
        assert_int_equal(style.bos_is_marker, is_marker);
        chat_style_release(&style);
        tokenizer_free(tok);
        free(text);
        json_decref(config);
    }
}

/* metaspace - a SentencePiece-style tokenizer of a few tokens whose pre-tokeniser has this scheme. */
static struct tokenizer *metaspace(const char *scheme) {
    struct err err = {""};
    char *json = xasprintf(
        "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"normalizer\": null, "
        "\"added_tokens\": ["
        "{\"id\": 4, \"content\": \"<|x|>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
        "\"normalized\": false, \"special\": true}, {\"id\": 5, \"content\": \"<|y|>\", \"single_word\": "
        "false, "
        "\"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}], "
        "\"pre_tokenizer\": {\"type\": "
        "\"Metaspace\", \"replacement\": \"\xE2\x96\x81\", \"prepend_scheme\": \"%s\", \"split\": false}, "
        "\"post_processor\": null, \"decoder\": null, \"model\": {\"type\": \"BPE\", \"dropout\": null, "
        "\"unk_token\": "
        "\"<unk>\", \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": true, "
        "\"byte_fallback\": false, \"vocab\": {\"<unk>\": 0, \"\xE2\x96\x81\": 1, \"a\": 2, \"b\": 3}, "
        "\"merges\": []}}",
        scheme);
    struct tokenizer *tok =
        tokenizer_parse(json, strlen(json),
                        "{\"chat_template\": \"{% for m in messages %}{{ m.content + '<|y|>' }}"
                        "{% endfor %}\"}",
                        "a tokenizer with Metaspace", &err);
    CHECK(tok, "%s", err.text);
    free(json);
    return tok;
}

/* test_metaspace - 'first' puts a space in front of the text alone, 'always' after each token, 'never'
 * nowhere. */
static void test_metaspace(void **state) {
    (void)state;
    const struct chat_message messages[] = {
        {"user", "a", 1}, {"assistant", "b", 1}, {"user", "a b", 3}, {"assistant", "b", 1}};
    static const struct {
        const char *scheme;
        int32_t ids[14];
        int count;
    } want[] = {{"always", {1, 2, 5, 1, 3, 5, 1, 2, 1, 3, 5, 1, 3, 5}, 14},
                {"first", {1, 2, 5, 3, 5, 2, 1, 3, 5, 3, 5}, 11},
                {"never", {2, 5, 3, 5, 2, 1, 3, 5, 3, 5}, 10}};
    for (size_t i = 0; i < 3; i++) {
        struct tokenizer *tok = metaspace(want[i].scheme);
        struct chat_style style;
        struct encoded got;
        struct err err = {""};
        if (chat_style_open(&style, tok, "auto", NULL, &err) != 0)
            fail_msg("%s", err.text);
        struct chat chat = {.kind = style.kind, .messages = messages, .num_messages = 4, .style = &style};
        assert_int_equal(encode(tok, &chat, &got, &err), 0);
        assert_int_equal(got.tokens.count, want[i].count);
        assert_memory_equal(got.tokens.ids, want[i].ids, (size_t)want[i].count * sizeof(int32_t));
        assert_int_equal(tokenizer_prefix_is_first(tok), i == 1);
        release(&got);
        chat_style_release(&style);
        tokenizer_free(tok);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),   cmocka_unit_test(test_variants), cmocka_unit_test(test_unlearnt),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_left_out), cmocka_unit_test(test_bos_marker),
        cmocka_unit_test(test_metaspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
