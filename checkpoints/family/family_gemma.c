/* family_gemma.c - Gemma 2, and of Gemma 3 the text decoder: norms before and after each branch whose files hold the weight less
 * one, GELU in the gate, an embedding that enters times the root of C.  Gemma 2 caps scores and logits, and every other
 * layer sees a window.  Gemma 3 has no caps and normalises queries and keys by head; all layers but every sixth see a window
 * and rotate by a base of their own.
 * Source: transformers, models/gemma2/modeling_gemma2.py, models/gemma3/modeling_gemma3.py and their configurations;
 * llama.cpp, conversion/gemma.py, src/models/gemma2.cpp and gemma3.cpp: there the weights of the norms are whole (+ 1),
 * heads keep Hugging Face's order. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec gemma_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ZERO, PARAM_PLUS_ONE},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "input_layernorm.weight", "attn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ZERO, PARAM_PLUS_ONE},
    {ROLE_QUERY, PLACE_LAYER, "self_attn.q_proj.weight", "attn_q.weight", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_KEY, PLACE_LAYER, "self_attn.k_proj.weight", "attn_k.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_VALUE, PLACE_LAYER, "self_attn.v_proj.weight", "attn_v.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_QUERY_NORM, PLACE_LAYER, "self_attn.q_norm.weight", "attn_q_norm.weight", DIM_HEAD, DIM_NONE, INIT_ZERO, PARAM_PLUS_ONE},
    {ROLE_KEY_NORM, PLACE_LAYER, "self_attn.k_norm.weight", "attn_k_norm.weight", DIM_HEAD, DIM_NONE, INIT_ZERO, PARAM_PLUS_ONE},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_ATTENTION_POST_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "post_attention_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ZERO, PARAM_PLUS_ONE},
    {ROLE_FFN_NORM, PLACE_LAYER, "pre_feedforward_layernorm.weight", "ffn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ZERO, PARAM_PLUS_ONE},
    {ROLE_GATE, PLACE_LAYER, "mlp.gate_proj.weight", "ffn_gate.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_UP, PLACE_LAYER, "mlp.up_proj.weight", "ffn_up.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "mlp.down_proj.weight", "ffn_down.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_POST_NORM, PLACE_LAYER, "post_feedforward_layernorm.weight", "post_ffw_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ZERO, PARAM_PLUS_ONE},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof gemma_params / sizeof gemma_params[0] };

static void change_gemma2(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)config, (void)layer;
    plan->place = NORM_SANDWICH;
    plan->gate = GATE_GELU_TANH;
}

static void change_gemma3(const struct model_config *config, int layer, struct layer_plan *plan) {
    change_gemma2(config, layer, plan);
    plan->qk_norm = QK_NORM_HEADS;
}

const struct family family_gemma2 = {
    .model_type = "gemma2",
    .architecture = "Gemma2ForCausalLM",
    .gguf = "gemma2",
    .params = gemma_params,
    .num_params = NUM_PARAMS,
    .norm = {NORM_RMS_ONCE, 1, false},
    .scales_embedding = true,
    .change_plan = change_gemma2,
    .activation_key = "hidden_activation",
    .activation = "gelu_pytorch_tanh",
    .in_gguf = {.ties_head = true, .has_windows = true, .window = 4096, .layers_of_27b = 46},
    .local = {.window = 4096, .period = 2},
    .default_query_scalar = 256,
    .default_attention_softcap = 50,
    .default_logit_softcap = 30,
    .default_sizes =
        {.width = 2304, .ffn_width = 9216, .vocab_size = 256000, .num_layers = 26, .num_heads = 8},
    .default_head_dim = 256,
    .default_kv_heads = 4,
    .default_positions = 8192,
    .default_ids = &(const struct class_ids){.bos = 2, .eos = 1, .pad = 0},
    .default_tied = true};

/* The class's defaults are the sizes of no published model, but config.json of the larger ones leaves out what they have in
 * common with them. */
const struct family family_gemma3_text = {
    .model_type = "gemma3_text",
    .architecture = "Gemma3ForCausalLM",
    .gguf = "gemma3",
    .params = gemma_params,
    .num_params = NUM_PARAMS,
    .norm = {NORM_RMS_ONCE, 1, false},
    .scales_embedding = true,
    .change_plan = change_gemma3,
    .activation_key = "hidden_activation",
    .activation = "gelu_pytorch_tanh",
    .in_gguf = {.has_windows = true, .layers_of_27b = 62},
    .local = {.window = 4096, .period = 6, .has_base = true, .theta = 10000},
    .default_query_scalar = 256,
    .default_sizes =
        {.width = 2304, .ffn_width = 9216, .vocab_size = 262208, .num_layers = 26, .num_heads = 8},
    .default_head_dim = 256,
    .default_kv_heads = 4,
    .default_positions = 131072,
    .default_theta = 1e6,
    .default_ids = &(const struct class_ids){.bos = 2, .eos = 1, .pad = 0},
    .default_tied = true};
