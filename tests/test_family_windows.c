/* test_family_windows.c - which layers of a family see a window: keys, defaults, lists of layer types, and what is written. */
#include <stdlib.h>
#include <string.h>

#include "tests/family_fixture.h"

#define MISTRAL(more) "{\"model_type\":\"mistral\"," more SIZES "}"
#define MINISTRAL(more) "{\"model_type\":\"ministral\"," more SIZES "}"
#define TYPES(a, b, c) "\"layer_types\":[\"" a "_attention\",\"" b "_attention\",\"" c "_attention\"],"

/* check_windows - of the three layers; and that the model is the same one after it was written and read. */
static void check_windows(const char *text, int64_t first, int64_t second, int64_t third) {
    const int64_t windows[] = {first, second, third};
    struct model_config config = parsed(text);
    char *written = model_config_text(&config, NULL), *kept = model_config_text(&config, text);
    struct model_config again = parsed(written), over = parsed(kept);
    assert_memory_equal(&again, &config, sizeof config);
    assert_memory_equal(&over, &config, sizeof config);
    for (int layer = 0; layer < 3; layer++) {
        struct layer_plan plan = family_layer_plan(&config, layer);
        assert_int_equal(plan.window, windows[layer]);
        assert_true(plan.rope_scaled && plan.rope_theta == config.rope_theta);
    }
    free(written), free(kept);
}

/* Mistral: one window for all layers, that of its class where the key is missing, none where it is null; a list of layer
 * types counts, as transformers takes such a model for a Ministral. */
static void test_mistral(void **state) {
    (void)state;
    check_windows(MISTRAL("\"sliding_window\":64,"), 64, 64, 64);
    check_windows(MISTRAL(""), 4096, 4096, 4096);
    check_windows(MISTRAL("\"sliding_window\":null,"), 0, 0, 0);
    check_windows(MISTRAL("\"sliding_window\":64," TYPES("sliding", "sliding", "sliding")), 64, 64, 64);
    check_windows(MISTRAL("\"sliding_window\":64," TYPES("full", "sliding", "sliding")), 0, 64, 64);
    check_windows(MISTRAL("\"sliding_window\":null," TYPES("full", "full", "full")), 0, 0, 0);
    struct model_config config = parsed(MISTRAL("\"sliding_window\":64,"));
    char *text = model_config_text(&config, NULL);
    assert_null(strstr(text, "layer_types"));
    assert_null(strstr(text, "sliding_window_pattern"));
    free(text);
}

/* Ministral: any list whose layers without a window stand at equal distances, from any layer on. */
static void test_ministral(void **state) {
    (void)state;
    check_windows(MINISTRAL("\"sliding_window\":64,"), 64, 64, 64);
    check_windows(MINISTRAL("\"sliding_window\":null,"), 0, 0, 0);
    check_windows(MINISTRAL("\"sliding_window\":64," TYPES("full", "sliding", "full")), 0, 64, 0);
    check_windows(MINISTRAL("\"sliding_window\":64," TYPES("sliding", "full", "sliding")), 64, 0, 64);
    check_windows(MINISTRAL("\"sliding_window\":64," TYPES("sliding", "sliding", "full")), 64, 64, 0);
    check_windows(MINISTRAL("\"sliding_window\":64," TYPES("full", "full", "full")), 0, 0, 0);
    assert_string_equal(parsed(MINISTRAL("")).architecture, "MinistralForCausalLM");
}

static void test_refused(void **state) {
    (void)state;
    assert_refused(MISTRAL("\"sliding_window\":0,"), "sliding_window is 0, expected a positive number");
    assert_refused(MISTRAL("\"sliding_window\":\"64\","), "'sliding_window'");
    assert_refused(MISTRAL("\"sliding_window\":9223372036854775807,"),
                   "sliding_window is 9223372036854775807");
    assert_refused(MINISTRAL("\"sliding_window\":64," TYPES("full", "full", "sliding")),
                   "layer_types[2] is 'sliding_attention', while every 1-th layer");
    assert_refused(MINISTRAL("\"sliding_window\":null," TYPES("sliding", "sliding", "sliding")),
                   "layer_types[0] is 'sliding_attention', and sliding_window is null");
    assert_refused(MINISTRAL("\"layer_types\":[\"full_attention\\u0000\",\"\",\"\"],"),
                   "layer_types[2] is ''");
    assert_refused(MINISTRAL("\"layer_types\":{},"), "layer_types is an object of 0");
}

/* In GGUF a Mistral is a Llama, whose windows llama.cpp does not know: it computes the same up to one window. */
static void test_gguf_positions(void **state) {
    (void)state;
    struct model_config windowed = parsed(MISTRAL("\"sliding_window\":64,")),
                        wide = parsed(MISTRAL("\"sliding_window\":600,")),
                        mixed = parsed(MINISTRAL("\"sliding_window\":64," TYPES("full", "sliding", "full"))),
                        whole = parsed(MINISTRAL("\"sliding_window\":64," TYPES("full", "full", "full")));
    assert_int_equal(family_gguf_positions(&windowed), 64);
    assert_int_equal(family_gguf_positions(&wide), 512);
    assert_int_equal(family_gguf_positions(&mixed), 64);
    assert_int_equal(family_gguf_positions(&whole), 512);
}

#define GEMMA2(more) "{\"model_type\":\"gemma2\"," more SIZES "}"

/* Gemma 2: every other layer sees a window, from the first on; caps and scale of its class, null for no cap; the parameters of
 * Gemma 2 2B, which are 2,614,341,888. */
static void test_gemma2(void **state) {
    (void)state;
    struct model_config published =
        parsed("{\"architectures\":[\"Gemma2ForCausalLM\"],\"model_type\":\"gemma2\"}");
    assert_int_equal(model_num_parameters(&published), 2614341888);
    assert_true(published.max_positions == 8192 && published.tied_head && published.bos_id == 2);
    struct layer_plan local = family_layer_plan(&published, 0), whole = family_layer_plan(&published, 1);
    assert_true(local.window == 4096 && whole.window == 0 && local.rope_scaled && local.rope_theta == 1e4);
    assert_true(local.place == NORM_SANDWICH && local.qk_norm == QK_NORM_NONE && local.norm.offset == 1);
    assert_true(local.gate == GATE_GELU_TANH && local.scale == 0.0625f && local.softcap == 50);
    assert_true(published.logit_softcap == 30 && family_embedding_scale(&published) == 48);
    check_windows(GEMMA2("\"sliding_window\":64,"), 64, 0, 64);
    check_windows(GEMMA2(TYPES("full", "sliding", "full") "\"sliding_window\":64,"), 0, 64, 0);
    check_windows(
        GEMMA2("\"sliding_window\":64,\"attn_logit_softcapping\":null,\"final_logit_softcapping\":null,"), 64,
        0, 64);
    struct model_config bare =
        parsed(GEMMA2("\"attn_logit_softcapping\":null,\"final_logit_softcapping\":2.5,"));
    assert_true(bare.attention_softcap == 0 && bare.logit_softcap == 2.5f);
    assert_refused(GEMMA2("\"final_logit_softcapping\":0,"), "final_logit_softcapping is 0, expected");
    assert_refused(GEMMA2("\"attn_logit_softcapping\":-1,"), "attn_logit_softcapping is -1, expected");
    assert_refused(GEMMA2("\"sliding_window\":null,"), "sliding_window is null");
    assert_refused(GEMMA2("\"hidden_activation\":\"silu\","), "hidden_activation 'silu' is not supported");
    assert_refused(GEMMA2("\"attention_bias\":true,"), "attention_bias true");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistral), cmocka_unit_test(test_ministral),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_gguf_positions),
        cmocka_unit_test(test_gemma2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
