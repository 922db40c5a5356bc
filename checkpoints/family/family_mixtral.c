/* family_mixtral.c - Mixtral: Llama's layer, with experts in place of its feed-forward block.
 * Source: transformers, models/mixtral/modeling_mixtral.py and configuration_mixtral.py; the names of published files (w1 is the
 * gate, w3 up, w2 down); llama.cpp, convert_hf_to_gguf.py. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec mixtral_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "input_layernorm.weight", "attn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_QUERY, PLACE_LAYER, "self_attn.q_proj.weight", "attn_q.weight", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_PERMUTED},
    {ROLE_KEY, PLACE_LAYER, "self_attn.k_proj.weight", "attn_k.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_PERMUTED},
    {ROLE_VALUE, PLACE_LAYER, "self_attn.v_proj.weight", "attn_v.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "ffn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_ROUTER, PLACE_LAYER, "block_sparse_moe.gate.weight", "ffn_gate_inp.weight", DIM_EXPERTS, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_EXPERT_GATE, PLACE_LAYER, "block_sparse_moe.experts.*.w1.weight", "ffn_gate_exps.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_UP, PLACE_LAYER, "block_sparse_moe.experts.*.w3.weight", "ffn_up_exps.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_DOWN, PLACE_LAYER, "block_sparse_moe.experts.*.w2.weight", "ffn_down_exps.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof mixtral_params / sizeof mixtral_params[0] };

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)layer;
    family_add_experts(config, plan);
}

const struct family family_mixtral = {.model_type = "mixtral",
                                      .architecture = "MixtralForCausalLM",
                                      .gguf = "llama",
                                      .in_gguf = {.has_freqs = true, .renormalises = true},
                                      .params = mixtral_params,
                                      .num_params = NUM_PARAMS,
                                      .change_plan = change_plan,
                                      .experts_key = "num_local_experts",
                                      .experts = {.num_experts = 8,
                                                  .num_chosen = 2,
                                                  .router_loss = 0.001,
                                                  .renormalises = true,
                                                  .short_names = true},
                                      .default_kv_heads = 8,
                                      .default_positions = 131072,
                                      .default_theta = 1e6,
                                      .default_eps = 1e-5};
