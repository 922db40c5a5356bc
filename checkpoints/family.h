/* family.h - what a decoder model is: the descriptor that covers the families, and the names of its tensors.
 *
 * One decoder serves all families; a family differs by the fields below and by its tensor names.  Supported
 * now: the Llama family (model_type llama, mistral without window).  Any other model_type is refused by name.
 * Source: Hugging Face config.json, both spellings (rope_theta + rope_scaling, and rope_parameters). */
#pragma once

#include "kernels/tensor.h"

/* What a tensor of the model is for.  Roles before ROLE_FIRST_IN_LAYER occur once, the others once per layer.
 */
enum tensor_role {
    ROLE_EMBEDDING,  /* [V, C] */
    ROLE_FINAL_NORM, /* [C] */
    ROLE_HEAD,       /* [V, C], absent when tied */
    ROLE_FIRST_IN_LAYER,
    ROLE_ATTENTION_NORM = ROLE_FIRST_IN_LAYER, /* [C] */
    ROLE_QUERY,                                /* [H D, C] */
    ROLE_KEY,                                  /* [G D, C] */
    ROLE_VALUE,                                /* [G D, C] */
    ROLE_OUTPUT,                               /* [C, H D] */
    ROLE_MLP_NORM,                             /* [C] */
    ROLE_GATE,                                 /* [F, C] */
    ROLE_UP,                                   /* [F, C] */
    ROLE_DOWN,                                 /* [C, F] */
    ROLE_COUNT
};

enum rope_kind { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3 };

enum { MODEL_MAX_EOS = 8 };

struct model_config {
    char model_type[32];   /* "llama", "mistral" */
    char architecture[64]; /* "LlamaForCausalLM" */
    int64_t width;         /* C */
    int64_t ffn_width;     /* F */
    int64_t vocab_size;    /* V, rows of the embedding */
    int64_t max_positions; /* longest sequence the model was made for */
    int num_layers;        /* L */
    int num_heads;         /* H */
    int num_kv_heads;      /* G */
    int head_dim;          /* D; may differ from C / H */
    float norm_eps;
    bool tied_head;          /* the head is the embedding */
    float initializer_range; /* standard deviation of a new model's matrices */
    enum rope_kind rope_kind;
    double rope_theta;
    double rope_factor, rope_low_freq, rope_high_freq; /* llama3: factor, low_freq_factor, high_freq_factor */
    int64_t rope_original_positions;
    int32_t bos_id, pad_id; /* -1: none */
    int32_t eos_ids[MODEL_MAX_EOS];
    int num_eos;
    enum dtype dtype; /* of the stored weights: f32, bf16 or f16 */
};

/* model_config_parse - from the text of config.json.  origin names it in messages.
 * Returns 0, or -1 with err set: malformed, a missing key, a size out of range, a model_type or feature not
 * supported (named: sliding_window, attention_bias, quantization_config, rope type, activation). */
int model_config_parse(struct model_config *config, const char *text, size_t length_bytes, const char *origin,
                       struct err *err);

/* model_config_check - the sizes agree with each other and fit in memory arithmetic (also for configurations
 * from GGUF and from the architecture block).  Returns 0, or -1 with err set. */
int model_config_check(const struct model_config *config, const char *origin, struct err *err);

/* model_config_text - config.json for this model, malloc'ed.  base_text, the source model's config.json or
 * NULL, is kept as it is but for what changed (dtype, vocab_size, architectures); both spellings are written.
 */
char *model_config_text(const struct model_config *config, const char *base_text);

/* model_role_name - the Hugging Face name of a tensor ("model.layers.3.mlp.up_proj.weight"); returns text. */
const char *model_role_name(const struct model_config *config, enum tensor_role role, int layer, char *text,
                            size_t room_bytes);

/* model_role_tensor - its shape, data NULL, dtype f32. */
struct tensor model_role_tensor(const struct model_config *config, enum tensor_role role);

/* model_has_role - false for ROLE_HEAD of a tied model. */
bool model_has_role(const struct model_config *config, enum tensor_role role);

/* model_num_parameters - of the whole model. */
int64_t model_num_parameters(const struct model_config *config);

/* model_rope_tables - cos and sin [positions, D/2], scaled as rope_kind says; frequencies and angles are
 * rounded to f32 where the reference programs round them (family_rope.c says why). */
void model_rope_tables(const struct model_config *config, int64_t positions, float *cos, float *sin);

/* model_rope_divisor - what llama3 scaling divides frequency i of D/2 by (1 when plain). */
double model_rope_divisor(const struct model_config *config, int i);
