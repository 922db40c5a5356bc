/* family_internal.h - what the family_*.c files share. */
#pragma once

#include "checkpoints/family/family_adapter.h"

/* Most of what one model may have besides layers; of MODEL_MAX_FFN, elements, all experts of a layer together. */
enum { MODEL_MAX_EXPERTS = 4096, MODEL_MAX_FFN = 1 << 22 };

/* Sizes of a class where config.json lacks the key; 0: it must be there. */
struct class_sizes {
    int64_t width, ffn_width, vocab_size;
    int num_layers, num_heads;
};

/* Special tokens of a class where config.json lacks the key. */
struct class_ids {
    int32_t bos, eos, pad;
};

/* local_layers.period of a class all of whose layers are local. */
enum { EVERY_LAYER_LOCAL = MODEL_MAX_LAYERS + 1 };

/* Of a family whose layers may be local, that is see a window: its class's defaults of the fields of struct model_config. */
struct local_layers {
    int64_t window;
    int period;        /* the last of so many layers sees all; 0: the family has no local layers */
    bool has_base;     /* the local ones rotate by a base of their own, and nothing is stretched there */
    double theta;      /* that base; 0: that of the others */
    bool may_lack;     /* sliding_window null says that no layer is local; otherwise it is a mistake */
    bool needs_window; /* but transformers does not run its class with null: layer_types says it instead */
    bool
        ignores_types; /* transformers does not read layer_types of this class: the window is that of all layers */
};

/* Of a family with experts, by its class. */
struct expert_facts {
    const char *width_key;       /* of ffn_width in config.json; NULL: intermediate_size */
    int num_experts, num_chosen; /* where the keys are missing */
    bool may_be_dense;           /* mlp_only_layers and decoder_sparse_step say which layers have none */
    int64_t width, dense_width;
    double router_loss;
    bool renormalises; /* always; otherwise norm_topk_prob says it */
    enum router_score score;
    /* Of ROUTER_SIGMOID: n_shared_experts, first_k_dense_replace and num_nextn_predict_layers where the keys are missing. */
    int num_shared, num_dense, num_further;
    bool renormalises_by_class; /* norm_topk_prob where the key is missing */
    bool short_names;           /* of an expert's modules: w1, w3 and w2 for gate, up and down */
};

/* What llama.cpp knows of a family without a key in the file. */
struct gguf_facts {
    bool has_head;    /* it wants output.weight, which a tied model does not have */
    bool ties_head;   /* it knows no head but the embedding */
    bool has_windows; /* it knows the windows of local layers; otherwise all layers see all there */
    int64_t window;   /* the one it takes where the file has no key; 0: none */
    bool one_base;    /* local layers have the base of the others */
    bool
        has_freqs; /* it takes rope_freqs.weight, by which llama3's positions are told; others do not open with it */
    bool has_longrope; /* it looks at tensors of longrope's factors */
    bool stretches;    /* the positions of the others may be stretched by YaRN, too */
    int layers_of_27b; /* by which it tells the model with another query_scalar; 0: there is none */
    bool renormalises; /* the weights of a row's experts, of which no key tells */
    bool one_period;   /* of local layers, the class's, of which no key tells */
    bool
        exact_bounds; /* yarn's, as the model has them: no key tells, and llama.cpp rounds them all the same */
    bool has_all_keys; /* it wants as many heads of keys as of queries */
};

struct family {
    const char *model_type;          /* in config.json */
    const char *architecture;        /* its causal language model class */
    const char *gguf;                /* general.architecture in GGUF files */
    const struct param_spec *params; /* [num_params]; NULL: the family is known but not supported */
    int num_params;

    struct norm_plan norm; /* of all its norms; zeros: Llama's */
    bool scales_embedding; /* by the root of C, where its rows enter the first layer */

    /* change_plan - what a layer does otherwise than Llama's, whose plan it is handed; NULL: nothing. */
    void (*change_plan)(const struct model_config *config, int layer, struct layer_plan *plan);

    const char *experts_key; /* of num_experts in config.json; NULL: the family has no experts */
    struct expert_facts experts;
    const char *eps_key;        /* of norm_eps in config.json; NULL: rms_norm_eps */
    const char *activation_key; /* of the next in config.json; NULL: hidden_act */
    const char *activation;     /* the only one; NULL: silu, also called swish */
    bool attention_bias;        /* what attention_bias in config.json has to be, and is where it is missing */
    bool chooses_attention; /* attention_bias (of queries, keys and values) and use_qk_norm say it instead */
    struct gguf_facts in_gguf;

    struct local_layers local;
    int64_t
        default_query_scalar; /* query_pre_attn_scalar; 0: the class has no such key, and so the next two */
    float default_attention_softcap; /* attn_logit_softcapping */
    float default_logit_softcap;     /* final_logit_softcapping */

    /* What the class takes where config.json lacks the key. */
    struct class_sizes default_sizes;
    const struct class_ids *default_ids; /* NULL: a missing id is none */
    int64_t default_window;              /* sliding_window of a family without local layers; 0: no window */
    int default_head_dim;                /* head_dim; 0: width / heads */
    int default_kv_heads;                /* num_key_value_heads; 0: as many as heads */
    int64_t default_positions;           /* max_position_embeddings */
    int64_t
        default_original; /* original_max_position_embeddings, which stands outside of rope_scaling and counts alone; 0:
                                            it has no such place */
    double default_theta;       /* rope_theta; 0: 10000 */
    double default_eps;         /* 0: 1e-6 */
    double default_deviation;   /* initializer_range; 0: 0.02 */
    double default_rotary_part; /* partial_rotary_factor; 0: no such key, whole heads turn */

    const char *default_rope; /* rope_parameters, as JSON; NULL: theta 1e4, plain */

    bool default_tied;      /* tie_word_embeddings */
    bool window_has_switch; /* sliding_window counts only where use_sliding_window is true */
    bool has_multipliers;   /* embedding_multiplier and its like; 1 where the key is missing */
    bool has_temperature;   /* of queries: llama_4_scaling_beta beside the rotary settings */
    const char *reason;     /* what it has that atelier lacks, where not supported */
};

/* Supported families: family_NAME of family_NAME.c, or of the file of a family that shares its layers.  The only list. */
#define EACH_FAMILY(FAMILY)                                                                                  \
    FAMILY(llama)                                                                                            \
    FAMILY(mistral)                                                                                          \
    FAMILY(ministral)                                                                                        \
    FAMILY(ministral3)                                                                                       \
    FAMILY(qwen3)                                                                                            \
    FAMILY(qwen2)                                                                                            \
    FAMILY(olmo2)                                                                                            \
                                                                                                             \
    FAMILY(olmo3)                                                                                            \
    FAMILY(granite)                                                                                          \
    FAMILY(phi3)                                                                                             \
    FAMILY(smollm3)                                                                                          \
    FAMILY(nemotron)                                                                                         \
    FAMILY(gemma2)                                                                                           \
    FAMILY(gemma3_text)                                                                                      \
    FAMILY(apertus) FAMILY(mixtral) FAMILY(qwen3_moe) FAMILY(olmoe) FAMILY(gpt_oss) FAMILY(glm4_moe)
#define FAMILY_DECLARE(name) extern const struct family family_##name;
EACH_FAMILY(FAMILY_DECLARE)
extern const struct family *const family_list[];
extern const int num_families;

/* family_of - the family of a checked configuration. */
const struct family *family_of(const struct model_config *config);

/* family_add_experts - to the plan of a layer: in place of its feed-forward block. */
static inline void family_add_experts(const struct model_config *config, struct layer_plan *plan) {
    plan->ffn = FFN_EXPERTS;
    plan->num_experts = config->num_experts;
    plan->route = (struct route_args){.num_chosen = config->num_chosen, .renormalises = config->renormalises};
    if (!family_routes_by_sigmoid(config))
        return;
    plan->route.score = ROUTER_SIGMOID;
    plan->route.num_groups = config->num_groups;
    plan->route.num_groups_chosen = config->num_groups_chosen;
    plan->route.scale = (float)config->route_scale;
}

/* adapter_rows - the rows of the parameters of an adapter, [*count]; none where the model has no adapter. */
const struct param_spec *adapter_rows(const struct model_config *config, int *count);

/* family_activation_key - what config.json calls the activation. */
const char *family_activation_key(const struct family *family);

/* family_eps_key - what config.json calls norm_eps. */
const char *family_eps_key(const struct family *family);

/* family_find - by model_type; NULL: never heard of. */
const struct family *family_find(const char *model_type);

/* Wrappers whose text decoder is of a family here: config.json has a text_config and says what else there is. */
struct wrapper {
    const char *model_type, *architecture;
    const char *text_type; /* the model_type of a text_config that has none */
};

/* wrapper_find - by model_type; NULL: not known. */
const struct wrapper *wrapper_find(const char *model_type);

/* family_require - the family of a model_type, or NULL with err set: unknown, or not supported yet and why.
 */
const struct family *family_require(const char *model_type, struct err *err);
