/* family_olmo2.c - OLMo 2: Llama's layer with the norms after its branches instead of before them, and queries and keys
 * normalised as whole rows before the rotation.  OLMo 3: the same, and three of four layers see a window and have no
 * stretched positions.
 * Source: transformers, models/olmo2/modeling_olmo2.py, models/olmo3/modeling_olmo3.py and their configurations; llama.cpp,
 * gguf-py/gguf/tensor_mapping.py and src/models/olmo2.cpp, which is both: queries and keys keep Hugging Face's order there,
 * and a file without output.weight is not opened. */
#include "checkpoints/family/family_internal.h"

/* clang-format off */
static const struct param_spec olmo2_params[] = {
    {ROLE_EMBEDDING, PLACE_INPUT, "model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FINAL_NORM, PLACE_OUTPUT, "model.norm.weight", "output_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_HEAD, PLACE_OUTPUT, "lm_head.weight", "output.weight", DIM_VOCAB, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS | PARAM_UNTIED},
    {ROLE_QUERY, PLACE_LAYER, "self_attn.q_proj.weight", "attn_q.weight", DIM_QUERY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_KEY, PLACE_LAYER, "self_attn.k_proj.weight", "attn_k.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_VALUE, PLACE_LAYER, "self_attn.v_proj.weight", "attn_v.weight", DIM_KEY, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_QUERY_NORM, PLACE_LAYER, "self_attn.q_norm.weight", "attn_q_norm.weight", DIM_QUERY, DIM_NONE, INIT_ONE, 0},
    {ROLE_KEY_NORM, PLACE_LAYER, "self_attn.k_norm.weight", "attn_k_norm.weight", DIM_KEY, DIM_NONE, INIT_ONE, 0},
    {ROLE_OUTPUT, PLACE_LAYER, "self_attn.o_proj.weight", "attn_output.weight", DIM_WIDTH, DIM_QUERY, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_ATTENTION_POST_NORM, PLACE_LAYER, "post_attention_layernorm.weight", "post_attention_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
    {ROLE_GATE, PLACE_LAYER, "mlp.gate_proj.weight", "ffn_gate.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_UP, PLACE_LAYER, "mlp.up_proj.weight", "ffn_up.weight", DIM_FFN, DIM_WIDTH, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_DOWN, PLACE_LAYER, "mlp.down_proj.weight", "ffn_down.weight", DIM_WIDTH, DIM_FFN, INIT_NORMAL, PARAM_DECAYS},
    {ROLE_FFN_POST_NORM, PLACE_LAYER, "post_feedforward_layernorm.weight", "post_ffw_norm.weight", DIM_WIDTH, DIM_NONE, INIT_ONE, 0},
};
/* clang-format on */
enum { NUM_PARAMS = sizeof olmo2_params / sizeof olmo2_params[0] };

static void change_plan(const struct model_config *config, int layer, struct layer_plan *plan) {
    (void)config, (void)layer;
    plan->place = NORM_POST;
    plan->qk_norm = QK_NORM_ROWS;
}

const struct family family_olmo2 = {.model_type = "olmo2",
                                    .architecture = "Olmo2ForCausalLM",
                                    .gguf = "olmo2",
                                    .params = olmo2_params,
                                    .num_params = NUM_PARAMS,
                                    .norm = {NORM_RMS_ONCE, 0, false},
                                    .change_plan = change_plan,
                                    .in_gguf = {.has_head = true},
                                    .default_positions = 2048,
                                    .default_eps = 1e-5};

const struct family family_olmo3 = {
    .model_type = "olmo3",
    .architecture = "Olmo3ForCausalLM",
    .gguf = "olmo2",
    .params = olmo2_params,
    .num_params = NUM_PARAMS,
    .norm = {NORM_RMS_ONCE, 0, false},
    .change_plan = change_plan,
    .in_gguf = {.has_head = true, .has_windows = true, .one_base = true, .stretches = true},
    .local = {.window = 4096, .period = 4, .has_base = true},
    .default_positions = 2048,
    .default_theta = 5e5,
    .default_eps = 1e-5};
