/* family_nemotron.c - Nemotron as it was before the hybrid ones (Luciole 1B and 23B): LayerNorm whose files hold the weight
 * less one, squared ReLU between two matrices without a gate, and heads of which the first half turns.
 * Source: transformers, models/nemotron/modeling_nemotron.py and configuration_nemotron.py; llama.cpp, conversion/nemotron.py
 * and src/models/nemotron.cpp: there the weights of the norms are whole (+ 1), heads keep Hugging Face's order. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec nemotron_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ZERO, PARAM_PLUS_ONE},
    {ROLE_FINAL_NORM_BIAS, PLACE_OUTPUT, "model.norm.bias", "output_norm.bias", DIM_WIDTH, DIM_NONE, INIT_ZERO, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "input_layernorm.weight", "attn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ZERO, PARAM_PLUS_ONE},
    {ROLE_ATTENTION_NORM_BIAS, PLACE_LAYER, "input_layernorm.bias", "attn_norm.bias", DIM_WIDTH, DIM_NONE, INIT_ZERO, 0},
    {ROLE_QUERY, PLACE_LAYER, "self_attn.q_proj.weight", "attn_q.weight", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_KEY, PLACE_LAYER, "self_attn.k_proj.weight", "attn_k.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_VALUE, PLACE_LAYER, "self_attn.v_proj.weight", "attn_v.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "ffn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ZERO, PARAM_PLUS_ONE},
    {ROLE_FFN_NORM_BIAS, PLACE_LAYER, "post_attention_layernorm.bias", "ffn_norm.bias", DIM_WIDTH, DIM_NONE, INIT_ZERO, 0},
    {ROLE_UP, PLACE_LAYER, "mlp.up_proj.weight", "ffn_up.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "mlp.down_proj.weight", "ffn_down.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof nemotron_params / sizeof nemotron_params[0] };

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)config, (void)layer;
    plan->ffn = FFN_PLAIN;
    plan->act = ACT_RELU2;
}

const struct family family_nemotron = {.model_type = "nemotron",
                                       .architecture = "NemotronForCausalLM",
                                       .gguf = "nemotron",
                                       .params = nemotron_params,
                                       .num_params = NUM_PARAMS,
                                       .norm = {NORM_LAYER, 1, true},
                                       .change_plan = change_plan,
                                       .eps_key = "norm_eps",
                                       .activation = "relu2",
                                       .default_positions = 4096,
                                       .default_eps = 1e-5,
                                       .default_deviation = 0.0134,
                                       .default_rotary_part = 0.5,
                                       .in_gguf = {.has_head = true}};
