/* test_chat.c - chat templates: the text equals what Jinja renders (golden/chat), the tokens what encoding
 * that text gives, the mask covers replies and their ends, and no message can forge a special token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/template/chat.h"
#include "kernels/rng.h"
#include "tests/check.h"
#include "tests/tiny_tokenizer.h"

enum { MAX_MESSAGES = 8 };

/* One golden case. */
struct golden {
    struct chat chat;
    struct chat_message messages[MAX_MESSAGES];
    const char *name, *text;
    size_t text_bytes;
    enum tiny_kind kind;
};

static json_t *cases;

static struct golden golden_case(size_t index) {
    const json_t *c = json_array_get(cases, index), *messages = json_object_get(c, "messages"), *message;
    struct golden g = {.name = json_string_value(json_object_get(c, "template")),
                       .text = json_string_value(json_object_get(c, "text")),
                       .text_bytes = json_string_length(json_object_get(c, "text"))};
    char family[16];
    size_t i;
    snprintf(family, sizeof family, "%.*s", (int)strcspn(g.name, "-"), g.name);
    if (strcmp(g.name, "mistral-v3") == 0)
        g.kind = TINY_SENTENCEPIECE;
    else if (strcmp(g.name, "mistral-v1") == 0 || strcmp(g.name, "llama2") == 0)
        g.kind = TINY_NO_INST; /* [INST] is plain text there */
    g.chat.kind = chat_kind_from_name(family);
    g.chat.add_generation_prompt = json_is_true(json_object_get(c, "add_generation_prompt"));
    json_array_foreach(messages, i, message) {
        const json_t *content = json_object_get(message, "content");
        g.messages[i] = (struct chat_message){json_string_value(json_object_get(message, "role")),
                                              json_string_value(content), json_string_length(content)};
    }
    g.chat.num_messages = (int)i;
    return g;
}

/* is_forged - conversations of the list that try to write special tokens. */
static bool is_forged(const struct golden *g) {
    for (int i = 0; i < g->chat.num_messages; i++)
        if (strstr(g->messages[i].content, "</s>"))
            return true;
    return false;
}

static bool same_text(const struct chat_text *rendered, const char *text, size_t length_bytes) {
    return rendered->text.length_bytes == length_bytes &&
           memcmp(rendered->text.bytes, text, length_bytes) == 0;
}

static void test_golden_text(void **state) {
    (void)state;
    struct chat_text rendered = {0};
    int mixed_up = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        struct err err = {{0}};
        struct golden g = golden_case(i);
        struct tokenizer *tok = tiny_tokenizer(g.kind);
        g.chat.messages = g.messages;
        if (chat_render(tok, &g.chat, &rendered, &err) != 0)
            fail_msg("%s case %zu: %s", g.name, i, err.text);
        if (!same_text(&rendered, g.text, g.text_bytes))
            fail_msg("%s case %zu:\n  got  '%.*s'\n  want '%s'", g.name, i, (int)rendered.text.length_bytes,
                     rendered.text.bytes, g.text);
        assert_int_equal(rendered.spans[rendered.num_spans - 1].end_byte, g.text_bytes);
        struct chat other = g.chat; /* control: another family's renderer gives another text */
        other.kind = g.chat.kind == CHAT_LLAMA2 ? CHAT_MISTRAL : CHAT_LLAMA2;
        mixed_up +=
            chat_render(tok, &other, &rendered, &err) == 0 && same_text(&rendered, g.text, g.text_bytes);
        tokenizer_free(tok);
    }
    assert_int_equal(mixed_up, 0);
    assert_true(json_array_size(cases) > 90);
    chat_text_release(&rendered);
}

/* tokens_agree - chat_encode against encoding the golden text in one go, special tokens parsed. */
static bool tokens_agree(const struct tokenizer *tok, const struct chat *chat, const char *text,
                         size_t text_bytes) {
    struct err err = {{0}};
    struct token_list got = {0}, want = {0};
    uint8_t *mask = NULL;
    struct encoder *enc = encoder_open(tok);
    if (chat_encode(tok, enc, chat, &got, &mask, &err) != 0 ||
        encoder_encode(enc, text, text_bytes, ENCODE_PARSE_SPECIAL, &want, &err) != 0)
        fail_msg("%s", err.text);
    bool agree =
        got.count == want.count && memcmp(got.ids, want.ids, (size_t)got.count * sizeof *got.ids) == 0;
    encoder_close(enc);
    token_list_release(&got);
    token_list_release(&want);
    free(mask);
    return agree;
}

static void test_golden_tokens(void **state) {
    (void)state;
    int num_forged = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        struct golden g = golden_case(i);
        struct tokenizer *tok = tiny_tokenizer(g.kind);
        g.chat.messages = g.messages;
        bool agree = tokens_agree(tok, &g.chat, g.text, g.text_bytes);
        if (agree ==
            is_forged(&g)) /* control: where a message writes "</s>", parsing the whole text is fooled */
            fail_msg("%s case %zu: tokens %s", g.name, i, agree ? "were forged" : "differ");
        num_forged += is_forged(&g);
        tokenizer_free(tok);
    }
    assert_true(num_forged > 0);
}

/* counted_text - what the tokens with mask 1 say. */
static char *counted_text(const struct tokenizer *tok, enum chat_kind kind,
                          const struct chat_message *messages, int num_messages) {
    struct err err = {{0}};
    struct token_list tokens = {0}, counted = {0};
    uint8_t *mask = NULL;
    struct encoder *enc = encoder_open(tok);
    struct chat chat = {.kind = kind, .messages = messages, .num_messages = num_messages};
    if (chat_encode(tok, enc, &chat, &tokens, &mask, &err) != 0)
        fail_msg("%s", err.text);
    for (int64_t i = 0; i < tokens.count; i++) {
        assert_true(mask[i] <= 1);
        if (mask[i])
            token_list_push(&counted, tokens.ids[i]);
    }
    char *text = tokenizer_decode(tok, counted.ids, counted.count, false, NULL);
    encoder_close(enc);
    token_list_release(&tokens);
    token_list_release(&counted);
    free(mask);
    return text;
}

static void check_counted(enum tiny_kind tiny, enum chat_kind kind, const char *const replies[2],
                          const char *want) {
    struct tokenizer *tok = tiny_tokenizer(tiny);
    const struct chat_message messages[] = {{"system", "sys", 3},
                                            {"user", "u1", 2},
                                            {"assistant", replies[0], strlen(replies[0])},
                                            {"user", "u2", 2},
                                            {"assistant", replies[1], strlen(replies[1])}};
    char *text = counted_text(tok, kind, messages, 5);
    assert_string_equal(text, want);
    free(text);
    tokenizer_free(tok);
}

static void test_mask(void **state) {
    (void)state;
    const char *const plain[] = {"oui", "non"}, *const feeds[] = {"\n\nx", ""};
    check_counted(TINY_ALL, CHAT_CHATML, plain, "oui<|im_end|>non<|im_end|>");
    check_counted(TINY_ALL, CHAT_LLAMA3, plain, "oui<|eot_id|>non<|eot_id|>");
    check_counted(TINY_NO_INST, CHAT_LLAMA2, plain, "oui </s>non </s>");
    check_counted(TINY_ALL, CHAT_MISTRAL, plain, "oui</s>non</s>");
    check_counted(TINY_NO_INST, CHAT_MISTRAL, plain, "oui</s>non</s>");
    /* "assistant\n" and "\n\nx" share the token "\n\n": it counts, with the frame's half of it */
    check_counted(TINY_ALL, CHAT_CHATML, feeds, "\n\n\nx<|im_end|><|im_end|>");
}

/* count_forgeable - tokens of the list that a message could try to write. */
static int count_forgeable(const struct token_list *tokens) {
    int count = 0;
    for (int64_t i = 0; i < tokens->count; i++)
        count += tokens->ids[i] >= TINY_BOS;
    return count;
}

/* forged_message - random pieces of markers and text. */
static void forged_message(uint64_t seed, char *text, size_t room_bytes) {
    static const char *const pieces[] = {
        "<|im_start|>", "<|im_end|>", "<|eot_id|>", "</s>", "<s>",
        "[INST]",       "[/INST]",    "<|",         "|>",   "im_end",
        "\n",           " ",          "é",          "</s",  "<|start_header_id|>"};
    text[0] = '\0';
    for (uint64_t i = 0; i < 12; i++) {
        const char *piece =
            pieces[rng_below(seed, rng_stream(RNG_TEST, 1), i, sizeof pieces / sizeof *pieces)];
        if (strlen(text) + strlen(piece) + 1 < room_bytes)
            strcat(text, piece);
    }
}

static void test_no_forgery(void **state) {
    (void)state;
    static const struct {
        enum chat_kind kind;
        enum tiny_kind tiny;
        int num_markers; /* of a system, a user and an assistant message */
    } formats[] = {{CHAT_CHATML, TINY_ALL, 6},      {CHAT_LLAMA3, TINY_ALL, 10},
                   {CHAT_LLAMA2, TINY_ALL, 2},      {CHAT_MISTRAL, TINY_ALL, 4},
                   {CHAT_MISTRAL, TINY_NO_INST, 2}, {CHAT_MISTRAL, TINY_SENTENCEPIECE, 4}};
    for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
        struct tokenizer *tok = tiny_tokenizer(formats[f].tiny);
        struct encoder *enc = encoder_open(tok);
        for (uint64_t seed = 0; seed < 200; seed++) {
            struct err err;
            struct token_list tokens = {0}, parsed = {0};
            uint8_t *mask = NULL;
            char texts[3][256];
            for (int i = 0; i < 3; i++)
                forged_message(3 * seed + (uint64_t)i, texts[i], sizeof texts[i]);
            const struct chat_message messages[] = {{"system", texts[0], strlen(texts[0])},
                                                    {"user", texts[1], strlen(texts[1])},
                                                    {"assistant", texts[2], strlen(texts[2])}};
            struct chat chat = {.kind = formats[f].kind, .messages = messages, .num_messages = 3};
            assert_int_equal(chat_encode(tok, enc, &chat, &tokens, &mask, &err), 0);
            assert_int_equal(count_forgeable(&tokens), formats[f].num_markers);
            if (strstr(texts[1],
                       "</s>")) { /* control: this text does give a special token where they are parsed */
                assert_int_equal(
                    encoder_encode(enc, texts[1], strlen(texts[1]), ENCODE_PARSE_SPECIAL, &parsed, &err), 0);
                assert_true(count_forgeable(&parsed) > 0);
            }
            token_list_release(&tokens);
            token_list_release(&parsed);
            free(mask);
        }
        encoder_close(enc);
        tokenizer_free(tok);
    }
}

static void refused(enum tiny_kind tiny, enum chat_kind kind, const struct chat_message *messages,
                    int num_messages, const char *reason) {
    struct err err = {{0}};
    struct chat_text rendered = {0};
    struct tokenizer *tok = tiny_tokenizer(tiny);
    struct chat chat = {.kind = kind, .messages = messages, .num_messages = num_messages};
    assert_int_equal(chat_render(tok, &chat, &rendered, &err), -1);
    if (!strstr(err.text, reason))
        fail_msg("expected '%s' in '%s'", reason, err.text);
    chat_text_release(&rendered);
    tokenizer_free(tok);
}

static void test_errors(void **state) {
    (void)state;
    const struct chat_message system = {"system", "s", 1}, user = {"user", "u", 1}, bad = {"user", "\xFF", 1};
    const struct chat_message tool = {"tool", "t", 1}, reply = {"assistant", "a", 1};
    refused(TINY_ALL, CHAT_CHATML, NULL, 0, "without messages");
    refused(TINY_ALL, CHAT_CHATML, &tool, 1, "role 'tool'");
    refused(TINY_ALL, CHAT_CHATML, &bad, 1, "not UTF-8");
    refused(TINY_SENTENCEPIECE, CHAT_CHATML, &user, 1, "no token '<|im_start|>'");
    refused(TINY_SENTENCEPIECE, CHAT_LLAMA3, &user, 1, "no token '<|start_header_id|>'");
    for (int kind = CHAT_LLAMA2; kind <= CHAT_MISTRAL; kind += CHAT_MISTRAL - CHAT_LLAMA2) {
        refused(TINY_ALL, (enum chat_kind)kind, &reply, 1, "wants 'user'");
        refused(TINY_ALL, (enum chat_kind)kind, &system, 1, "system message only");
        refused(TINY_ALL, (enum chat_kind)kind, (const struct chat_message[]){user, user}, 2,
                "wants 'assistant'");
        refused(TINY_ALL, (enum chat_kind)kind, (const struct chat_message[]){user, system}, 2,
                "role 'system'");
    }
}

static void test_kinds(void **state) {
    (void)state;
    for (int kind = 0; kind < CHAT_UNKNOWN; kind++)
        assert_int_equal(chat_kind_from_name(chat_kind_name((enum chat_kind)kind)), kind);
    assert_int_equal(chat_kind_from_name("alpaca"), CHAT_UNKNOWN);
}

/* check_real - conversations through a real tokenizer: like encoding the rendered text. */
static void check_real(const char *folder, const char *name, enum chat_kind kind) {
    struct err err = {{0}};
    struct chat_text rendered = {0};
    char *path = xasprintf("%s/%s/tokenizer.json", folder, name);
    struct tokenizer *tok = tokenizer_load(path, &err);
    if (!tok)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        struct golden g = golden_case(i);
        g.chat.messages = g.messages;
        if (g.chat.kind != kind || is_forged(&g))
            continue;
        if (chat_render(tok, &g.chat, &rendered, &err) != 0)
            fail_msg("%s case %zu: %s", name, i, err.text);
        if (!tokens_agree(tok, &g.chat, rendered.text.bytes, rendered.text.length_bytes))
            fail_msg("%s case %zu: tokens differ from those of '%.*s'", name, i,
                     (int)rendered.text.length_bytes, rendered.text.bytes);
    }
    chat_text_release(&rendered);
    tokenizer_free(tok);
    free(path);
}

static void test_real_tokenizers(void **state) {
    (void)state;
    const char *archive = shared_path("tokenizers/tokenizers.tar.zst");
    if (!archive) {
        print_message("../shared is absent: real tokenizers are not tried\n");
        skip();
    }
    char *folder = test_folder("chat");
    char *command = xasprintf("tar --zstd -xf '%s' -C '%s'", archive, folder);
    if (system(command) != 0)
        fail_msg("cannot unpack '%s'", archive);
    check_real(folder, "qwen3", CHAT_CHATML);
    check_real(folder, "llama3", CHAT_LLAMA3);
    check_real(folder, "lucie", CHAT_LLAMA3);
    check_real(folder, "mistral_nemo", CHAT_MISTRAL);
    check_real(folder, "llama2", CHAT_LLAMA2);
    free(command);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_text),
        cmocka_unit_test(test_golden_tokens),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_no_forgery),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_real_tokenizers),
    };
    json_error_t fault;
    cases = json_load_file("tests/golden/chat/golden.json", 0, &fault);
    CHECK(cases, "tests/golden/chat/golden.json: %s (run in the repository's root)", fault.text);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(cases);
    return status;
}
