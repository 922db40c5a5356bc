/* family_olmoe.c - OLMoE: Llama's layer with queries and keys normalised as whole rows, and experts in place of its feed-forward
 * block, whose weights are the probabilities as they are.
 * Source: transformers, models/olmoe/modeling_olmoe.py and configuration_olmoe.py. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec olmoe_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "input_layernorm.weight", "attn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_QUERY, PLACE_LAYER, "self_attn.q_proj.weight", "attn_q.weight", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_KEY, PLACE_LAYER, "self_attn.k_proj.weight", "attn_k.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_VALUE, PLACE_LAYER, "self_attn.v_proj.weight", "attn_v.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_QUERY_NORM, PLACE_LAYER, "self_attn.q_norm.weight", "attn_q_norm.weight", DIM_QUERY, DIM_NONE, INIT_ONE, 0},
    {ROLE_KEY_NORM, PLACE_LAYER, "self_attn.k_norm.weight", "attn_k_norm.weight", DIM_KEY, DIM_NONE, INIT_ONE, 0},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "ffn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_ROUTER, PLACE_LAYER, "mlp.gate.weight", "ffn_gate_inp.weight", DIM_EXPERTS, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_EXPERT_GATE, PLACE_LAYER, "mlp.experts.*.gate_proj.weight", "ffn_gate_exps.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_UP, PLACE_LAYER, "mlp.experts.*.up_proj.weight", "ffn_up_exps.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
    {ROLE_EXPERT_DOWN, PLACE_LAYER, "mlp.experts.*.down_proj.weight", "ffn_down_exps.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof olmoe_params / sizeof olmoe_params[0] };

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)layer;
    plan->qk_norm = QK_NORM_ROWS;
    family_add_experts(config, plan);
}

static const struct class_ids olmoe_ids = {-1, 50279, 1};

const struct family family_olmoe = {.model_type = "olmoe",
                                    .architecture = "OlmoeForCausalLM",
                                    .gguf = "olmoe",
                                    .in_gguf = {.has_all_keys = true},
                                    .params = olmoe_params,
                                    .num_params = NUM_PARAMS,
                                    .change_plan = change_plan,
                                    .experts_key = "num_experts",
                                    .experts = {.num_experts = 64, .num_chosen = 8, .router_loss = 0.01},
                                    .default_ids = &olmoe_ids,
                                    .default_positions = 4096,
                                    .default_eps = 1e-5};
