/* family_gpt_oss.c - gpt-oss: Llama's layer with biases of all projections, a learnt sink in each head's softmax, windows on every other
 * layer, and experts with biases whose gate and up are held within limits.  The router's weights are the softmax of the chosen logits,
 * which is that of all divided by the sum of the chosen.
 * Source: transformers, models/gpt_oss/modeling_gpt_oss.py and configuration_gpt_oss.py; llama.cpp, gguf-py/gguf/tensor_mapping.py. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec gpt_oss_params[] = {
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
    {ROLE_SINK, PLACE_LAYER, "self_attn.sinks", "attn_sinks.weight", DIM_HEADS, DIM_NONE, INIT_NORMAL, 0},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_OUTPUT_BIAS, PLACE_LAYER, "self_attn.o_proj.bias", "attn_output.bias", DIM_WIDTH, DIM_NONE, INIT_ZERO, 0},
    {ROLE_FFN_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "post_attention_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_ROUTER, PLACE_LAYER, "mlp.router.weight", "ffn_gate_inp.weight", DIM_EXPERTS, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_ROUTER_BIAS, PLACE_LAYER, "mlp.router.bias", "ffn_gate_inp.bias", DIM_EXPERTS, DIM_NONE, INIT_NORMAL, 0},
    {ROLE_EXPERT_GATE_UP, PLACE_LAYER, "mlp.experts.gate_up_proj", "ffn_gate_exps.weight", DIM_WIDTH, DIM_GATE_UP, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT | PARAM_STACKED | PARAM_GGUF_TURNED | PARAM_GGUF_PAIRED},
    {ROLE_EXPERT_GATE_UP_BIAS, PLACE_LAYER, "mlp.experts.gate_up_proj_bias", "ffn_gate_exps.bias", DIM_GATE_UP, DIM_NONE, INIT_ZERO, PARAM_EXPERT | PARAM_STACKED | PARAM_GGUF_TURNED | PARAM_GGUF_PAIRED},
    {ROLE_EXPERT_DOWN, PLACE_LAYER, "mlp.experts.down_proj", "ffn_down_exps.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_EXPERT | PARAM_STACKED | PARAM_GGUF_TURNED},
    {ROLE_EXPERT_DOWN_BIAS, PLACE_LAYER, "mlp.experts.down_proj_bias", "ffn_down_exps.bias", DIM_WIDTH, DIM_NONE, INIT_ZERO, PARAM_EXPERT | PARAM_STACKED},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof gpt_oss_params / sizeof gpt_oss_params[0] };

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)layer;
    plan->qkv_bias = plan->output_bias = plan->sinks = true;
    family_add_experts(config, plan);
    plan->clamps_experts = true;
    plan->clamp = (struct clamp_args){.alpha = 1.702f, .limit = 7};
}

const struct family family_gpt_oss = {
    .model_type = "gpt_oss",
    .architecture = "GptOssForCausalLM",
    .gguf = "gpt-oss",
    .params = gpt_oss_params,
    .num_params = NUM_PARAMS,
    .change_plan = change_plan,
    .in_gguf = {.has_head = true,
                .has_windows = true,
                .one_period = true,
                .exact_bounds = true,
                .renormalises = true},
    .attention_bias = true,
    .experts_key = "num_local_experts",
    .experts = {.num_experts = 128, .num_chosen = 4, .router_loss = 0.001, .renormalises = true},
    .local = {.window = 128, .period = 2},
    .default_sizes =
        {.width = 2880, .ffn_width = 2880, .vocab_size = 201088, .num_layers = 36, .num_heads = 64},
    .default_head_dim = 64,
    .default_kv_heads = 8,
    .default_positions = 131072,
    .default_theta = 150000,
    .default_eps = 1e-5,
    .default_rope =
        "{\"rope_type\":\"yarn\",\"rope_theta\":150000,\"factor\":32,\"beta_fast\":32,\"beta_slow\":1,"
        "\"truncate\":false,\"original_max_position_embeddings\":4096}"};
