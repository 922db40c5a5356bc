/* family_foreign.c - keys of other models' config.json that change what a layer computes.  The classes of the families here do
 * not know them, and some programs follow them all the same: with such a key it is not certain what the model is.
 * Source: configuration classes of transformers (gemma2, granite, cohere, olmo, llama4, phi, minicpm, gpt_neox, falcon), and published files of apertus. */
#include "checkpoints/family/family_foreign.h"

#include <math.h>
#include <stdlib.h>

/* A key and the number with which it changes nothing; true counts as 1, false as 0. */
struct foreign_key {
    const char *key;
    double neutral;
};

/* is_neutral - a list or an object is, while it is empty. */
static bool is_neutral(const json_t *value, double neutral) {
    if (json_is_array(value) || json_is_object(value))
        return json_array_size(value) == 0 && json_object_size(value) == 0;
    if (json_is_boolean(value))
        return json_is_true(value) == (neutral != 0);
    return json_is_number(value) && fabs(json_number_value(value) - neutral) <= 1e-6 * fabs(neutral);
}

/* refuse_value - returns -1 with err set. */
static int refuse_value(const struct model_config *config, const char *key, const json_t *value,
                        struct err *err) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    err_set(
        err,
        "%s is %.60s: layers of model_type '%s' are not computed so; if the model was trained without it, "
        "remove the key",
        key, text ? text : "?", config->model_type);
    free(text);
    return -1;
}

static int refuse_keys(const struct model_config *config, const json_t *text, const struct foreign_key *keys,
                       size_t num_keys, struct err *err) {
    for (size_t i = 0; i < num_keys; i++) {
        const json_t *value = json_find(text, keys[i].key);
        if (value && !is_neutral(value, keys[i].neutral))
            return refuse_value(config, keys[i].key, value, err);
    }
    return 0;
}

/* What no family here has. */
static const struct foreign_key never[] = {
    {"clip_qkv", 0},
    {"logit_scale", 1},
    {"scale_emb", 1},
    {"use_parallel_residual", 0},
    {"parallel_attn", 0},
    {"alibi", 0},
    {"is_causal", 1},
    {"use_bidirectional_attention", 0},
    {"add_cross_attention", 0},
    {"cross_attention_layers", 0},
    {"attention_chunk_size", 0},
    {"interleaved_sliding_window", 0},
    {"attn_temperature_tuning", 0},
    {"llama_4_scaling_beta", 0},
    {"rope_interleaved", 0},
    {"rope_interleave", 0},
    {"qk_layernorm", 0},
    {"use_bias", 0},
    {"bias", 0},
    {"attention_out_bias", 0},
    {"lm_head_bias", 0},
    {"router_jitter_noise", 0},
    {"shared_expert_intermediate_size", 0},
    {"num_shared_experts", 0},
};

int family_refuse_foreign(const struct model_config *config, const json_t *text, struct err *err) {
    struct layer_plan plan = family_layer_plan(config, 0);
    bool m = family_has_multipliers(config);
    double part = (double)model_rotary_dim(config) / config->head_dim;
    const struct foreign_key by_plan[] = {
        {"query_pre_attn_scalar", config->query_scalar ? (double)config->query_scalar : config->head_dim},
        {"attention_multiplier", (double)plan.scale},
        {"residual_multiplier", (double)plan.branch_scale},
        {"embedding_multiplier", m ? config->multipliers.embedding : 1},
        {"logits_scaling", m ? config->multipliers.logits : 1},
        {"attn_logit_softcapping", (double)config->attention_softcap},
        {"final_logit_softcapping", (double)config->logit_softcap},
        {"qkv_bias", plan.qkv_bias ? 1 : 0},
        {"swiglu_alpha", (double)plan.clamp.alpha},
        {"swiglu_limit", (double)plan.clamp.limit},
        {"num_experts", config->num_experts},
        {"num_local_experts", config->num_experts},
        {"n_routed_experts", config->num_experts},
        {"n_shared_experts", config->num_shared},
        {"norm_topk_prob", config->renormalises ? 1 : 0},
        {"output_router_logits", config->adds_router_loss ? 1 : 0},
        {"use_qk_norm", plan.qk_norm != QK_NORM_NONE ? 1 : 0},
        {"qk_norm", plan.qk_norm != QK_NORM_NONE ? 1 : 0},
        {"post_norm", plan.place != NORM_PRE ? 1 : 0},
        {"rotary_pct", part},
        {"rope_pct", part},
        {"rope_percent", part},
    };
    const struct foreign_key dense[] = {{"mlp_only_layers", 0}, {"decoder_sparse_step", 1}};
    if (refuse_keys(config, text, never, sizeof never / sizeof never[0], err) != 0 ||
        (!family_of(config)->experts.may_be_dense &&
         refuse_keys(config, text, dense, sizeof dense / sizeof dense[0], err) != 0))
        return -1;
    return refuse_keys(config, text, by_plan, sizeof by_plan / sizeof by_plan[0], err);
}
