/* family_glm4_moe.c - GLM-4.5, 4.5-Air and 4.6: heads of which the first half turns, with or without biases and norms of queries and
 * keys; after some dense layers experts that a router of sigmoids chooses, and beside them a gated block that computes every row
 * (shared experts).  The router's correction, which training of the published models moved by a rule of its own, is kept as it is.
 * Source: transformers, models/glm4_moe/modeling_glm4_moe.py and configuration_glm4_moe.py; llama.cpp, gguf-py/gguf/constants.py
 * (GLM4_MOE): heads keep Hugging Face's order there. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec glm4_moe_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "input_layernorm.weight", "attn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_QUERY, PLACE_LAYER, "self_attn.q_proj.weight", "attn_q.weight", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_KEY, PLACE_LAYER, "self_attn.k_proj.weight", "attn_k.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_VALUE, PLACE_LAYER, "self_attn.v_proj.weight", "attn_v.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_QUERY_BIAS, PLACE_LAYER, "self_attn.q_proj.bias", "attn_q.bias", DIM_QUERY, DIM_NONE, INIT_ZERO, 0},
    {ROLE_KEY_BIAS, PLACE_LAYER, "self_attn.k_proj.bias", "attn_k.bias", DIM_KEY, DIM_NONE, INIT_ZERO, 0},
    {ROLE_VALUE_BIAS, PLACE_LAYER, "self_attn.v_proj.bias", "attn_v.bias", DIM_KEY, DIM_NONE, INIT_ZERO, 0},
    {ROLE_QUERY_NORM, PLACE_LAYER, "self_attn.q_norm.weight", "attn_q_norm.weight", DIM_HEAD, DIM_NONE, INIT_ONE, 0},
    {ROLE_KEY_NORM, PLACE_LAYER, "self_attn.k_norm.weight", "attn_k_norm.weight", DIM_HEAD, DIM_NONE, INIT_ONE, 0},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "post_attention_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_GATE, PLACE_LAYER, "mlp.gate_proj.weight", "ffn_gate.weight", DIM_DENSE, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_UP, PLACE_LAYER, "mlp.up_proj.weight", "ffn_up.weight", DIM_DENSE, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "mlp.down_proj.weight", "ffn_down.weight", DIM_WIDTH, DIM_DENSE, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_ROUTER, PLACE_LAYER, "mlp.gate.weight", "ffn_gate_inp.weight", DIM_EXPERTS, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_ROUTER_CORRECTION, PLACE_LAYER, "mlp.gate.e_score_correction_bias", "exp_probs_b.bias", DIM_EXPERTS, DIM_NONE, INIT_ZERO, PARAM_FIXED | PARAM_F32},
    {ROLE_SHARED_GATE, PLACE_LAYER, "mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight", DIM_SHARED, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_SHARED_UP, PLACE_LAYER, "mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight", DIM_SHARED, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_SHARED_DOWN, PLACE_LAYER, "mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight", DIM_WIDTH, DIM_SHARED, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_EXPERT_GATE, PLACE_LAYER, "mlp.experts.*.gate_proj.weight", "ffn_gate_exps.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_UP, PLACE_LAYER, "mlp.experts.*.up_proj.weight", "ffn_up_exps.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_DOWN, PLACE_LAYER, "mlp.experts.*.down_proj.weight", "ffn_down_exps.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof glm4_moe_params / sizeof glm4_moe_params[0] };

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    plan->qkv_bias = config->qkv_bias;
    plan->qk_norm = config->head_norms ? QK_NORM_HEADS : QK_NORM_NONE;
    if (!layer_set_has(&config->dense_layers, layer))
        family_add_experts(config, plan);
}

const struct family family_glm4_moe = {
    .model_type = "glm4_moe",
    .architecture = "Glm4MoeForCausalLM",
    .gguf = "glm4moe",
    .params = glm4_moe_params,
    .num_params = NUM_PARAMS,
    .change_plan = change_plan,
    .experts_key = "n_routed_experts",
    .experts = {.width_key = "moe_intermediate_size",
                .num_experts = 128,
                .num_chosen = 8,
                .width = 1408,
                .dense_width = 10944,
                .score = ROUTER_SIGMOID,
                .num_shared = 1,
                .num_dense = 1,
                .num_further = 1,
                .renormalises_by_class = true},
    .chooses_attention = true,
    .default_sizes = {.width = 4096, .vocab_size = 151552, .num_layers = 46, .num_heads = 96},
    .default_kv_heads = 8,
    .default_positions = 131072,
    .default_eps = 1e-5,
    .default_rotary_part = 0.5};
