/* family_phi3.c - Phi-3, Phi-3.5 (dense) and Phi-4, Phi-4-mini: Llama's layers, whose files hold queries, keys and values as one
 * matrix, and gate and up as another; here they are one parameter each.  All layers may see a window, of each head a part
 * may turn, and positions are plain or longrope.
 * Source: transformers, models/phi3/modeling_phi3.py and configuration_phi3.py; llama.cpp, src/models/phi3.cpp: the same
 * matrices, heads in Hugging Face's order; it computes no window. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec phi3_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "input_layernorm.weight", "attn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_QKV, PLACE_LAYER, "self_attn.qkv_proj.weight", "attn_qkv.weight", DIM_QKV, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "ffn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_GATE_UP, PLACE_LAYER, "mlp.gate_up_proj.weight", "ffn_up.weight", DIM_GATE_UP, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "mlp.down_proj.weight", "ffn_down.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof phi3_params / sizeof phi3_params[0] };

const struct family family_phi3 = {
    .model_type = "phi3",
    .architecture = "Phi3ForCausalLM",
    .gguf = "phi3",
    .params = phi3_params,
    .num_params = NUM_PARAMS,
    .in_gguf = {.has_longrope = true},
    .local = {.period = EVERY_LAYER_LOCAL, .may_lack = true, .ignores_types = true},
    .default_sizes =
        {.width = 3072, .ffn_width = 8192, .vocab_size = 32064, .num_layers = 32, .num_heads = 32},
    .default_ids = &(const struct class_ids){.bos = 1, .eos = 32000, .pad = 32000},
    .default_positions = 4096,
    .default_original = 4096,
    .default_eps = 1e-5,
    .default_rotary_part = 1};
