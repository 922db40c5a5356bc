/* patchwork.h - a family that nobody publishes: each of its layers does something else, together all that a layer plan can
 * say; and the same without rows that see what comes after them, which alone can decode.  A program that includes this knows this family and no other: it brings the list that checkpoints/family/families.c
 * has in the program under test. */
#pragma once

#include "checkpoints/family/family_internal.h"

enum { PATCHWORK_LAYERS = 5 };

/* clang-format off */
static const struct param_spec patchwork_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "embedding", "embedding", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "final_norm", "final_norm", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_FINAL_NORM_BIAS, PLACE_OUTPUT, "final_norm_bias", "final_norm_bias", DIM_WIDTH, DIM_NONE, INIT_ZERO, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "head", "head", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "norm1", "norm1", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_ATTENTION_NORM_BIAS, PLACE_LAYER, "norm1_bias", "norm1_bias", DIM_WIDTH, DIM_NONE, INIT_ZERO, 0},
    {ROLE_QUERY, PLACE_LAYER, "q", "q", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_KEY, PLACE_LAYER, "k", "k", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_VALUE, PLACE_LAYER, "v", "v", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_QUERY_BIAS, PLACE_LAYER, "q_bias", "q_bias", DIM_QUERY, DIM_NONE, INIT_ZERO, 0},
    {ROLE_KEY_BIAS, PLACE_LAYER, "k_bias", "k_bias", DIM_KEY, DIM_NONE, INIT_ZERO, 0},
    {ROLE_VALUE_BIAS, PLACE_LAYER, "v_bias", "v_bias", DIM_KEY, DIM_NONE, INIT_ZERO, 0},
    {ROLE_QUERY_NORM, PLACE_LAYER, "q_norm", "q_norm", DIM_HEAD, DIM_NONE, INIT_ONE, 0},
    {ROLE_KEY_NORM, PLACE_LAYER, "k_norm", "k_norm", DIM_HEAD, DIM_NONE, INIT_ONE, 0},
    {ROLE_SINK, PLACE_LAYER, "sinks", "sinks", DIM_HEADS, DIM_NONE, INIT_ZERO, 0},
    {ROLE_OUTPUT, PLACE_LAYER, "o", "o", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_ATTENTION_POST_NORM, PLACE_LAYER, "post_norm1", "post_norm1", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_ATTENTION_POST_NORM_BIAS, PLACE_LAYER, "post_norm1_bias", "post_norm1_bias", DIM_WIDTH, DIM_NONE, INIT_ZERO, 0},
    {ROLE_FFN_NORM, PLACE_LAYER, "norm2", "norm2", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_FFN_NORM_BIAS, PLACE_LAYER, "norm2_bias", "norm2_bias", DIM_WIDTH, DIM_NONE, INIT_ZERO, 0},
    {ROLE_GATE, PLACE_LAYER, "gate", "gate", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_UP, PLACE_LAYER, "up", "up", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "down", "down", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_XIELU_ALPHA_P, PLACE_LAYER, "alpha_p", "alpha_p", DIM_ONE, DIM_NONE, INIT_XIELU_ALPHA_P, 0},
    {ROLE_XIELU_ALPHA_N, PLACE_LAYER, "alpha_n", "alpha_n", DIM_ONE, DIM_NONE, INIT_XIELU_ALPHA_N, 0},
    {ROLE_XIELU_BETA, PLACE_LAYER, "beta", "beta", DIM_NONE, DIM_NONE, INIT_XIELU_BETA, PARAM_FIXED},
    {ROLE_XIELU_EPS, PLACE_LAYER, "eps", "eps", DIM_NONE, DIM_NONE, INIT_XIELU_EPS, PARAM_FIXED},
    {ROLE_FFN_POST_NORM, PLACE_LAYER, "post_norm2", "post_norm2", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_FFN_POST_NORM_BIAS, PLACE_LAYER, "post_norm2_bias", "post_norm2_bias", DIM_WIDTH, DIM_NONE, INIT_ZERO, 0},
};
/* clang-format on */

static void patchwork_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)config;
    if (layer == 0) {
        plan->place = NORM_SANDWICH;
        plan->norm = (struct norm_plan){NORM_RMS, 0, false};
        plan->qk_norm = QK_NORM_HEADS;
        plan->window = 5;
        plan->gate = GATE_GELU_TANH;
        plan->softcap = 2.0f;
        plan->scale = 0.6f;
        plan->sinks = true;
    } else if (layer ==
               1) { /* no rotation, no norm before the branches, no gate; documents from both sides */
        plan->place = NORM_POST;
        plan->rope_theta = 0;
        plan->block = WHOLE_DOCUMENT;
        plan->ffn = FFN_PLAIN;
        plan->act = ACT_RELU2;
    } else if (layer == 2) { /* Llama's places of norms, rotations of its own */
        plan->norm = (struct norm_plan){NORM_RMS_ONCE, 1, false};
        plan->rotary_dim = 4;
        plan->rope_theta = 50;
        plan->rope_scaled = false;
        plan->window = 3;
        plan->softcap = 1.5f;
        plan->temperature = 0.8;
        plan->temperature_span = 3;
    } else if (layer == 3) {
        plan->place = NORM_POST;
        plan->norm.bias = false;
        plan->qk_norm = QK_NORM_HEADS;
        plan->window = 5;
        plan->block = 4;
        plan->gate = GATE_GELU_TANH;
    } else { /* the family's norm before the branches, biases of the projections, branches that are scaled, sinks, xIELU without a gate */
        plan->qkv_bias = true;
        plan->sinks = true;
        plan->branch_scale = 0.7f;
        plan->ffn = FFN_PLAIN;
        plan->act = ACT_XIELU;
    }
}

static void causal_patchwork_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    patchwork_plan(config, layer, plan);
    plan->block = 0;
}

static const struct family family_patchwork = {.model_type = "patchwork",
                                               .architecture = "PatchworkForCausalLM",
                                               .gguf = "patchwork",
                                               .params = patchwork_params,
                                               .num_params =
                                                   sizeof patchwork_params / sizeof patchwork_params[0],
                                               .norm = {NORM_LAYER, 1, true},
                                               .scales_embedding = true,
                                               .change_plan = patchwork_plan};
static const struct family family_causal_patchwork = {.model_type = "causal_patchwork",
                                                      .architecture = "CausalPatchworkForCausalLM",
                                                      .gguf = "causal_patchwork",
                                                      .params = patchwork_params,
                                                      .num_params = sizeof patchwork_params /
                                                                    sizeof patchwork_params[0],
                                                      .change_plan = causal_patchwork_plan};
const struct family *const family_list[] = {&family_patchwork, &family_causal_patchwork};
const int num_families = 2;

static inline struct model_config patchwork_config(bool tied) {
    return (struct model_config){.model_type = "patchwork",
                                 .width = 20,
                                 .ffn_width = 24,
                                 .vocab_size = 61,
                                 .max_positions = 64,
                                 .num_layers = PATCHWORK_LAYERS,
                                 .num_heads = 4,
                                 .num_kv_heads = 2,
                                 .head_dim = 8,
                                 .norm_eps = 1e-5f,
                                 .tied_head = tied,
                                 .initializer_range = 0.3f,
                                 .rope_theta = 10000.0,
                                 .rope_kind = ROPE_LINEAR,
                                 .rope_factor = 4.0};
}
