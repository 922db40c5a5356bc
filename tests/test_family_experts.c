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

/* GLM-4.5-Air, as its config.json is published but for what is not read; sizes counted in transformers' model. */
static const char GLM_AIR[] =
    "{\"architectures\":[\"Glm4MoeForCausalLM\"],\"model_type\":\"glm4_moe\",\"attention_bias\":true,"
    "\"hidden_size\":4096,\"head_dim\":128,\"partial_rotary_factor\":0.5,\"intermediate_size\":10944,"
    "\"max_position_embeddings\":131072,\"moe_intermediate_size\":1408,\"norm_topk_prob\":true,"
    "\"num_attention_heads\":96,\"n_group\":1,\"topk_group\":1,\"n_routed_experts\":128,\"n_shared_experts\":1,"
    "\"routed_scaling_factor\":1.0,\"num_experts_per_tok\":8,\"first_k_dense_replace\":1,\"num_hidden_layers\":46,"
    "\"num_key_value_heads\":8,\"num_nextn_predict_layers\":1,\"rms_norm_eps\":1e-05,\"rope_scaling\":null,"
    "\"rope_theta\":1000000,\"tie_word_embeddings\":false,\"use_qk_norm\":false,\"vocab_size\":151552}";

static void test_glm4_moe(void **state) {
    (void)state;
    char name[PARAM_NAME_ROOM];
    struct model_config config = parsed(GLM_AIR), again;
    struct layer_plan first = family_layer_plan(&config, 0), second = family_layer_plan(&config, 1);
    assert_true(first.ffn == FFN_GATED && first.block_width == 10944 && first.num_experts == 0);
    assert_true(second.ffn == FFN_EXPERTS && second.block_width == 1408 && second.num_experts == 128);
    assert_true(second.route.score == ROUTER_SIGMOID && second.route.renormalises && second.route.scale == 1);
    assert_true(second.qkv_bias && second.qk_norm == QK_NORM_NONE && second.rotary_dim == 64);
    assert_int_equal(config.num_further, 1);
    assert_int_equal(model_num_parameters(&config), 106852245504 + 45 * 128); /* and the corrections */
    assert_int_equal(model_num_active(&config),
                     model_num_parameters(&config) - (int64_t)45 * 120 * 3 * 1408 * 4096);
    assert_false(param_is_trained(&config, ROLE_ROUTER_CORRECTION));
    assert_true(param_is_trained(&config, ROLE_SHARED_DOWN));
    assert_int_equal(param_file_type(&config, ROLE_ROUTER_CORRECTION, DTYPE_BF16), DTYPE_F32);
    assert_int_equal(param_file_type(&config, ROLE_ROUTER, DTYPE_BF16), DTYPE_BF16);
    assert_string_equal(param_name(&config, param_at(ROLE_ROUTER_CORRECTION, 3), name),
                        "model.layers.3.mlp.gate.e_score_correction_bias");
    assert_string_equal(param_gguf_name(&config, param_at(ROLE_ROUTER_CORRECTION, 3), name),
                        "blk.3.exp_probs_b.bias");
    assert_int_equal(adapter_limit(&config, ADAPTER_UP), 0); /* neither experts nor what stands beside them */
    char *written = model_config_text(&config, NULL);
    again = parsed(written);
    config.num_further = 0; /* what is written has none */
    assert_memory_equal(&again, &config, sizeof again);
    free(written);
}

static void refuse_glm(const char *key, const char *why) {
    char *text = xasprintf("{\"model_type\":\"glm4_moe\",\"moe_intermediate_size\":20%s," SIZES "}", key);
    assert_refused(text, why);
    free(text);
}

static void test_glm4_moe_refused(void **state) {
    (void)state;
    refuse_glm(",\"n_group\":7", "n_group is 7");
    refuse_glm(",\"n_group\":64,\"topk_group\":64", "at most 32 groups");
    refuse_glm(",\"n_group\":16,\"topk_group\":0", "topk_group is 0");
    refuse_glm(",\"n_group\":32,\"topk_group\":1", "and 8 experts in the chosen ones");
    refuse_glm(",\"routed_scaling_factor\":0", "routed_scaling_factor is 0");
    refuse_glm(",\"n_shared_experts\":0", "n_shared_experts is 0");
    refuse_glm(",\"first_k_dense_replace\":3", "3 of 3 layers are dense");
    refuse_glm(",\"shared_expert_intermediate_size\":64", "shared_expert_intermediate_size is 64");
    assert_refused("{\"model_type\":\"qwen3_moe\",\"n_shared_experts\":1," SIZES "}",
                   "n_shared_experts is 1");
    assert_refused("{\"model_type\":\"deepseek_v3\"}", "multi-head latent attention");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_active),           cmocka_unit_test(test_dense_layers),
        cmocka_unit_test(test_gpt_oss),          cmocka_unit_test(test_glm4_moe),
        cmocka_unit_test(test_glm4_moe_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
