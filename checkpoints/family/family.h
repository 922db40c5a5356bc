/* family.h - what a decoder model is: the descriptor that covers the families, and the one list of its
 * parameters.
 *
 * One decoder serves all families; a family differs by the fields of struct model_config, by its table of parameters and by
 * the plan of its layers, both in family_NAME.c.  Supported now: the Llama family (model_type llama), Mistral and Ministral
 * with their windows, Ministral 3, Qwen2 and Qwen3 (dense), OLMo 2 and 3, Granite, Phi-3, SmolLM3, Gemma 2 and 3 (text), Apertus, those with experts (Mixtral, Qwen3-MoE, OLMoE, gpt-oss, GLM-4.5) and Nemotron (not the hybrid
 * ones).  Any other model_type is refused by name.
 * Source: Hugging Face config.json, both spellings (rope_theta + rope_scaling, and rope_parameters). */
#pragma once

#include "checkpoints/family/adapter.h"
#include "checkpoints/family/family_gguf.h"
#include "kernels/ops.h"

/* What a parameter is for in the arithmetic of the model.  Only model.c and the families' tables know roles
 * by name; everything else goes through the list below. */
enum tensor_role {
    ROLE_EMBEDDING,
    ROLE_FINAL_NORM,
    ROLE_HEAD, /* absent when tied */
    ROLE_ATTENTION_NORM,
    ROLE_QUERY,
    ROLE_KEY,
    ROLE_VALUE,
    ROLE_QKV, /* these three as one matrix, in a family whose files hold them so */
    ROLE_OUTPUT,
    ROLE_FFN_NORM,
    ROLE_GATE,
    ROLE_UP,
    ROLE_GATE_UP, /* these two as one matrix */
    ROLE_DOWN,
    ROLE_QUERY_NORM, /* of queries, one weight for all heads or for the whole row; with QK-norm alone, and so the next */
    ROLE_KEY_NORM,
    ROLE_ATTENTION_POST_NORM, /* of what attention adds to the residual stream; NORM_POST and NORM_SANDWICH alone */
    ROLE_FFN_POST_NORM,
    ROLE_FINAL_NORM_BIAS, /* of the norms above; where the plan's norm has one */
    ROLE_ATTENTION_NORM_BIAS,
    ROLE_FFN_NORM_BIAS,
    ROLE_ATTENTION_POST_NORM_BIAS,
    ROLE_FFN_POST_NORM_BIAS,
    ROLE_QUERY_BIAS, /* of the three projections; where the plan has them */
    ROLE_KEY_BIAS,
    ROLE_VALUE_BIAS,
    ROLE_OUTPUT_BIAS,   /* likewise */
    ROLE_SINK,          /* what each head's softmax has besides its keys; where the plan has them */
    ROLE_XIELU_ALPHA_P, /* of ACT_XIELU */
    ROLE_XIELU_ALPHA_N,
    ROLE_XIELU_BETA,
    ROLE_XIELU_EPS,
    ROLE_QUERY_A, /* low-rank pairs of an adapter, A and B of each target, in the order of enum adapter_target */
    ROLE_QUERY_B,
    ROLE_KEY_A,
    ROLE_KEY_B,
    ROLE_VALUE_A,
    ROLE_VALUE_B,
    ROLE_OUTPUT_A,
    ROLE_OUTPUT_B,
    ROLE_GATE_A,
    ROLE_GATE_B,
    ROLE_UP_A,
    ROLE_UP_B,
    ROLE_DOWN_A,
    ROLE_DOWN_B,
    ROLE_QKV_A,
    ROLE_QKV_B,
    ROLE_GATE_UP_A,
    ROLE_GATE_UP_B,
    ROLE_QUERY_LENGTHS, /* of the rows, with DoRA; in the same order */
    ROLE_KEY_LENGTHS,
    ROLE_VALUE_LENGTHS,
    ROLE_OUTPUT_LENGTHS,
    ROLE_GATE_LENGTHS,
    ROLE_UP_LENGTHS,
    ROLE_DOWN_LENGTHS,
    ROLE_QKV_LENGTHS,
    ROLE_GATE_UP_LENGTHS,
    ROLE_ROUTER,      /* whose products with a row say which experts it goes to; where the plan has experts */
    ROLE_EXPERT_GATE, /* PARAM_EXPERT, and so the next two; where the plan has experts */
    ROLE_EXPERT_UP,
    ROLE_EXPERT_DOWN,
    ROLE_ROUTER_BIAS, /* where the plan has clamped experts, and so the next three, which are PARAM_EXPERT */
    ROLE_EXPERT_GATE_UP, /* in place of gate and up: [C, 2F], inputs by rows, gate and up alternating; down is [F, C] then */
    ROLE_EXPERT_GATE_UP_BIAS,
    ROLE_EXPERT_DOWN_BIAS,
    ROLE_ROUTER_CORRECTION, /* of scores that are sigmoids; and where the plan has shared experts, the next three */
    ROLE_SHARED_GATE,
    ROLE_SHARED_UP,
    ROLE_SHARED_DOWN,
    ROLE_COUNT
};

/* Sizes by name; shape letters as in kernels/tensor.h. */
enum dim {
    DIM_NONE, /* no second dimension: a vector; no first one either: one value, and files give it no dimension */
    DIM_WIDTH,   /* C */
    DIM_VOCAB,   /* V */
    DIM_QUERY,   /* H D */
    DIM_KEY,     /* G D */
    DIM_FFN,     /* F */
    DIM_DENSE,   /* that of a gated block between layers with experts of a width of their own */
    DIM_SHARED,  /* that of the shared experts together */
    DIM_QKV,     /* (H + 2 G) D */
    DIM_GATE_UP, /* 2 F */
    DIM_HEAD,    /* D */
    DIM_HEADS,   /* H */
    DIM_EXPERTS, /* E */
    DIM_ONE,     /* 1 */
    DIM_RANK     /* R of the pair's target */
};

/* Where in the model a parameter stands: before the layers, in each of them, after them. */
enum param_place { PLACE_INPUT, PLACE_LAYER, PLACE_OUTPUT };

/* What a new model starts with. */
enum param_init {
    INIT_NORMAL, /* mean 0, standard deviation initializer_range */
    INIT_ONE,
    INIT_ZERO,
    INIT_ROW_NORM,      /* the norm of the row that it is the length of */
    INIT_UNIFORM,       /* below 1 / the root of its columns either way, as PEFT begins A */
    INIT_XIELU_ALPHA_P, /* its softplus is 0.8 */
    INIT_XIELU_ALPHA_N, /* 0.3 */
    INIT_XIELU_BETA,    /* 0.5 */
    INIT_XIELU_EPS      /* -1e-6 */
};

/* What else is true of a kind of parameter; a set. */
enum param_trait {
    PARAM_DECAYS = 1,    /* weight decay applies */
    PARAM_PERMUTED = 2,  /* GGUF holds its rows in llama.cpp's rotary order (gguf_model.c) */
    PARAM_UNTIED = 4,    /* absent where the head is the embedding */
    PARAM_PLUS_ONE = 8,  /* GGUF holds its values + 1 */
    PARAM_FIXED = 16,    /* never trained */
    PARAM_METADATA = 32, /* one value a layer, which GGUF has in its metadata: an array of L under a key */
    PARAM_EXPERT = 64,   /* one for each expert of a layer; '*' in its names is the expert's number */
    PARAM_GGUF_TURNED = 256, /* GGUF has its columns as rows */
    PARAM_GGUF_PAIRED =
        512, /* and the even and the odd ones in two tensors: in the second's name "up" stands for "gate" */
    PARAM_F32 = 1024, /* f32 in memory and in files, whatever the model's type */
    PARAM_STACKED =
        128 /* and Hugging Face's files have those of all experts of a layer as one tensor, [experts, ...] */
};

/* What is divided where several ranks compute one layer together: nothing, a matrix's rows (its outputs; of a vector its
 * elements), its columns (its inputs), or the experts among the ranks. */
enum split { SPLIT_NONE, SPLIT_ROWS, SPLIT_COLUMNS, SPLIT_EXPERTS };

/* One row of a family's table: all that is known of a kind of parameter, for every layer. */
struct param_spec {
    enum tensor_role role;
    enum param_place place;
    const char *hf;      /* name in Hugging Face files; of PLACE_LAYER after "model.layers.N." */
    const char *gguf;    /* name in GGUF files; of PLACE_LAYER after "blk.N.", of PARAM_METADATA the key */
    enum dim rows, cols; /* matrices are stored [out, in], as x W^T wants them */
    enum param_init init;
    unsigned traits; /* of enum param_trait */
};

/* One parameter of a model. */
struct param {
    enum tensor_role role;
    int layer;  /* 0 outside of the layers */
    int expert; /* 0 where the kind is not PARAM_EXPERT */
};

/* param_at - of that role in a layer; outside of the layers, 0.  Of a kind that each expert has, the first one's. */
static inline struct param param_at(enum tensor_role role, int layer) {
    return (struct param){role, layer, 0};
}

enum rope_kind {
    ROPE_PLAIN,
    ROPE_LINEAR,
    ROPE_LLAMA3,
    ROPE_YARN,
    ROPE_DYNAMIC, /* plain up to max_positions; a run with longer sequences has the base of its longest */
    ROPE_LONG, /* longrope: a divisor for each frequency, others where a run's sequences exceed the original positions */
    ROPE_PROPORTIONAL, /* of the pairs of whole heads the first ones turn, by the frequencies of all */
    NUM_ROPE_KINDS
};

/* What yarn takes where nothing is given. */
#define YARN_BETA_FAST 32.0
#define YARN_BETA_SLOW 1.0

/* What ROPE_YARN has besides a factor and the original positions.  Short waves stay, long ones are stretched: a wave that
 * turns beta_fast times or more within the original positions is short, one that turns beta_slow times or less is long. */
struct yarn {
    double beta_fast, beta_slow;
    double
        attention_factor; /* multiplies cos and sin; 0: it follows from the factor and the next two; of ROPE_LONG, too */
    double mscale, mscale_all_dim; /* 0: not given */
    bool exact_bounds; /* the bounds of the two kinds are not rounded to whole frequencies (truncate false) */
};

/* What a family with multipliers (Granite) multiplies: the embedding's rows where they enter, what each branch adds to the
 * residual stream, q.k in place of the root of D; what it divides the logits by.  Zeros: a family without. */
struct multipliers {
    double embedding, residual, attention, logits;
};

/* What ROPE_LONG has besides a factor and the original positions: divisors of the R/2 frequencies. */
enum { LONGROPE_MAX_PAIRS = 256 };
struct longrope {
    int num_pairs; /* R/2 */
    float short_factors[LONGROPE_MAX_PAIRS], long_factors[LONGROPE_MAX_PAIRS];
};

enum { MODEL_MAX_EOS = 8, MODEL_MAX_LAYERS = 4096 };

/* How a wrapper's files call the text decoder's tensors. */
enum text_names {
    TEXT_NAMES_PLAIN, /* as of a model without a wrapper: "model.layers...", "lm_head.weight" */
    TEXT_NAMES_OUTER, /* "language_model." before all of them: transformers until 4.51 */
    TEXT_NAMES_INNER, /* "model.language_model." in place of "model.": since then */
    TEXT_NAMES_COUNT
};

struct model_config {
    char model_type[32];   /* "llama", "mistral", "qwen3", "nemotron" */
    char architecture[64]; /* "LlamaForCausalLM" */
    int64_t width;         /* C */
    int64_t ffn_width;     /* F */
    int64_t vocab_size;    /* V, rows of the embedding */
    int64_t max_positions; /* longest sequence the model was made for */
    int num_layers;        /* L */
    int num_heads;         /* H */
    int num_kv_heads;      /* G */
    int head_dim;          /* D; may differ from C / H */
    int num_experts;       /* E of each layer whose plan has some; 0: no layer has */
    int num_chosen;        /* K of them that compute a row */
    bool renormalises;     /* the weights of the chosen are divided by their sum */
    double router_loss;    /* router_aux_loss_coef: of the load balance (train/model/router.h), where */
    bool adds_router_loss; /* output_router_logits says that training adds it */
    int num_shared; /* experts that every row meets, as one gated block of so many times F; 0: there are none */
    enum router_score router_score;    /* the family's */
    int num_groups, num_groups_chosen; /* of ROUTER_SIGMOID, and so the next; 1 and 1: there are no groups */
    double route_scale;
    int num_further; /* layers after the last one that the files may hold and that are left out: they predict further tokens */
    int64_t dense_width; /* intermediate_size where experts have a width of their own: of dense layers */
    struct layer_set dense_layers; /* of a model with experts, those that have a gated block instead */
    bool qkv_bias, head_norms;     /* of a family whose attention may have them or not */
    int rotary_dim;                /* R: the first elements of a head that are rotated; 0: all of it */
    /* Of a family with local layers, else 0: a layer whose number leaves window_whole when it is divided by window_period
     * sees all of its document, the others see a window of keys up to their own, itself included. */
    int64_t window; /* 0: no layer is local */
    int window_period, window_whole;
    double
        rope_local_theta; /* base of local layers, which are not stretched then; 0: they rotate as the others do */
    int64_t query_scalar;    /* 1 / its root multiplies q.k; 0: that of D does */
    float attention_softcap; /* of the scores, see struct attention_args; 0: none */
    float logit_softcap;     /* of the logits, see struct loss_args; 0: none */
    float norm_eps;
    bool tied_head;          /* the head is the embedding */
    float initializer_range; /* standard deviation of a new model's matrices */
    enum rope_kind rope_kind;
    double rope_theta;
    double rope_factor, rope_low_freq, rope_high_freq; /* factor; llama3: low_freq_factor, high_freq_factor */
    int64_t rope_original_positions;                   /* llama3, yarn, longrope */
    struct yarn yarn;
    struct longrope longrope;
    int rope_pairs; /* of ROPE_PROPORTIONAL: those that turn */
    struct multipliers multipliers;
    double query_temperature; /* layer_plan.temperature, in spans of rope_original_positions; 0: none */
    int32_t bos_id, pad_id;   /* -1: none */
    int32_t eos_ids[MODEL_MAX_EOS];
    int num_eos;
    enum dtype dtype; /* of the stored weights: f32, bf16 or f16 */

    /* Of a wrapper (a model of text and images), of which the text decoder above is trained and everything else carried
     * as it is; "": there is none. */
    char wrapper_type[32];         /* "mistral3" */
    char wrapper_architecture[64]; /* "Mistral3ForConditionalGeneration" */
    enum text_names text_names;    /* weights_open finds out which */

    struct adapter adapter; /* all else is frozen where there is one */
};

/* Where a norm stands: before a branch, on what it adds to the residual stream, or both. */
enum norm_place { NORM_PRE, NORM_POST, NORM_SANDWICH };

/* What a norm of the residual stream is. */
struct norm_plan {
    enum norm_kind kind;
    float offset; /* added to its weight: 1 where files hold w - 1 */
    bool bias;    /* it has a bias of its own; NORM_LAYER alone */
};

/* Two matrices multiply in a gated feed-forward, gate and up; in a plain one an activation stands between up and down.  Experts are
 * gated ones, of which each row has some. */
enum ffn_kind { FFN_GATED, FFN_PLAIN, FFN_EXPERTS };

/* What is normalised before the rotation, by the norm's kind and offset but with no mean taken away and no bias: nothing,
 * each head of the queries and of the keys, or all of a row's queries and all of its keys. */
enum qk_norm { QK_NORM_NONE, QK_NORM_HEADS, QK_NORM_ROWS };

/* layer_plan.block where every row of a document sees to its end. */
#define WHOLE_DOCUMENT INT64_MAX

/* What one layer computes: all that the decoder knows of a family besides its parameters. */
struct layer_plan {
    enum norm_place place;
    struct norm_plan norm;
    enum qk_norm qk_norm;
    bool qkv_bias;     /* the projections to queries, keys and values have biases */
    bool output_bias;  /* and that of what attention computed */
    double rope_theta; /* base of the rotary frequencies; 0: queries and keys are not rotated */
    bool rope_scaled;  /* stretched as the model's rope_kind says; false: plain */
    int rotary_dim;    /* elements of a head that are rotated, the first ones */
    int64_t window;    /* keys up to its own that a row sees, itself included; 0: all of its document */
    int64_t block;     /* rows of a block of its document, to whose end a row sees on; 0: to itself */
    enum ffn_kind ffn;
    enum gate gate; /* of a gated feed-forward block, and of experts */
    int64_t
        block_width; /* of a gated or plain block; of FFN_EXPERTS, of the gated one beside them (shared experts), 0: none */
    enum act act; /* of a plain one */
    float scale;  /* multiplies q.k */
    float
        branch_scale; /* multiplies what each branch adds to the residual stream, where no norm is after it; 1: nothing */

    /* Queries are multiplied, after the rotation, by 1 + temperature ln(1 + floor(position / temperature_span)). */
    double temperature;       /* 0: they are not */
    int64_t temperature_span; /* positions, from 0 on, for which that is 1 */
    float softcap;            /* of the scores, see struct attention_args; 0: none */
    int num_experts;          /* that have matrices of their own (PARAM_EXPERT): the model's, or none */
    struct route_args route;  /* of FFN_EXPERTS */
    bool clamps_experts; /* router and experts have biases, gate and up are held within the limits of clamp */
    struct clamp_args clamp;
    bool sinks; /* each head has a key more, without a value, whose score is learnt (op_sinks_forward) */
};

/* family_routes_by_sigmoid - whether its routers do: they may be corrected, have groups and a scale, and there may be shared experts,
 * and dense layers before all others.  family_leading_dense - how many of those.
 * family_gated_width - of the feed-forward blocks that are no experts.
 * family_expert_defaults - the numbers of experts by the family's class where they are 0; returns 0, or -1 with err set: the family has
 * no experts and is asked for some, or what it always does is asked for otherwise. */
static inline bool family_routes_by_sigmoid(const struct model_config *config) {
    return config->router_score == ROUTER_SIGMOID;
}
int family_leading_dense(const struct model_config *config);
int64_t family_gated_width(const struct model_config *config);
int family_expert_defaults(struct model_config *config, struct err *err);

/* family_has_softcaps - whether there may be soft-caps of scores and logits.
 * family_has_local_layers - whether the fields of local layers mean anything.  family_has_local_base - and rope_local_theta.
 * family_may_lack_window - whether there may be none of them.
 * family_layer_is_local - of layer 0 to L - 1.  family_local_defaults - the fields' values by the family's class; 0 where it
 * has no such layers. */
bool family_has_local_layers(const struct model_config *config);
bool family_has_local_base(const struct model_config *config);
bool family_has_softcaps(const struct model_config *config);
bool family_may_lack_window(const struct model_config *config);
bool family_layer_is_local(const struct model_config *config, int layer);
void family_local_defaults(struct model_config *config);

/* family_window_pattern - window_period and window_whole from whether each of the L layers is local.  The layers that see their
 * whole document must stand at equal distances, as in all that is published: returns -1, or the first layer that does not. */
int family_window_pattern(struct model_config *config, const bool *is_local);

/* family_layer_plan - of layer 0 to L - 1.  family_final_norm - what stands between the last layer and the head. */
struct layer_plan family_layer_plan(const struct model_config *config, int layer);
struct norm_plan family_final_norm(const struct model_config *config);

/* family_embedding_scale - multiplies the rows of the embedding where they enter the first layer, not where they are the
 * head: the root of C or a multiplier in some families, else 1. */
float family_embedding_scale(const struct model_config *config);

/* family_logit_scale - multiplies the logits, before a soft-cap (struct loss_args); 1: nothing. */
float family_logit_scale(const struct model_config *config);

/* family_has_multipliers - whether config's multipliers mean anything. */
bool family_has_multipliers(const struct model_config *config);

/* family_set_gguf - model_type and architecture of the family that GGUF files call `name` (length_bytes long).  Returns 0,
 * or -1 where no supported family is called so.  family_set_gguf_windows - of the families that share the name, the one
 * that has windows there, where there is one.  family_gguf_names - those that are, "llama, qwen3, nemotron", into text. */
int family_set_gguf(struct model_config *config, const char *name, size_t length_bytes);
void family_set_gguf_windows(struct model_config *config);
const char *family_gguf_names(char *text, size_t room_bytes);

/* family_has_temperature - whether queries may have a temperature; llama.cpp reads its key and yarn's bounds and multiplier
 * of such families alone. */
bool family_has_temperature(const struct model_config *config);

/* model_config_parse - from the text of config.json; of a wrapper, from its text_config.  origin names it in messages.
 * Returns 0, or -1 with err set: malformed, a missing key, a size out of range, a model_type or feature not
 * supported (named: sliding_window, layer_types, attention_bias, quantization_config, rope type, activation). */
int model_config_parse(struct model_config *config, const char *text, size_t length_bytes, const char *origin,
                       struct err *err);

/* model_config_tell - warns of what the text of config.json, which was parsed into config, leaves to its class's defaults, and
 * of dropout, which training does without.  origin names it. */
void model_config_tell(const struct model_config *config, const char *text, const char *origin);

/* model_config_set_family - model_type and architecture of a supported family.  Returns 0, or -1 with err set and nothing
 * changed. */
int model_config_set_family(struct model_config *config, const char *model_type, struct err *err);

/* model_config_rotate - rotary_dim for this part of the heads' width, as config.json has it (partial_rotary_factor); 0: the
 * part that the family's class rotates by itself.  model_rotary_dim - R, which is D where rotary_dim is 0. */
void model_config_rotate(struct model_config *config, double part);
int model_rotary_dim(const struct model_config *config);

/* model_config_check - the sizes agree with each other and fit in memory arithmetic (also for configurations
 * from GGUF and from the architecture block).  Returns 0, or -1 with err set. */
int model_config_check(const struct model_config *config, const char *origin, struct err *err);

/* model_config_text - config.json for this model, malloc'ed.  base_text, the source model's config.json or
 * NULL, is kept as it is but for what changed (dtype, vocab_size, architectures); both spellings are written.
 */
char *model_config_text(const struct model_config *config, const char *base_text);
/* model_config_text_quantised - the same for a model that is written quantised: with quantization_config, an object as JSON. */
char *model_config_text_quantised(const struct model_config *config, const char *base_text,
                                  const char *quantization_text);

/* family_next_param - the only enumeration of a model's parameters: kind by kind in the order of the family's
 * table, each through all layers that have it, in each layer expert by expert.  Start with PARAM_START:
 *     struct param at = PARAM_START;
 *     while (family_next_param(config, &at)) ...
 * The order is that of tensors in checkpoints and exported folders. */
#define PARAM_START ((struct param){ROLE_COUNT, -1, 0})
bool family_next_param(const struct model_config *config, struct param *at);

/* param_spec - the table's row of a kind; NULL where this model has no such parameter. */
const struct param_spec *param_spec(const struct model_config *config, enum tensor_role role);

enum { PARAM_NAME_ROOM = 160 };

/* family_is_text_name - whether a wrapper's tensor of that name belongs to its text decoder. */
bool family_is_text_name(const struct model_config *config, const char *name);

/* param_name, param_gguf_name - what the parameter is called in Hugging Face files
 * ("model.layers.3.mlp.up_proj.weight") and in GGUF files ("blk.3.ffn_up.weight"); return text, which has
 * PARAM_NAME_ROOM bytes.  Of PARAM_METADATA the latter is a key, the same in all layers ("xielu.beta"). */
const char *param_name(const struct model_config *config, struct param param, char *text);
const char *param_gguf_name(const struct model_config *config, struct param param, char *text);

/* param_own_name - what no other parameter is called: its name, and of PARAM_STACKED the expert's number after it. */
const char *param_own_name(const struct model_config *config, struct param param, char *text);

/* param_file_shape - of the tensor that has it in Hugging Face's files: its own shape, or of PARAM_STACKED that of all experts.
 * param_file_first - the number of its first element in that tensor: it is a run of them. */
struct tensor param_file_shape(const struct model_config *config, struct param param);
int64_t param_file_first(const struct model_config *config, struct param param);

/* param_split - of a kind, by its dimensions: heads, the feed-forward's width and the vocabulary are what ranks divide among themselves. */
enum split param_split(const struct param_spec *spec);

/* param_first_value - of a new model, every value of a kind that is not drawn (INIT_NORMAL, INIT_UNIFORM). */
double param_first_value(enum param_init init);

/* param_shape - [rows, cols], [rows] or [], of one value; data NULL, dtype f32. */
struct tensor param_shape(const struct model_config *config, struct param param);

/* param_slot - a number of its own below param_num_slots, for tables of parameters; not every slot is used.
 */
int64_t param_slot(const struct model_config *config, struct param param);
int64_t param_num_slots(const struct model_config *config);

/* model_num_parameters - scalars of the whole model.  model_num_active - of them, what one token makes use of: of the experts of a layer
 * those that it goes to.  model_num_trained - of what trains: all, or the adapter. */
int64_t model_num_parameters(const struct model_config *config);
int64_t model_num_active(const struct model_config *config);
int64_t model_num_trained(const struct model_config *config);

/* model_has_adapter - whether low-rank pairs hang on the model.  role_is_pair - A or B of one, or the lengths beside them;
 * role_is_lengths - these alone.  adapter_part_of - as what a kind of
 * parameter of the model itself may be trained beside them, of enum adapter_part; 0: not at all.  param_is_trained - whether a
 * kind of parameter moves: all but what is fixed, and beside an adapter the adapter alone.  param_is_saved - whether a
 * checkpoint holds it: everything, and of an adapter the pairs and what is trained whole.  param_saved_name - what a checkpoint calls
 * it, into text: of an adapter all is called as PEFT calls it, after the modules of transformers. */
bool model_has_adapter(const struct model_config *config);
bool role_is_pair(enum tensor_role role);
bool role_is_lengths(enum tensor_role role);
unsigned adapter_part_of(enum tensor_role role);
bool param_is_trained(const struct model_config *config, enum tensor_role role);
bool param_is_saved(const struct model_config *config, enum tensor_role role);
const char *param_saved_name(const struct model_config *config, struct param param, char *text);
/* param_saved_twin - the name of a second tensor with the same values, into text: of an adapter that trains an embedding which is the
 * head as well, that of the head, for peft makes two of them.  NULL: there is none. */
const char *param_saved_twin(const struct model_config *config, enum tensor_role role, char *text);

/* param_file_type - of a kind in files whose tensors are of a type. */
enum dtype param_file_type(const struct model_config *config, enum tensor_role role, enum dtype of_file);

/* model_saved_type - of the tensors of a checkpoint that others load: the model's, or the adapter's. */
enum dtype model_saved_type(const struct model_config *config);

/* model_rope_tables - cos and sin [positions, R/2], scaled as rope_kind says; frequencies and angles are
 * rounded to f32 where the reference programs round them (family_rope.c says why).  Of kinds that depend on how long a text
 * is, all texts of a run count as long as its longest may be: `positions`. */
void model_rope_tables(const struct model_config *config, int64_t positions, float *cos, float *sin);

/* model_rope_divisor - what scaling divides frequency i of R/2 by (1 when plain).  model_rope_amplitude - what multiplies
 * cos and sin: the attention factor of yarn and longrope, otherwise 1. */
double model_rope_divisor(const struct model_config *config, int i);
double model_rope_amplitude(const struct model_config *config);

/* yarn_temperature - the amplitude that yarn takes for a factor and an mscale. */
double yarn_temperature(double factor, double mscale);
