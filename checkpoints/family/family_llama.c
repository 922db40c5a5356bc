/* family_llama.c - Llama 2 and 3.x and all that are stored like them (SmolLM2, Lucie, CroissantLLM, EuroLLM),
 * Mistral and Ministral, which differ by their windows alone, Ministral 3, whose queries have a temperature, Granite, which
 * multiplies four things, and SmolLM3, of whose layers every fourth rotates nothing.
 * Source: transformers, models/llama/modeling_llama.py and models/smollm3/modular_smollm3.py,
 * models/mistral/modeling_mistral.py, models/ministral/modular_ministral.py, models/ministral3/modular_ministral3.py,
 * models/granite/modular_granite.py;
 * llama.cpp, gguf-py/gguf/tensor_mapping.py. */
#include "checkpoints/family/family_internal.h"

/* Query, key and value are neighbours, as are gate and up: each group is one matrix product. */
/* clang-format off */
static const struct param_spec llama_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_ATTENTION_NORM, PLACE_LAYER, "input_layernorm.weight", "attn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_QUERY, PLACE_LAYER, "self_attn.q_proj.weight", "attn_q.weight", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_PERMUTED},
    {ROLE_KEY, PLACE_LAYER, "self_attn.k_proj.weight", "attn_k.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_PERMUTED},
    {ROLE_VALUE, PLACE_LAYER, "self_attn.v_proj.weight", "attn_v.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "ffn_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_GATE, PLACE_LAYER, "mlp.gate_proj.weight", "ffn_gate.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_UP, PLACE_LAYER, "mlp.up_proj.weight", "ffn_up.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "mlp.down_proj.weight", "ffn_down.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof llama_params / sizeof llama_params[0] };

const struct family family_llama = {.model_type = "llama",
                                    .architecture = "LlamaForCausalLM",
                                    .gguf = "llama",
                                    .in_gguf = {.has_freqs = true},
                                    .params = llama_params,
                                    .num_params = NUM_PARAMS,
                                    .default_positions = 2048};

/* The window is that of all layers, unless a list says otherwise (layer_types).  llama.cpp knows no window of 'llama'. */
const struct family family_mistral = {
    .model_type = "mistral",
    .architecture = "MistralForCausalLM",
    .gguf = "llama",
    .in_gguf = {.has_freqs = true},
    .params = llama_params,
    .num_params = NUM_PARAMS,
    .local = {.window = 4096, .period = EVERY_LAYER_LOCAL, .may_lack = true},
    .default_kv_heads = 8,
    .default_positions = 131072};

/* What transformers calls a Mistral with a list of layer types: Ministral 8B. */
const struct family family_ministral = {
    .model_type = "ministral",
    .architecture = "MinistralForCausalLM",
    .gguf = "llama",
    .in_gguf = {.has_freqs = true},
    .params = llama_params,
    .num_params = NUM_PARAMS,
    .local = {.window = 4096, .period = EVERY_LAYER_LOCAL, .may_lack = true, .needs_window = true},
    .default_kv_heads = 8,
    .default_positions = 131072};

static void change_ministral3(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)layer;
    plan->temperature = config->query_temperature;
    plan->temperature_span = config->rope_original_positions;
}

const struct family family_ministral3 = {
    .model_type = "ministral3",
    .architecture = "Ministral3ForCausalLM",
    .gguf = "mistral3",
    .params = llama_params,
    .num_params = NUM_PARAMS,
    .change_plan = change_ministral3,
    .default_head_dim = 128,
    .default_kv_heads = 8,
    .default_positions = 262144,
    .default_eps = 1e-5,
    .default_rope =
        "{\"rope_type\":\"yarn\",\"rope_theta\":1e6,\"factor\":16,\"original_max_position_embeddings\":16384,"
        "\"mscale\":1,\"mscale_all_dim\":1,\"llama_4_scaling_beta\":0.1}",
    .has_temperature = true};

/* Granite, dense: Llama's layers with four multipliers. */
const struct family family_granite = {.model_type = "granite",
                                      .architecture = "GraniteForCausalLM",
                                      .gguf = "granite",
                                      .in_gguf = {.has_freqs = true},
                                      .params = llama_params,
                                      .num_params = NUM_PARAMS,
                                      .default_positions = 2048,
                                      .has_multipliers = true};

/* Of no_rope_layers only the class's default is taken (family_parse.c): llama.cpp has it built in. */
static void change_smollm3(const struct model_config *config, int layer, struct layer_plan *plan) {
    enum { NO_ROPE_INTERVAL = 4 };
    (void)config;
    if ((layer + 1) % NO_ROPE_INTERVAL == 0)
        plan->rope_theta = 0;
}

const struct family family_smollm3 = {.model_type = "smollm3",
                                      .architecture = "SmolLM3ForCausalLM",
                                      .gguf = "smollm3",
                                      .params = llama_params,
                                      .num_params = NUM_PARAMS,
                                      .change_plan = change_smollm3,
                                      .default_kv_heads = 4,
                                      .default_positions = 32768,
                                      .default_theta = 2e6,
                                      .default_tied = true,
                                      .window_has_switch = true};
