/* test_family_experts.c - config.json, plans and parameters of the families with experts. */
#include <stdlib.h>
#include <string.h>

#include "tests/family_fixture.h"

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gpt_oss)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
