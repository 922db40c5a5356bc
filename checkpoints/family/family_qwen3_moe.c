/* family_qwen3_moe.c - Qwen3 with experts (Qwen3-30B-A3B, Qwen3-Coder): the dense one's attention, and experts of a width of their
 * own, in all layers but those that are said to be dense.
 * Source: transformers, models/qwen3_moe/modeling_qwen3_moe.py and configuration_qwen3_moe.py. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec qwen3_moe_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "input_layernorm.weight", "attn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_QUERY, PLACE_LAYER, "self_attn.q_proj.weight", "attn_q.weight", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_KEY, PLACE_LAYER, "self_attn.k_proj.weight", "attn_k.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_VALUE, PLACE_LAYER, "self_attn.v_proj.weight", "attn_v.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_QUERY_NORM, PLACE_LAYER, "self_attn.q_norm.weight", "attn_q_norm.weight", DIM_HEAD, DIM_NONE, INIT_ONE, 0},
    {ROLE_KEY_NORM, PLACE_LAYER, "self_attn.k_norm.weight", "attn_k_norm.weight", DIM_HEAD, DIM_NONE, INIT_ONE, 0},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "ffn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_GATE, PLACE_LAYER, "mlp.gate_proj.weight", "ffn_gate.weight", DIM_DENSE, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_UP, PLACE_LAYER, "mlp.up_proj.weight", "ffn_up.weight", DIM_DENSE, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "mlp.down_proj.weight", "ffn_down.weight", DIM_WIDTH, DIM_DENSE, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_ROUTER, PLACE_LAYER, "mlp.gate.weight", "ffn_gate_inp.weight", DIM_EXPERTS, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_EXPERT_GATE, PLACE_LAYER, "mlp.experts.*.gate_proj.weight", "ffn_gate_exps.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_UP, PLACE_LAYER, "mlp.experts.*.up_proj.weight", "ffn_up_exps.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_DOWN, PLACE_LAYER, "mlp.experts.*.down_proj.weight", "ffn_down_exps.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof qwen3_moe_params / sizeof qwen3_moe_params[0] };

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    plan->qk_norm = QK_NORM_HEADS;
    if (!layer_set_has(&config->dense_layers, layer))
        family_add_experts(config, plan);
}

const struct family family_qwen3_moe = {.model_type = "qwen3_moe",
                                        .architecture = "Qwen3MoeForCausalLM",
                                        .gguf = "qwen3moe",
                                        .in_gguf = {.renormalises = true},
                                        .params = qwen3_moe_params,
                                        .num_params = NUM_PARAMS,
                                        .change_plan = change_plan,
                                        .experts_key = "num_experts",
                                        .experts = {.width_key = "moe_intermediate_size",
                                                    .num_experts = 128,
                                                    .num_chosen = 8,
                                                    .width = 768,
                                                    .dense_width = 6144,
                                                    .may_be_dense = true,
                                                    .router_loss = 0.001},
                                        .default_window = 4096,
                                        .default_kv_heads = 4,
                                        .default_positions = 32768,
                                        .window_has_switch = true};
