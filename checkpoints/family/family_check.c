/* family_check.c - whether the sizes and numbers of a model are ones that can be computed with. */
#include "checkpoints/family/family_internal.h"

#include <math.h>

/* check_ranges - each size by itself.  The limits keep every product below in 64 bits and are far above any
 * published model. */
static int check_ranges(const struct model_config *config, struct err *err) {
    const struct {
        const char *key;
        int64_t value, max;
    } sizes[] = {
        {"hidden_size", config->width, 1 << 20},
        {"intermediate_size", config->ffn_width, MODEL_MAX_FFN},
        {"vocab_size", config->vocab_size, 1 << 24},
        {"max_position_embeddings", config->max_positions, INT32_MAX},
        {"num_hidden_layers", config->num_layers, MODEL_MAX_LAYERS},
        {"num_attention_heads", config->num_heads, 1 << 14},
        {"num_key_value_heads", config->num_kv_heads, 1 << 14},
        {"head_dim", config->head_dim, 1 << 12},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].max)
            return err_set(err, "%s is %lld, expected 1 to %lld", sizes[i].key, (long long)sizes[i].value,
                           (long long)sizes[i].max);
    return 0;
}

/* check_yarn - its numbers, and that no cosine becomes zero, turned or infinite. */
static int check_yarn(const struct model_config *config, struct err *err) {
    const struct yarn *yarn = &config->yarn;
    double amplitude = model_rope_amplitude(config);
    if (!(config->rope_theta > 1))
        return err_set(err, "rope_theta is %g, expected more than 1 with yarn rope scaling",
                       config->rope_theta);
    if (!(yarn->beta_slow > 0) || !(yarn->beta_fast >= yarn->beta_slow) || !isfinite(yarn->beta_fast))
        return err_set(err,
                       "yarn rope scaling has beta_fast %g and beta_slow %g, expected 0 < slow, and fast at "
                       "least slow",
                       yarn->beta_fast, yarn->beta_slow);
    if (config->rope_original_positions < 1)
        return err_set(err,
                       "yarn rope scaling has original_max_position_embeddings %lld, expected at least 1",
                       (long long)config->rope_original_positions);
    if (!(amplitude > 0) || !(amplitude < 1e6))
        return err_set(err,
                       "yarn rope scaling multiplies cos and sin by %g (attention_factor, or mscale and "
                       "mscale_all_dim), expected a number from 0 to 1e6",
                       amplitude);
    return 0;
}

/* check_longrope - as many divisors as frequencies, and none that turns or stops one. */
static int check_longrope(const struct model_config *config, struct err *err) {
    const struct longrope *longrope = &config->longrope;
    double amplitude = config->rope_original_positions > 1 ? model_rope_amplitude(config) : 0;
    if (longrope->num_pairs != model_rotary_dim(config) / 2 || longrope->num_pairs > LONGROPE_MAX_PAIRS)
        return err_set(err, "longrope has %d factors for %d frequencies (at most %d are supported)",
                       longrope->num_pairs, model_rotary_dim(config) / 2, LONGROPE_MAX_PAIRS);
    for (int i = 0; i < longrope->num_pairs; i++)
        if (!(longrope->short_factors[i] > 0) || !isfinite(longrope->short_factors[i]) ||
            !(longrope->long_factors[i] > 0) || !isfinite(longrope->long_factors[i]))
            return err_set(err, "short_factor[%d] is %g and long_factor[%d] %g, expected positive numbers", i,
                           (double)longrope->short_factors[i], i, (double)longrope->long_factors[i]);
    if (!(amplitude > 0) || !(amplitude < 1e6))
        return err_set(err,
                       "longrope multiplies cos and sin by %g (attention_factor, or factor and "
                       "original_max_position_embeddings %lld, expected above 1)",
                       amplitude, (long long)config->rope_original_positions);
    return 0;
}

/* check_rope - the numbers that the tables divide by.  Written so that NaN fails. */
static int check_rope(const struct model_config *config, struct err *err) {
    if (!(config->rope_theta > 0) || !isfinite(config->rope_theta))
        return err_set(err, "rope_theta is %g, expected a positive number", config->rope_theta);
    if (!isfinite(config->query_temperature) || config->query_temperature < 0)
        return err_set(err, "llama_4_scaling_beta is %g, expected a number from 0 on",
                       config->query_temperature);
    if (config->query_temperature > 0 && config->rope_kind != ROPE_YARN)
        return err_set(
            err,
            "llama_4_scaling_beta %g needs the original positions of yarn rope scaling, and there is none",
            config->query_temperature);
    if (config->rope_kind == ROPE_PLAIN)
        return 0;
    if (family_of(config)->default_original && config->rope_kind != ROPE_LONG)
        return err_set(err, "model_type '%s' has positions that are plain or longrope alone",
                       config->model_type);
    if (!(config->rope_factor > 0) || !isfinite(config->rope_factor))
        return err_set(err, "the rope scaling factor is %g, expected a positive number", config->rope_factor);
    if (config->rope_kind == ROPE_LINEAR)
        return 0;
    if (config->rope_kind == ROPE_YARN)
        return check_yarn(config, err);
    if (config->rope_kind == ROPE_LONG)
        return check_longrope(config, err);
    if (config->rope_kind == ROPE_DYNAMIC)
        return model_rotary_dim(config) > 2 && config->rope_factor >= 1
                   ? 0
                   : err_set(
                         err,
                         "dynamic rope scaling has a factor of %g for %d elements of a head, expected at least 1 for more than 2",
                         config->rope_factor, model_rotary_dim(config));
    if (config->rope_kind == ROPE_PROPORTIONAL)
        return config->rope_pairs > 0 && config->rope_pairs <= config->head_dim / 2 && !config->rotary_dim
                   ? 0
                   : err_set(err, "proportional rope turns %d pairs of %d, expected 1 to all of them",
                             config->rope_pairs, config->head_dim / 2);
    if (!(config->rope_low_freq > 0) || !(config->rope_high_freq > config->rope_low_freq) ||
        !isfinite(config->rope_high_freq))
        return err_set(err,
                       "llama3 rope scaling has low_freq_factor %g and high_freq_factor %g, expected "
                       "0 < low < high",
                       config->rope_low_freq, config->rope_high_freq);
    if (config->rope_original_positions < 1)
        return err_set(err,
                       "llama3 rope scaling has original_max_position_embeddings %lld, expected at "
                       "least 1",
                       (long long)config->rope_original_positions);
    return 0;
}

/* check_local - of a family with local layers. */
static int check_local(const struct model_config *config, struct err *err) {
    if (!family_has_local_layers(config))
        return 0;
    if (config->window < 0 || config->window > INT32_MAX ||
        (config->window && (config->window_period < 1 || config->window_whole < 0 ||
                            config->window_whole >= config->window_period)))
        return err_set(err,
                       "sliding_window is %lld on all layers but every %d-th, expected positive numbers of "
                       "reasonable size",
                       (long long)config->window, config->window_period);
    if (family_has_local_base(config) &&
        (!(config->rope_local_theta > 0) || !isfinite(config->rope_local_theta)))
        return err_set(err, "rope_local_base_freq is %g, expected a positive number",
                       config->rope_local_theta);
    if (!(config->attention_softcap >= 0) || !isfinite(config->attention_softcap) ||
        !(config->logit_softcap >= 0) || !isfinite(config->logit_softcap))
        return err_set(
            err, "attn_logit_softcapping is %g and final_logit_softcapping %g, expected positive numbers",
            (double)config->attention_softcap, (double)config->logit_softcap);
    if (config->query_scalar < 0 || config->query_scalar > INT32_MAX)
        return err_set(err, "query_pre_attn_scalar is %lld, expected a positive number of reasonable size",
                       (long long)config->query_scalar);
    return 0;
}

/* check_multipliers - of a family that has them: what is not positive would end a gradient. */
static int check_multipliers(const struct model_config *config, struct err *err) {
    const struct multipliers *m = &config->multipliers;
    bool fine = m->embedding > 0 && m->residual > 0 && m->attention > 0 && m->logits > 0 &&
                isfinite(m->embedding) && isfinite(m->residual) && isfinite(m->attention) &&
                isfinite(m->logits);
    if (fine || !family_has_multipliers(config))
        return 0;
    return err_set(
        err,
        "embedding_multiplier is %g, residual_multiplier %g, attention_multiplier %g, logits_scaling %g, "
        "expected positive numbers",
        m->embedding, m->residual, m->attention, m->logits);
}

/* check_token_ids - an id beyond the vocabulary would read past the end of the embedding; -1 means none. */
static int check_token_ids(const struct model_config *config, struct err *err) {
    if (config->num_eos < 0 || config->num_eos > MODEL_MAX_EOS)
        return err_set(err, "%d end-of-sequence tokens, at most %d are supported", config->num_eos,
                       MODEL_MAX_EOS);
    for (int i = 0; i < config->num_eos; i++)
        if (config->eos_ids[i] < 0 || config->eos_ids[i] >= config->vocab_size)
            return err_set(err, "eos_token_id %d is outside the vocabulary of %lld tokens",
                           config->eos_ids[i], (long long)config->vocab_size);
    if (config->bos_id < -1 || config->bos_id >= config->vocab_size)
        return err_set(err, "bos_token_id %d is outside the vocabulary of %lld tokens", config->bos_id,
                       (long long)config->vocab_size);
    if (config->pad_id < -1 || config->pad_id >= config->vocab_size)
        return err_set(err, "pad_token_id %d is outside the vocabulary of %lld tokens", config->pad_id,
                       (long long)config->vocab_size);
    return 0;
}

/* check_dense - of a model with experts: some layer has them, and the others' blocks have a width. */
static int check_dense(const struct model_config *config, struct err *err) {
    int num_dense = 0;
    for (int layer = 0; layer < config->num_layers; layer++)
        num_dense += layer_set_has(&config->dense_layers, layer);
    if (num_dense == 0 ||
        (num_dense < config->num_layers && config->dense_width > 0 && config->dense_width <= MODEL_MAX_FFN))
        return 0;
    return err_set(
        err,
        "%d of %d layers are dense (mlp_only_layers, decoder_sparse_step, first_k_dense_replace), with an intermediate_size of %lld: "
        "expected fewer, and a size of 1 to %d",
        num_dense, config->num_layers, (long long)config->dense_width, MODEL_MAX_FFN);
}

/* check_groups - of a router of sigmoids: groups of equal size, in the chosen ones of which a row finds its experts. */
static int check_groups(const struct model_config *config, struct err *err) {
    int groups = config->num_groups, chosen = config->num_groups_chosen;
    if (!family_routes_by_sigmoid(config))
        return 0;
    bool fits = groups >= 1 && groups <= ROUTE_MAX_GROUPS && config->num_experts % groups == 0 &&
                (groups == 1 || config->num_experts / groups > 1) && chosen >= 1 && chosen <= groups &&
                config->num_experts / groups * (int64_t)chosen >= config->num_chosen;
    if (!fits)
        return err_set(
            err,
            "n_group is %d and topk_group %d, expected at most %d groups of two or more of the %d experts, "
            "and %d experts in the chosen ones",
            groups, chosen, ROUTE_MAX_GROUPS, config->num_experts, config->num_chosen);
    if (!(config->route_scale > 0) || !(config->route_scale < 1e6))
        return err_set(err, "routed_scaling_factor is %g, expected a number above 0, at most 1e6",
                       config->route_scale);
    if (config->num_shared < 0 || config->num_shared * config->ffn_width > MODEL_MAX_FFN)
        return err_set(err, "n_shared_experts is %d, expected at most %d elements of all together",
                       config->num_shared, MODEL_MAX_FFN);
    return 0;
}

/* check_relations - sizes against each other, and the numbers that have no key of their own above. */
static int check_relations(const struct model_config *config, struct err *err) {
    if (config->num_experts < 0 || config->num_experts > MODEL_MAX_EXPERTS ||
        config->num_experts * config->ffn_width > MODEL_MAX_FFN)
        return err_set(err,
                       "%d experts with an intermediate_size of %lld, expected at most %d, and %d together",
                       config->num_experts, (long long)config->ffn_width, MODEL_MAX_EXPERTS, MODEL_MAX_FFN);
    if (config->num_experts > 0 && (config->num_chosen < 1 || config->num_chosen > config->num_experts))
        return err_set(err, "num_experts_per_tok is %d, expected 1 to the %d experts", config->num_chosen,
                       config->num_experts);
    if (check_dense(config, err) != 0 || check_groups(config, err) != 0)
        return -1;
    if (!(config->router_loss >= 0) || !isfinite(config->router_loss))
        return err_set(err, "router_aux_loss_coef is %g, expected 0 or more", config->router_loss);
    if (config->num_heads % config->num_kv_heads != 0)
        return err_set(err, "num_attention_heads %d is not a multiple of num_key_value_heads %d",
                       config->num_heads, config->num_kv_heads);
    if (config->head_dim % 2 != 0)
        return err_set(err, "head_dim is %d, expected an even number (rotary positions turn pairs)",
                       config->head_dim);
    if (config->rotary_dim < 0 || config->rotary_dim > config->head_dim || config->rotary_dim % 2 != 0)
        return err_set(err, "%d of the %d elements of a head would be rotated, expected an even number",
                       config->rotary_dim, config->head_dim);
    if (!(config->norm_eps > 0) || !(config->norm_eps < 1))
        return err_set(err, "%s is %g, expected a number between 0 and 1", family_eps_key(family_of(config)),
                       (double)config->norm_eps);
    if (!(config->initializer_range > 0) || !(config->initializer_range < 10))
        return err_set(err, "initializer_range is %g, expected a number between 0 and 10",
                       (double)config->initializer_range);
    if (config->dtype != DTYPE_F32 && config->dtype != DTYPE_BF16 && config->dtype != DTYPE_F16)
        return err_set(err, "the weights' type must be f32, bf16 or f16");
    /* By the ranges above a layer has less than 2^49 parameters: the sum cannot overflow, training's
     * 16 bytes each could. */
    if (model_num_parameters(config) > INT64_MAX / 64)
        return err_set(err, "the model would have %lld parameters, too many to address",
                       (long long)model_num_parameters(config));
    return 0;
}

int model_config_check(const struct model_config *config, const char *origin, struct err *err) {
    if (family_require(config->model_type, err) && check_ranges(config, err) == 0 &&
        check_relations(config, err) == 0 && check_rope(config, err) == 0 && check_local(config, err) == 0 &&
        check_multipliers(config, err) == 0 && check_token_ids(config, err) == 0)
        return 0;
    return err_prefix(err, "model config '%s'", origin);
}
