/* family_adapter.c - the parameters of an adapter as rows of the one table: their shapes follow from the matrices that they hang
 * on, which all families call alike.
 * Source: huggingface/peft, src/peft/tuners/lora/layer.py (names, shapes, initialisation, scale). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoints/family/family_internal.h"

/* clang-format off */
#define ATTENTION_PAIRS \
    {ROLE_QUERY_A, PLACE_LAYER, "self_attn.q_proj.lora_A.weight", "attn_q.weight.lora_a", DIM_RANK, DIM_WIDTH, INIT_UNIFORM, PARAM_DECAYS}, \
    {ROLE_QUERY_B, PLACE_LAYER, "self_attn.q_proj.lora_B.weight", "attn_q.weight.lora_b", DIM_QUERY, DIM_RANK, INIT_ZERO, PARAM_DECAYS}, \
    {ROLE_KEY_A, PLACE_LAYER, "self_attn.k_proj.lora_A.weight", "attn_k.weight.lora_a", DIM_RANK, DIM_WIDTH, INIT_UNIFORM, PARAM_DECAYS}, \
    {ROLE_KEY_B, PLACE_LAYER, "self_attn.k_proj.lora_B.weight", "attn_k.weight.lora_b", DIM_KEY, DIM_RANK, INIT_ZERO, PARAM_DECAYS}, \
    {ROLE_VALUE_A, PLACE_LAYER, "self_attn.v_proj.lora_A.weight", "attn_v.weight.lora_a", DIM_RANK, DIM_WIDTH, INIT_UNIFORM, PARAM_DECAYS}, \
    {ROLE_VALUE_B, PLACE_LAYER, "self_attn.v_proj.lora_B.weight", "attn_v.weight.lora_b", DIM_KEY, DIM_RANK, INIT_ZERO, PARAM_DECAYS}, \
    {ROLE_OUTPUT_A, PLACE_LAYER, "self_attn.o_proj.lora_A.weight", "attn_output.weight.lora_a", DIM_RANK, DIM_QUERY, INIT_UNIFORM, PARAM_DECAYS}, \
    {ROLE_OUTPUT_B, PLACE_LAYER, "self_attn.o_proj.lora_B.weight", "attn_output.weight.lora_b", DIM_WIDTH, DIM_RANK, INIT_ZERO, PARAM_DECAYS},

#define ATTENTION_LENGTHS \
    {ROLE_QUERY_LENGTHS, PLACE_LAYER, "self_attn.q_proj.lora_magnitude_vector", "", DIM_QUERY, DIM_NONE, INIT_ROW_NORM, 0}, \
    {ROLE_KEY_LENGTHS, PLACE_LAYER, "self_attn.k_proj.lora_magnitude_vector", "", DIM_KEY, DIM_NONE, INIT_ROW_NORM, 0}, \
    {ROLE_VALUE_LENGTHS, PLACE_LAYER, "self_attn.v_proj.lora_magnitude_vector", "", DIM_KEY, DIM_NONE, INIT_ROW_NORM, 0}, \
    {ROLE_OUTPUT_LENGTHS, PLACE_LAYER, "self_attn.o_proj.lora_magnitude_vector", "", DIM_WIDTH, DIM_NONE, INIT_ROW_NORM, 0},

/* A pair for each expert, as peft called them when each expert was a module of its own.  It still reads them so where transformers has all
 * experts of a layer as one parameter, gate and up as one (peft, src/peft/utils/transformers_weight_conversion.py); older ones know no
 * other names. */
#define EXPERT_PAIRS(block, gate, up, down) \
    {ROLE_GATE_A, PLACE_LAYER, block ".experts.*." gate ".lora_A.weight", "ffn_gate_exps.weight.lora_a", DIM_RANK, DIM_WIDTH, INIT_UNIFORM, PARAM_DECAYS | PARAM_EXPERT}, \
    {ROLE_GATE_B, PLACE_LAYER, block ".experts.*." gate ".lora_B.weight", "ffn_gate_exps.weight.lora_b", DIM_FFN, DIM_RANK, INIT_ZERO, PARAM_DECAYS | PARAM_EXPERT}, \
    {ROLE_UP_A, PLACE_LAYER, block ".experts.*." up ".lora_A.weight", "ffn_up_exps.weight.lora_a", DIM_RANK, DIM_WIDTH, INIT_UNIFORM, PARAM_DECAYS | PARAM_EXPERT}, \
    {ROLE_UP_B, PLACE_LAYER, block ".experts.*." up ".lora_B.weight", "ffn_up_exps.weight.lora_b", DIM_FFN, DIM_RANK, INIT_ZERO, PARAM_DECAYS | PARAM_EXPERT}, \
    {ROLE_DOWN_A, PLACE_LAYER, block ".experts.*." down ".lora_A.weight", "ffn_down_exps.weight.lora_a", DIM_RANK, DIM_FFN, INIT_UNIFORM, PARAM_DECAYS | PARAM_EXPERT}, \
    {ROLE_DOWN_B, PLACE_LAYER, block ".experts.*." down ".lora_B.weight", "ffn_down_exps.weight.lora_b", DIM_WIDTH, DIM_RANK, INIT_ZERO, PARAM_DECAYS | PARAM_EXPERT},

/* The lengths come last, and are DoRA's alone; GGUF has no name for them. */
static const struct param_spec pairs[] = {
    ATTENTION_PAIRS
    {ROLE_GATE_A, PLACE_LAYER, "mlp.gate_proj.lora_A.weight", "ffn_gate.weight.lora_a", DIM_RANK, DIM_WIDTH, INIT_UNIFORM, PARAM_DECAYS},
    {ROLE_GATE_B, PLACE_LAYER, "mlp.gate_proj.lora_B.weight", "ffn_gate.weight.lora_b", DIM_FFN, DIM_RANK, INIT_ZERO, PARAM_DECAYS},
    {ROLE_UP_A, PLACE_LAYER, "mlp.up_proj.lora_A.weight", "ffn_up.weight.lora_a", DIM_RANK, DIM_WIDTH, INIT_UNIFORM, PARAM_DECAYS},
    {ROLE_UP_B, PLACE_LAYER, "mlp.up_proj.lora_B.weight", "ffn_up.weight.lora_b", DIM_FFN, DIM_RANK, INIT_ZERO, PARAM_DECAYS},
    {ROLE_DOWN_A, PLACE_LAYER, "mlp.down_proj.lora_A.weight", "ffn_down.weight.lora_a", DIM_RANK, DIM_FFN, INIT_UNIFORM, PARAM_DECAYS},
    {ROLE_DOWN_B, PLACE_LAYER, "mlp.down_proj.lora_B.weight", "ffn_down.weight.lora_b", DIM_WIDTH, DIM_RANK, INIT_ZERO, PARAM_DECAYS},
    {ROLE_QKV_A, PLACE_LAYER, "self_attn.qkv_proj.lora_A.weight", "attn_qkv.weight.lora_a", DIM_RANK, DIM_WIDTH, INIT_UNIFORM, PARAM_DECAYS},
    {ROLE_QKV_B, PLACE_LAYER, "self_attn.qkv_proj.lora_B.weight", "attn_qkv.weight.lora_b", DIM_QKV, DIM_RANK, INIT_ZERO, PARAM_DECAYS},
    {ROLE_GATE_UP_A, PLACE_LAYER, "mlp.gate_up_proj.lora_A.weight", "ffn_up.weight.lora_a", DIM_RANK, DIM_WIDTH, INIT_UNIFORM, PARAM_DECAYS},
    {ROLE_GATE_UP_B, PLACE_LAYER, "mlp.gate_up_proj.lora_B.weight", "ffn_up.weight.lora_b", DIM_GATE_UP, DIM_RANK, INIT_ZERO, PARAM_DECAYS},
    ATTENTION_LENGTHS
    {ROLE_GATE_LENGTHS, PLACE_LAYER, "mlp.gate_proj.lora_magnitude_vector", "", DIM_FFN, DIM_NONE, INIT_ROW_NORM, 0},
    {ROLE_UP_LENGTHS, PLACE_LAYER, "mlp.up_proj.lora_magnitude_vector", "", DIM_FFN, DIM_NONE, INIT_ROW_NORM, 0},
    {ROLE_DOWN_LENGTHS, PLACE_LAYER, "mlp.down_proj.lora_magnitude_vector", "", DIM_WIDTH, DIM_NONE, INIT_ROW_NORM, 0},
    {ROLE_QKV_LENGTHS, PLACE_LAYER, "self_attn.qkv_proj.lora_magnitude_vector", "", DIM_QKV, DIM_NONE, INIT_ROW_NORM, 0},
    {ROLE_GATE_UP_LENGTHS, PLACE_LAYER, "mlp.gate_up_proj.lora_magnitude_vector", "", DIM_GATE_UP, DIM_NONE, INIT_ROW_NORM, 0},
};

/* Of models with experts.  Peft puts no lengths on these. */
static const struct param_spec expert_pairs[] = {
    ATTENTION_PAIRS EXPERT_PAIRS("mlp", "gate_proj", "up_proj", "down_proj") ATTENTION_LENGTHS
};
static const struct param_spec mixtral_pairs[] = {
    ATTENTION_PAIRS EXPERT_PAIRS("block_sparse_moe", "w1", "w3", "w2") ATTENTION_LENGTHS
};
/* clang-format on */
enum {
    NUM_DORA_ROWS = sizeof pairs / sizeof pairs[0],
    NUM_PAIR_ROWS = NUM_DORA_ROWS - ADAPTER_TARGET_COUNT,
    NUM_EXPERT_DORA_ROWS = sizeof expert_pairs / sizeof expert_pairs[0],
    NUM_EXPERT_ROWS = NUM_EXPERT_DORA_ROWS - (ADAPTER_OUTPUT + 1)
};

/* What a target means in a model without experts, and in one with some, whose families call their modules in one of two ways. */
static const struct {
    enum tensor_role role;
    const char *module;
    enum tensor_role in_experts;
    const char *short_module;
} targets[ADAPTER_TARGET_COUNT] = {
    [ADAPTER_QUERY] = {ROLE_QUERY, "q_proj", ROLE_QUERY, "q_proj"},
    [ADAPTER_KEY] = {ROLE_KEY, "k_proj", ROLE_KEY, "k_proj"},
    [ADAPTER_VALUE] = {ROLE_VALUE, "v_proj", ROLE_VALUE, "v_proj"},
    [ADAPTER_OUTPUT] = {ROLE_OUTPUT, "o_proj", ROLE_OUTPUT, "o_proj"},
    [ADAPTER_GATE] = {ROLE_GATE, "gate_proj", ROLE_EXPERT_GATE, "w1"},
    [ADAPTER_UP] = {ROLE_UP, "up_proj", ROLE_EXPERT_UP, "w3"},
    [ADAPTER_DOWN] = {ROLE_DOWN, "down_proj", ROLE_EXPERT_DOWN, "w2"},
    [ADAPTER_QKV] = {ROLE_QKV, "qkv_proj", ROLE_QKV, "qkv_proj"},
    [ADAPTER_GATE_UP] = {ROLE_GATE_UP, "gate_up_proj", ROLE_GATE_UP, "gate_up_proj"},
};

const struct param_spec *adapter_rows(const struct model_config *config, int *count) {
    static const int counts[][2] = {[ADAPTER_NONE] = {0, 0},
                                    [ADAPTER_LORA] = {NUM_PAIR_ROWS, NUM_EXPERT_ROWS},
                                    [ADAPTER_DORA] = {NUM_DORA_ROWS, NUM_EXPERT_DORA_ROWS}};
    bool has_experts = config->num_experts > 0;
    *count = counts[config->adapter.method][has_experts];
    if (!has_experts)
        return pairs;
    return family_of(config)->experts.short_names ? mixtral_pairs : expert_pairs;
}

bool adapter_is_served(const struct adapter *adapter) {
    return adapter->whole == 0 && adapter->method != ADAPTER_DORA;
}

static const struct {
    enum adapter_part part;
    const char *word;
} parts[] = {{ADAPTER_NORMS, "norms"}, {ADAPTER_EMBEDDING, "embedding"}, {ADAPTER_HEAD, "head"}};
enum { NUM_PARTS = sizeof parts / sizeof parts[0] };

unsigned adapter_part_named(const char *word) {
    for (int i = 0; i < NUM_PARTS; i++)
        if (strcmp(parts[i].word, word) == 0)
            return parts[i].part;
    return 0;
}

const char *adapter_method_word(enum adapter_method method) {
    static const char *const words[] = {
        [ADAPTER_NONE] = "none", [ADAPTER_LORA] = "lora", [ADAPTER_DORA] = "dora"};
    return words[method];
}

const char *adapter_whole_text(const struct adapter *adapter, char *text, size_t room_bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < NUM_PARTS && used < room_bytes; i++)
        if (adapter->whole & parts[i].part)
            used += (size_t)snprintf(text + used, room_bytes - used, "%s%s", used ? ", " : "", parts[i].word);
    return text;
}

const char *adapter_module(enum adapter_target target) {
    return targets[target].module;
}

const char *adapter_short_module(enum adapter_target target) {
    return targets[target].short_module;
}

const char *adapter_module_of(const struct model_config *config, enum adapter_target target) {
    bool is_short = config->num_experts > 0 && family_of(config)->experts.short_names;
    return is_short ? targets[target].short_module : targets[target].module;
}

bool model_has_adapter(const struct model_config *config) {
    return config->adapter.method != ADAPTER_NONE;
}

bool role_is_pair(enum tensor_role role) {
    return role >= ROLE_QUERY_A && role <= ROLE_GATE_UP_LENGTHS;
}

bool role_is_lengths(enum tensor_role role) {
    return role >= ROLE_QUERY_LENGTHS && role <= ROLE_GATE_UP_LENGTHS;
}

unsigned adapter_part_of(enum tensor_role role) {
    switch (role) {
    case ROLE_EMBEDDING:
        return ADAPTER_EMBEDDING;
    case ROLE_HEAD:
        return ADAPTER_HEAD;
    case ROLE_FINAL_NORM:
    case ROLE_ATTENTION_NORM:
    case ROLE_FFN_NORM:
    case ROLE_QUERY_NORM:
    case ROLE_KEY_NORM:
    case ROLE_ATTENTION_POST_NORM:
    case ROLE_FFN_POST_NORM:
    case ROLE_FINAL_NORM_BIAS:
    case ROLE_ATTENTION_NORM_BIAS:
    case ROLE_FFN_NORM_BIAS:
    case ROLE_ATTENTION_POST_NORM_BIAS:
    case ROLE_FFN_POST_NORM_BIAS:
        return ADAPTER_NORMS;
    default:
        return 0;
    }
}

bool param_is_saved(const struct model_config *config, enum tensor_role role) {
    return !model_has_adapter(config) || role_is_pair(role) ||
           (config->adapter.whole & adapter_part_of(role)) != 0;
}

enum dtype model_saved_type(const struct model_config *config) {
    return model_has_adapter(config) ? config->adapter.dtype : config->dtype;
}

enum tensor_role adapter_target_role(const struct model_config *config, enum adapter_target target) {
    return config->num_experts > 0 ? targets[target].in_experts : targets[target].role;
}

enum adapter_target adapter_target_of(enum tensor_role role) {
    if (role_is_lengths(role))
        return (enum adapter_target)(role - ROLE_QUERY_LENGTHS);
    if (role_is_pair(role))
        return (enum adapter_target)((role - ROLE_QUERY_A) / 2);
    int target = 0;
    while (target < ADAPTER_TARGET_COUNT && targets[target].role != role &&
           targets[target].in_experts != role)
        target++;
    return (enum adapter_target)target;
}

enum tensor_role adapter_pair_role(enum adapter_target target, enum adapter_half half) {
    return (enum tensor_role)(ROLE_QUERY_A + 2 * (int)target + (int)half);
}

enum tensor_role adapter_length_role(enum adapter_target target) {
    return (enum tensor_role)(ROLE_QUERY_LENGTHS + (int)target);
}

bool adapter_has(const struct model_config *config, enum tensor_role matrix, int layer) {
    enum adapter_target target = adapter_target_of(matrix);
    return model_has_adapter(config) && !role_is_pair(matrix) && target != ADAPTER_TARGET_COUNT &&
           adapter_target_role(config, target) == matrix && config->adapter.ranks[target] > 0 &&
           layer < config->num_layers && layer_set_has(&config->adapter.layers, layer);
}

bool adapter_is_of_experts(const struct model_config *config, enum adapter_target target) {
    return config->num_experts > 0 && targets[target].in_experts != targets[target].role;
}

bool adapter_has_experts(const struct model_config *config) {
    for (int t = 0; model_has_adapter(config) && t < ADAPTER_TARGET_COUNT; t++)
        if (config->adapter.ranks[t] > 0 && adapter_is_of_experts(config, (enum adapter_target)t))
            return true;
    return false;
}

double adapter_scale(const struct model_config *config, enum adapter_target target) {
    const struct adapter *adapter = &config->adapter;
    double rank = (double)adapter->ranks[target];
    return adapter->alphas[target] / (adapter->rank_stabilised ? sqrt(rank) : rank);
}
