/* family_qwen3.c - Qwen3, dense: Llama's layer with an RMSNorm on each query and key head before the rotation, and heads
 * whose width does not follow from the model's.
 * Source: transformers, models/qwen3/modeling_qwen3.py and configuration_qwen3.py; llama.cpp,
 * gguf-py/gguf/tensor_mapping.py: queries and keys keep Hugging Face's order there. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec qwen3_params[] = {
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
    {ROLE_GATE, PLACE_LAYER, "mlp.gate_proj.weight", "ffn_gate.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_UP, PLACE_LAYER, "mlp.up_proj.weight", "ffn_up.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "mlp.down_proj.weight", "ffn_down.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof qwen3_params / sizeof qwen3_params[0] };

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)config, (void)layer;
    plan->qk_norm = QK_NORM_HEADS;
}

const struct family family_qwen3 = {.model_type = "qwen3",
                                    .architecture = "Qwen3ForCausalLM",
                                    .gguf = "qwen3",
                                    .params = qwen3_params,
                                    .num_params = NUM_PARAMS,
                                    .change_plan = change_plan,
                                    .default_window = 4096,
                                    .default_head_dim = 128,
                                    .default_kv_heads = 32,
                                    .default_positions = 32768,
                                    .window_has_switch = true};
