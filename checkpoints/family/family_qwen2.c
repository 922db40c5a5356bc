/* family_qwen2.c - Qwen2 and Qwen2.5: Llama's layer with biases of the projections to queries, keys and values.
 * Source: transformers, models/qwen2/modeling_qwen2.py and configuration_qwen2.py; llama.cpp, gguf-py/gguf/tensor_mapping.py:
 * queries and keys keep Hugging Face's order there. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec qwen2_params[] = {
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
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "ffn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_GATE, PLACE_LAYER, "mlp.gate_proj.weight", "ffn_gate.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_UP, PLACE_LAYER, "mlp.up_proj.weight", "ffn_up.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "mlp.down_proj.weight", "ffn_down.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof qwen2_params / sizeof qwen2_params[0] };

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)config, (void)layer;
    plan->qkv_bias = true;
}

const struct family family_qwen2 = {.model_type = "qwen2",
                                    .architecture = "Qwen2ForCausalLM",
                                    .gguf = "qwen2",
                                    .params = qwen2_params,
                                    .num_params = NUM_PARAMS,
                                    .change_plan = change_plan,
                                    .default_window = 4096,
                                    .default_kv_heads = 32,
                                    .default_positions = 32768,
                                    .window_has_switch = true};
