/* gguf_rope.c - the rotary positions that a GGUF file describes: keys of rope.scaling, and the tensor of divisors. */
#include <math.h>
#include <stdlib.h>

#include "checkpoints/gguf/gguf_settings.h"

/* follows_llama3 - do the divisors come from these parameters?  They were computed in f32 or f64 and stored
 * as f32. */
static bool follows_llama3(const struct model_config *config, const float *divisors) {
    for (int i = 0; i < model_rotary_dim(config) / 2; i++) {
        double expected = model_rope_divisor(config, i);
        if (!(fabs((double)divisors[i] - expected) <= 1e-4 * expected))
            return false;
    }
    return true;
}

/* find_llama3 - the lowest frequency is divided by the whole factor.  Published models use low 1, high 4 and
 * an original context of 8192; other powers of two are tried after that.  Two lengths that give the same
 * divisors are the same model. */
static int find_llama3(const char *path, const float *divisors, struct model_config *config,
                       struct err *err) {
    config->rope_factor = (double)divisors[model_rotary_dim(config) / 2 - 1];
    if (config->rope_factor == 1.0 && follows_llama3(config, divisors)) /* still ROPE_PLAIN: all are 1 */
        return 0;
    config->rope_kind = ROPE_LLAMA3;
    config->rope_low_freq = 1;
    config->rope_high_freq = 4;
    config->rope_original_positions = 8192;
    if (follows_llama3(config, divisors))
        return 0;
    for (int64_t original = 16; original <= 1 << 20; original *= 2) {
        config->rope_original_positions = original;
        if (follows_llama3(config, divisors))
            return 0;
    }
    return err_set(err,
                   "'%s': tensor '%s' does not follow the llama3 rule with low_freq_factor 1 and "
                   "high_freq_factor 4; convert from the original Hugging Face model instead",
                   path, GGUF_ROPE_FREQS);
}

/* read_rope_freqs - a divisor for each pair of a head; which settings of llama3 make them is found by
 * find_llama3. */
static int read_rope_freqs(const struct gguf *file, int64_t index, struct model_config *config,
                           struct err *err) {
    int64_t half = model_rotary_dim(config) / 2;
    struct gguf_tensor tensor = gguf_tensor(file, index);
    if (tensor.ndim != 1 || tensor.count != half || half < 1)
        return err_set(err, "'%s': tensor '%s' has %lld values, expected %lld", gguf_path(file),
                       GGUF_ROPE_FREQS, (long long)tensor.count, (long long)half);
    float *divisors = xmalloc((size_t)half * sizeof *divisors);
    int status = gguf_read_f32(file, index, 0, half, divisors, err);
    if (status == 0)
        status = find_llama3(gguf_path(file), divisors, config, err);
    free(divisors);
    return status;
}

/* read_yarn - what the type has besides a factor.  llama.cpp finds the amplitude by the factor, of families with a temperature
 * also by a multiplier, which is mscale_all_dim beside an mscale of 1; attn_factor multiplies that. */
static int read_yarn(struct gguf_settings settings, struct model_config *config, struct err *err) {
    struct yarn *yarn = &config->yarn;
    double beside, part;
    config->rope_kind = ROPE_YARN;
    if (gguf_setting_size(settings, "rope.scaling.original_context_length", config->max_positions,
                          &config->rope_original_positions, err) != 0 ||
        gguf_setting_double(settings, "rope.scaling.yarn_beta_fast", YARN_BETA_FAST, &yarn->beta_fast, err) !=
            0 ||
        gguf_setting_double(settings, "rope.scaling.yarn_beta_slow", YARN_BETA_SLOW, &yarn->beta_slow, err) !=
            0 ||
        gguf_setting_double(settings, "rope.scaling.yarn_log_multiplier", 0, &yarn->mscale_all_dim, err) !=
            0 ||
        gguf_setting_double(settings, "attention.temperature_scale", 0, &config->query_temperature, err) !=
            0 ||
        gguf_setting_double(settings, "rope.scaling.attn_factor", 1, &beside, err) != 0 ||
        gguf_setting_double(settings, "rope.scaling.yarn_ext_factor", 1, &part, err) != 0)
        return -1;
    if (part != 1)
        return err_set(err,
                       "'%s' mixes yarn and linear rope scaling (yarn_ext_factor %g), which is not supported",
                       gguf_path(settings.file), part);
    yarn->mscale = yarn->mscale_all_dim != 0;
    yarn->exact_bounds = family_gguf_has_exact_bounds(config);
    if (beside != 1)
        yarn->attention_factor = beside * model_rope_amplitude(config);
    return 0;
}

/* refuse_amplitude - an attention factor without yarn: llama.cpp would multiply by it all the same. */
static int refuse_amplitude(struct gguf_settings settings, struct err *err) {
    double factor;
    if (gguf_setting_double(settings, "rope.scaling.attn_factor", 1, &factor, err) != 0)
        return -1;
    return factor == 1
               ? 0
               : err_set(err, "'%s' sets an attention factor of %g without yarn, which is not supported",
                         gguf_path(settings.file), factor);
}

/* read_factors - a tensor of longrope's. */
static int read_factors(const struct gguf *file, const char *name, int num_pairs, float *factors,
                        struct err *err) {
    int64_t index = gguf_find_tensor(file, name);
    if (index < 0)
        return err_set(err, "'%s' has no tensor '%s', but the other one of longrope", gguf_path(file), name);
    struct gguf_tensor tensor = gguf_tensor(file, index);
    if (tensor.ndim != 1 || tensor.count != num_pairs || num_pairs > LONGROPE_MAX_PAIRS)
        return err_set(err, "'%s': tensor '%s' has %lld values, expected %d (at most %d)", gguf_path(file),
                       name, (long long)tensor.count, num_pairs, LONGROPE_MAX_PAIRS);
    return gguf_read_f32(file, index, 0, num_pairs, factors, err);
}

/* read_longrope - the factors, and what multiplies cosines and sines, which no rule finds there. */
static int read_longrope(struct gguf_settings settings, struct model_config *config, struct err *err) {
    struct longrope *longrope = &config->longrope;
    if (!family_gguf_has_longrope(config))
        return err_set(err, "'%s' has factors of longrope, which llama.cpp does not look at in a %s",
                       gguf_path(settings.file), family_gguf(config));
    config->rope_kind = ROPE_LONG;
    longrope->num_pairs = model_rotary_dim(config) / 2;
    if (read_factors(settings.file, GGUF_ROPE_SHORT, longrope->num_pairs, longrope->short_factors, err) !=
            0 ||
        read_factors(settings.file, GGUF_ROPE_LONG, longrope->num_pairs, longrope->long_factors, err) != 0 ||
        gguf_setting_size(settings, "rope.scaling.original_context_length", config->max_positions,
                          &config->rope_original_positions, err) != 0 ||
        gguf_setting_double(settings, "rope.scaling.attn_factor", 1, &config->yarn.attention_factor, err) !=
            0)
        return -1;
    config->rope_factor = (double)config->max_positions / (double)config->rope_original_positions;
    return 0;
}

int gguf_read_rope(struct gguf_settings settings, struct model_config *config, struct err *err) {
    const struct gguf *file = settings.file;
    int64_t freqs = gguf_find_tensor(file, GGUF_ROPE_FREQS);
    char type_key[FAMILY_KEY_ROOM];
    bool has_type = gguf_find_key(file, family_gguf_key(config, "rope.scaling.type", type_key)) >= 0;
    if (gguf_setting_double(settings, "rope.freq_base", 10000, &config->rope_theta, err) != 0 ||
        gguf_setting_double(settings, "rope.scaling.factor", 1, &config->rope_factor, err) != 0)
        return -1;
    /* llama.cpp takes a factor without a type for linear, too. */
    bool is_yarn = gguf_setting_is(file, type_key, "yarn");
    if (!has_type || gguf_setting_is(file, type_key, "linear"))
        config->rope_kind = config->rope_factor == 1 ? ROPE_PLAIN : ROPE_LINEAR;
    else if (!is_yarn && !gguf_setting_is(file, type_key, "none"))
        return err_set(err, "'%s' sets '%s' to something other than linear and yarn, which is not supported",
                       gguf_path(file), type_key);
    if (gguf_find_tensor(file, GGUF_ROPE_SHORT) >= 0 || gguf_find_tensor(file, GGUF_ROPE_LONG) >= 0)
        return read_longrope(settings, config, err);
    if ((is_yarn ? read_yarn(settings, config, err) : refuse_amplitude(settings, err)) != 0)
        return -1;
    if (family_has_local_base(config) && (freqs >= 0 || (is_yarn && !family_gguf_stretches(config))))
        return err_set(
            err,
            "'%s' has %s: in a %s llama.cpp and the original model compute otherwise with it, so it is not "
            "certain what was meant",
            gguf_path(file), freqs >= 0 ? "a tensor '" GGUF_ROPE_FREQS "'" : "yarn rope scaling",
            config->model_type);
    if (freqs < 0)
        return 0;
    if (config->rope_kind != ROPE_PLAIN)
        return err_set(err, "'%s' has both %s rope scaling and a tensor '%s', which is not supported",
                       gguf_path(file), is_yarn ? "yarn" : "linear", GGUF_ROPE_FREQS);
    return read_rope_freqs(file, freqs, config, err);
}
