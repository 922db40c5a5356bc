/* test_family_windows.c - families whose layers may see a window: keys, defaults, lists of layer types, and what is written; and
 * Granite's multipliers. */
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
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

/* A Ministral without a window: its class in transformers makes a mask with a window for every model, and stops where
 * sliding_window is null.  What is written has one as long as the model, which no layer sees, and is read back as none. */
static void test_ministral_whole(void **state) {
    (void)state;
    static const char *const texts[] = {MINISTRAL("\"sliding_window\":null,"),
                                        MINISTRAL("\"sliding_window\":64," TYPES("full", "full", "full")),
                                        MISTRAL("\"sliding_window\":null,"),
                                        MISTRAL("\"sliding_window\":64," TYPES("full", "full", "full"))};
    for (int i = 0; i < 4; i++) {
        struct model_config config = parsed(texts[i]);
        assert_int_equal(config.window, 0);
        for (int kept = 0; kept < 2; kept++) {
            struct err err = {""};
            char *text = model_config_text(&config, kept ? texts[i] : NULL);
            json_t *root = json_parse_text(text, strlen(text), "written", &err);
            const json_t *types = json_object_get(root, "layer_types");
            json_int_t window = json_integer_value(json_object_get(root, "sliding_window"));
            assert_int_equal(window, i < 2 ? config.max_positions : 0);
            assert_int_equal(json_array_size(types), i < 2 ? 3 : 0);
            for (size_t layer = 0; layer < json_array_size(types); layer++)
                assert_string_equal(json_string_value(json_array_get(types, layer)), "full_attention");
            json_decref(root);
            free(text);
        }
    }
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
                   "layer_types[0] is 'full_attention");
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

#define PHI3(more) "{\"model_type\":\"phi3\"," more SIZES "}"

/* Phi-3: transformers' class does not read layer_types; a list that says what it computes is taken, another is refused. */
static void test_phi3_types(void **state) {
    (void)state;
    check_windows(PHI3("\"sliding_window\":64,"), 64, 64, 64);
    check_windows(PHI3(""), 0, 0, 0);
    check_windows(PHI3("\"sliding_window\":64," TYPES("sliding", "sliding", "sliding")), 64, 64, 64);
    check_windows(PHI3("\"sliding_window\":null," TYPES("full", "full", "full")), 0, 0, 0);
    assert_refused(
        PHI3("\"sliding_window\":64," TYPES("sliding", "full", "sliding")),
        "layer_types[1] is 'full_attention', which transformers does not read of model_type 'phi3'");
    assert_refused(PHI3("\"sliding_window\":64," TYPES("full", "full", "full")),
                   "layer_types[0] is 'full_attention', which transformers does not read");
    assert_refused(PHI3("\"sliding_window\":null," TYPES("full", "sliding", "full")),
                   "layer_types[1] is 'sliding_attention', and sliding_window is null");
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

#define OLMO3(more) "{\"model_type\":\"olmo3\",\"sliding_window\":64," more SIZES "}"
#define YARN "\"rope_type\":\"yarn\",\"factor\":8,\"original_max_position_embeddings\":64"

/* OLMo 3: three of four layers see a window, and nothing is stretched there; both spellings of one base, and the new one of
 * two. */
static void test_olmo3(void **state) {
    (void)state;
    struct model_config
        old = parsed(
            OLMO3(TYPES("sliding", "full", "sliding") "\"rope_theta\":5e5,\"rope_scaling\":{" YARN "},")),
        new = parsed(OLMO3(
            TYPES("sliding", "full",
                  "sliding") "\"rope_parameters\":{\"full_attention\":{" YARN
                             ",\"rope_theta\":5e5},\"sliding_attention\":{\"rope_type\":\"default\"}},")),
        two = parsed(OLMO3(
            "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\",\"rope_theta\":1e6}},"));
    assert_memory_equal(&old, &new, sizeof old);
    struct layer_plan local = family_layer_plan(&old, 0), whole = family_layer_plan(&old, 1);
    assert_true(local.window == 64 && !local.rope_scaled && local.rope_theta == 5e5);
    assert_true(whole.window == 0 && whole.rope_scaled && whole.place == NORM_POST &&
                whole.qk_norm == QK_NORM_ROWS);
    assert_true(two.rope_theta == 1e6 && two.rope_local_theta == 5e5);
    const struct model_config *models[] = {&old, &two};
    for (int i = 0; i < 2; i++) {
        char *text = model_config_text(models[i], NULL);
        struct model_config again = parsed(text);
        assert_memory_equal(&again, models[i], sizeof again);
        assert_null(strstr(text, "rope_local_base_freq"));
        free(text);
    }
    assert_refused(OLMO3("\"rope_parameters\":{\"sliding_attention\":{" YARN "}},"),
                   "sliding_attention: layers with a window are computed with rope_type default alone");
    assert_refused("{\"model_type\":\"olmo3\",\"sliding_window\":null," SIZES "}", "sliding_window is null");
}

#define GRANITE(more) "{\"model_type\":\"granite\"," more SIZES "}"

/* Granite: four multipliers, 1 where the key is missing; no other family has them. */
static void test_granite(void **state) {
    (void)state;
    struct model_config config =
                            parsed(GRANITE("\"embedding_multiplier\":12.0,\"residual_multiplier\":0.22,"
                                           "\"attention_multiplier\":0.0078125,\"logits_scaling\":16.0,")),
                        bare = parsed(GRANITE(""));
    struct layer_plan plan = family_layer_plan(&config, 1), other = family_layer_plan(&bare, 1);
    assert_true(plan.scale == 0.0078125f && plan.branch_scale == 0.22f && plan.place == NORM_PRE);
    assert_true(family_embedding_scale(&config) == 12 && family_logit_scale(&config) == 0.0625f);
    assert_true(other.scale == 1 && other.branch_scale == 1 && family_embedding_scale(&bare) == 1);
    char *text = model_config_text(&config, NULL);
    struct model_config again = parsed(text);
    assert_memory_equal(&again, &config, sizeof config);
    free(text);
    assert_refused(GRANITE("\"residual_multiplier\":0,"),
                   "residual_multiplier is 0, expected a number above 0");
    assert_refused(GRANITE("\"logits_scaling\":\"8\","), "'logits_scaling'");
    assert_refused(GRANITE("\"mlp_bias\":true,"), "mlp_bias true");
    assert_refused(GRANITE("\"num_local_experts\":40,"), "num_local_experts is 40");
    assert_refused("{\"model_type\":\"llama\",\"logits_scaling\":8," SIZES "}",
                   "logits_scaling is 8: layers of");
    assert_refused("{\"model_type\":\"llama\",\"residual_multiplier\":0.5," SIZES "}",
                   "residual_multiplier is 0.5: layers of");
}

/* Patterns as they come from lists: the period, its layer that sees all, and the first layer that breaks it. */
static void test_patterns(void **state) {
    (void)state;
    const struct {
        const char *layers; /* s: local, f: sees all */
        int period, whole, odd;
    } cases[] = {{"sssf", 4, 3, -1},  {"fsssf", 4, 0, -1}, {"sfssf", 3, 1, -1},    {"ssfs", 3, 2, -1},
                 {"fss", 3, 0, -1},   {"ffff", 1, 0, -1},  {"ssfsfs", 2, 0, 0},    {"fsfss", 2, 0, 4},
                 {"sfsss", 5, 1, -1}, {"f", 1, 0, -1},     {"sssfsssfs", 4, 3, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct model_config config = {.num_layers = (int)strlen(cases[i].layers)};
        bool is_local[16];
        for (int layer = 0; layer < config.num_layers; layer++)
            is_local[layer] = cases[i].layers[layer] == 's';
        assert_int_equal(family_window_pattern(&config, is_local), cases[i].odd);
        assert_int_equal(config.window_period, cases[i].period);
        assert_int_equal(config.window_whole, cases[i].whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistral),         cmocka_unit_test(test_ministral),
        cmocka_unit_test(test_ministral_whole), cmocka_unit_test(test_phi3_types),
        cmocka_unit_test(test_refused),         cmocka_unit_test(test_gguf_positions),
        cmocka_unit_test(test_gemma2),          cmocka_unit_test(test_olmo3),
        cmocka_unit_test(test_granite),         cmocka_unit_test(test_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
