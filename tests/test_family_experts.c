/* test_family_experts.c - families with experts: parameters that a token makes use of, and layers without experts; gpt-oss's
 * config.json, plans and names. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/export/export_expressible.h"
#include "checkpoints/family/family_adapter.h"
#include "tests/family_fixture.h"

/* With experts: a token makes use of some.  The sizes of Mixtral 8x7B and of Qwen3-30B-A3B, counted in transformers' models. */
static void test_active(void **state) {
    (void)state;
    struct model_config mixtral = parsed(
        "{\"model_type\":\"mixtral\",\"hidden_size\":4096,\"intermediate_size\":14336,\"vocab_size\":32000,"
        "\"max_position_embeddings\":32768,\"num_hidden_layers\":32,\"num_attention_heads\":32,"
        "\"num_key_value_heads\":8,\"num_local_experts\":8,\"num_experts_per_tok\":2,\"tie_word_embeddings\":false}");
    assert_int_equal(model_num_parameters(&mixtral), 46702792704);
    assert_int_equal(model_num_active(&mixtral), 12879925248);
    struct model_config qwen = parsed(
        "{\"model_type\":\"qwen3_moe\",\"hidden_size\":2048,\"intermediate_size\":6144,\"vocab_size\":151936,"
        "\"max_position_embeddings\":262144,\"num_hidden_layers\":48,\"num_attention_heads\":32,"
        "\"num_key_value_heads\":4,\"head_dim\":128,\"num_experts\":128,\"num_experts_per_tok\":8,"
        "\"moe_intermediate_size\":768,\"norm_topk_prob\":true,\"tie_word_embeddings\":false}");
    assert_int_equal(model_num_parameters(&qwen), 30532122624);
    assert_int_equal(model_num_active(&qwen), 3353032704);
    struct model_config dense = parsed("{\"model_type\":\"qwen3\",\"head_dim\":24," SIZES "}");
    assert_int_equal(model_num_active(&dense), model_num_parameters(&dense));
}

/* Dense layers between those with experts: by a list, by a step, and both; another family, all of them, and no layer are refused. */
static void test_dense_layers(void **state) {
    (void)state;
    static const char *const sparse =
        "\"num_experts\":4,\"num_experts_per_tok\":2,\"moe_intermediate_size\":20,";
    char *text = xasprintf("{\"model_type\":\"qwen3_moe\",%s\"mlp_only_layers\":[1]," SIZES "}", sparse);
    struct model_config config = parsed(text);
    assert_true(family_layer_plan(&config, 1).ffn == FFN_GATED &&
                family_layer_plan(&config, 1).num_experts == 0);
    assert_true(family_layer_plan(&config, 0).ffn == FFN_EXPERTS &&
                family_layer_plan(&config, 2).ffn == FFN_EXPERTS);
    assert_int_equal(param_shape(&config, param_at(ROLE_UP, 1)).dims[0], config.dense_width);
    assert_int_equal(adapter_limit(&config, ADAPTER_UP), 20); /* of experts */
    assert_true(adapter_in_layer(&config, ADAPTER_UP, 0) && !adapter_in_layer(&config, ADAPTER_UP, 1));
    struct err err = {""};
    config.renormalises = true;
    assert_int_equal(export_check_expressible(&config, &err), -1);
    assert_non_null(strstr(err.text, "layers without experts, and layer 1 of this model is one"));
    free(text);
    text = xasprintf("{\"model_type\":\"qwen3_moe\",%s\"decoder_sparse_step\":2,\"mlp_only_layers\":[]," SIZES
                     "}",
                     sparse);
    config = parsed(text);
    for (int layer = 0; layer < 3; layer++)
        assert_true((family_layer_plan(&config, layer).ffn == FFN_EXPERTS) == (layer == 1));
    free(text);
    text = xasprintf("{\"model_type\":\"qwen3_moe\",%s\"decoder_sparse_step\":9," SIZES "}", sparse);
    assert_refused(text, "3 of 3 layers are dense");
    free(text);
    text = xasprintf("{\"model_type\":\"qwen3_moe\",%s\"mlp_only_layers\":[3]," SIZES "}", sparse);
    assert_refused(text, "mlp_only_layers[0] is not a layer");
    free(text);
    assert_refused("{\"model_type\":\"mixtral\",\"mlp_only_layers\":[1]," SIZES "}",
                   "mlp_only_layers is [1]");
    assert_refused("{\"model_type\":\"qwen3\",\"head_dim\":24,\"decoder_sparse_step\":2," SIZES "}",
                   "decoder_sparse_step is 2");
}

/* gpt-oss, and the size of the 120B: names of files that have all experts in one tensor, names of their own for what is drawn. */
static void test_gpt_oss(void **state) {
    (void)state;
    char name[PARAM_NAME_ROOM], other[PARAM_NAME_ROOM], text[64];
    struct model_config config = parsed("{\"model_type\":\"gpt_oss\"}");
    assert_true(config.num_experts == 128 && config.num_chosen == 4 && config.renormalises &&
                config.width == 2880);
    assert_true(config.rope_kind == ROPE_YARN && config.rope_theta == 150000 && config.yarn.exact_bounds);
    struct layer_plan local = family_layer_plan(&config, 0), whole = family_layer_plan(&config, 1);
    assert_true(local.window == 128 && whole.window == 0 && whole.sinks && whole.qkv_bias &&
                whole.output_bias);
    assert_true(whole.ffn == FFN_EXPERTS && whole.clamps_experts && whole.clamp.limit == 7);
    struct param fourth = {ROLE_EXPERT_GATE_UP, 2, 3}, last = {ROLE_EXPERT_GATE_UP, 2, 127};
    assert_string_equal(param_name(&config, fourth, name), "model.layers.2.mlp.experts.gate_up_proj");
    assert_string_equal(param_name(&config, last, other), name);
    assert_string_not_equal(param_own_name(&config, fourth, name), param_own_name(&config, last, other));
    assert_string_equal(tensor_shape_text(param_shape(&config, last), text, sizeof text), "[2880, 5760] f32");
    assert_string_equal(tensor_shape_text(param_file_shape(&config, last), text, sizeof text),
                        "[128, 2880, 5760] f32");
    assert_int_equal(param_file_first(&config, fourth), (int64_t)3 * 2880 * 5760);
    int64_t expert = (int64_t)2880 * 5760 + 5760 + 2880 * 2880 + 2880;
    int64_t layer = (int64_t)2880 * (2 * 4096 + 2 * 512) + 4096 + 2 * 512 + 2880 + 64 + 2 * 2880 + 128 * 2881;
    assert_int_equal(model_num_parameters(&config),
                     36 * (layer + 128 * expert) + (int64_t)2880 * (2 * 201088 + 1));
    char *written = model_config_text(&config, NULL);
    struct model_config again = parsed(written);
    assert_memory_equal(&again, &config, sizeof again);
    free(written);
    assert_refused("{\"model_type\":\"gpt_oss\",\"attention_bias\":false}",
                   "attention_bias false is not supported");
    assert_refused("{\"model_type\":\"gpt_oss\",\"swiglu_limit\":6}", "swiglu_limit is 6");
    assert_refused("{\"model_type\":\"gpt_oss\",\"swiglu_alpha\":1}", "swiglu_alpha is 1");
    assert_refused("{\"model_type\":\"gpt_oss\",\"sliding_window\":null}", "sliding_window is null");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_active),
        cmocka_unit_test(test_dense_layers),
        cmocka_unit_test(test_gpt_oss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
