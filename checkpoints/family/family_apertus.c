/* family_apertus.c - Apertus: queries and keys normalised by head as Qwen3's, and a feed-forward without a gate whose
 * activation, xIELU, has two values of each layer that are learnt and two that are not.
 * Source: transformers, models/apertus/modeling_apertus.py, configuration_apertus.py and activations.py (XIELUActivation);
 * llama.cpp, conversion of ApertusForCausalLM and src/models/apertus.cpp: the four values are metadata there, as they are in
 * Hugging Face's files, queries and keys keep Hugging Face's order, and a file without output.weight is not opened. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec apertus_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "attention_layernorm.weight", "attn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_QUERY, PLACE_LAYER, "self_attn.q_proj.weight", "attn_q.weight", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_KEY, PLACE_LAYER, "self_attn.k_proj.weight", "attn_k.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_VALUE, PLACE_LAYER, "self_attn.v_proj.weight", "attn_v.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_QUERY_NORM, PLACE_LAYER, "self_attn.q_norm.weight", "attn_q_norm.weight", DIM_HEAD, DIM_NONE, INIT_ONE, 0},
    {ROLE_KEY_NORM, PLACE_LAYER, "self_attn.k_norm.weight", "attn_k_norm.weight", DIM_HEAD, DIM_NONE, INIT_ONE, 0},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_NORM, PLACE_LAYER, "feedforward_layernorm.weight", "ffn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_UP, PLACE_LAYER, "mlp.up_proj.weight", "ffn_up.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_XIELU_ALPHA_P, PLACE_LAYER, "mlp.act_fn.alpha_p", "xielu.alpha_p", DIM_ONE, DIM_NONE, INIT_XIELU_ALPHA_P, PARAM_METADATA},
    {ROLE_XIELU_ALPHA_N, PLACE_LAYER, "mlp.act_fn.alpha_n", "xielu.alpha_n", DIM_ONE, DIM_NONE, INIT_XIELU_ALPHA_N, PARAM_METADATA},
    {ROLE_XIELU_BETA, PLACE_LAYER, "mlp.act_fn.beta", "xielu.beta", DIM_NONE, DIM_NONE, INIT_XIELU_BETA, PARAM_METADATA | PARAM_FIXED},
    {ROLE_XIELU_EPS, PLACE_LAYER, "mlp.act_fn.eps", "xielu.eps", DIM_NONE, DIM_NONE, INIT_XIELU_EPS, PARAM_METADATA | PARAM_FIXED},
    {ROLE_DOWN, PLACE_LAYER, "mlp.down_proj.weight", "ffn_down.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof apertus_params / sizeof apertus_params[0] };

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)config, (void)layer;
    plan->qk_norm = QK_NORM_HEADS;
    plan->ffn = FFN_PLAIN;
    plan->act = ACT_XIELU;
}

const struct family family_apertus = {
    .model_type = "apertus",
    .architecture = "ApertusForCausalLM",
    .gguf = "apertus",
    .in_gguf = {.has_head = true, .has_freqs = true},
    .params = apertus_params,
    .num_params = NUM_PARAMS,
    .change_plan = change_plan,
    .activation = "xielu",
    .default_sizes =
        {.width = 4096, .ffn_width = 14336, .vocab_size = 131072, .num_layers = 32, .num_heads = 32},
    .default_positions = 65536,
    .default_eps = 1e-5,
    .default_ids = &(const struct class_ids){.bos = 1, .eos = 2, .pad = 3},
    .default_rope =
        "{\"rope_type\":\"llama3\",\"rope_theta\":1.2e7,\"factor\":8,\"original_max_position_embeddings\":8192,"
        "\"low_freq_factor\":1,\"high_freq_factor\":4}"};
