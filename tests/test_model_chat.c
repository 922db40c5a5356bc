/* test_model_chat.c - what training on conversations changes in the small files of a model folder: end tokens
 * in front, the earlier ones kept, the template where there was none; and the tokenizer's class. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/model_chat.h"
#include "checkpoints/model_folder.h"
#include "tests/check.h"

static const struct learnt_chat CHAT = {7, "<|im_end|>", NULL}, NOTHING = {-1, NULL, NULL},
                                TEMPLATE = {7, "<|im_end|>", "{{ messages }}"};

/* check - the text as JSON equals want; freed. */
static void check(char *text, const char *want) {
    json_t *a = json_loads(text, 0, NULL), *b = json_loads(want, 0, NULL);
    assert_non_null(b);
    if (!json_equal(a, b))
        fail_msg("got %s\nwant %s", text, want);
    json_decref(a);
    json_decref(b);
    free(text);
}

static void test_end_ids(void **state) {
    (void)state;
    struct model_config config = {.num_eos = 1, .eos_ids = {4}};
    assert_true(model_chat_add_end(&config, 7));
    assert_int_equal(config.num_eos, 2);
    assert_int_equal(config.eos_ids[0], 7);
    assert_int_equal(config.eos_ids[1], 4);
    assert_false(model_chat_add_end(&config, 4)); /* it is there, and stays where it is */
    assert_int_equal(config.eos_ids[0], 7);
    config.num_eos = MODEL_MAX_EOS;
    assert_false(model_chat_add_end(&config, 9));
}

static void test_generation_config(void **state) {
    (void)state;
    check(model_chat_generation_config("{\"eos_token_id\": 4, \"top_p\": 0.5}", &CHAT),
          "{\"eos_token_id\": [7, 4], \"top_p\": 0.5}");
    check(model_chat_generation_config("{\"eos_token_id\": [4, 7, 5]}", &CHAT),
          "{\"eos_token_id\": [7, 4, 5]}");
    check(model_chat_generation_config("{\"eos_token_id\": 7}", &CHAT), "{\"eos_token_id\": 7}");
    check(model_chat_generation_config("{}", &CHAT), "{\"eos_token_id\": 7}");
    check(model_chat_generation_config("{\"eos_token_id\": 4}", &NOTHING), "{\"eos_token_id\": 4}");
}

static void test_tokenizer_config(void **state) {
    (void)state;
    check(model_chat_tokenizer_config("{\"eos_token\": \"</s>\", \"x\": 1}", &CHAT),
          "{\"eos_token\": \"<|im_end|>\", \"x\": 1}");
    check(model_chat_tokenizer_config("{\"eos_token\": {\"content\": \"</s>\", \"lstrip\": false}}", &CHAT),
          "{\"eos_token\": {\"content\": \"<|im_end|>\", \"lstrip\": false}}");
    check(model_chat_tokenizer_config("{\"chat_template\": \"old\"}", &CHAT),
          "{\"chat_template\": \"old\", \"eos_token\": \"<|im_end|>\"}");
    check(model_chat_tokenizer_config(NULL, &TEMPLATE),
          "{\"eos_token\": \"<|im_end|>\", \"chat_template\": \"{{ messages }}\"}");
    check(model_chat_special_tokens("{\"eos_token\": \"</s>\"}", &CHAT), "{\"eos_token\": \"<|im_end|>\"}");
    check(model_chat_special_tokens("{\"eos_token\": \"</s>\"}", &NOTHING), "{\"eos_token\": \"</s>\"}");
}

static void test_has_template(void **state) {
    (void)state;
    char *folder = test_folder("model-chat");
    assert_false(model_chat_has_template(NULL, NULL));
    assert_false(model_chat_has_template(folder, "{\"eos_token\": \"</s>\"}"));
    assert_true(model_chat_has_template(folder, "{\"chat_template\": \"x\"}"));
    char *path = xasprintf("%s/chat_template.jinja", folder);
    FILE *file = fopen(path, "w");
    fputs("x", file);
    fclose(file);
    assert_true(model_chat_has_template(folder, NULL));
    free(path);
    free(folder);
}

static void test_class(void **state) {
    (void)state;
    static const char *const kept[] = {"{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}",
                                       "{\"tokenizer_class\": \"TokenizersBackend\"}", "{}", "not JSON"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        assert_null(model_folder_class_note(kept[i]));
    assert_null(model_folder_class_note(NULL));
    char *note = model_folder_class_note("{\"tokenizer_class\": \"LlamaTokenizer\"}");
    assert_non_null(note);
    assert_non_null(strstr(note, "'LlamaTokenizer' is written as 'PreTrainedTokenizerFast'"));
    free(note);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end_ids),
        cmocka_unit_test(test_generation_config),
        cmocka_unit_test(test_tokenizer_config),
        cmocka_unit_test(test_has_template),
        cmocka_unit_test(test_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
