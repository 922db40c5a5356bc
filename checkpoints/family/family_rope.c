/* family_rope.c - rotary position tables: angle(position, i) = position * theta^(-2 i / R) / divisor(i), where R of the D
 * elements of a head turn.
 *
 * Rounded to f32 at the places where the reference programs round: exponent, power, reciprocal, scaled
 * frequency, angle.  The models were trained with those angles.  Exact frequencies would turn position p by
 * up to p * 6e-8 radians against them (measured: cosines differ by 5e-4 at position 8192, 3e-5 at 512), which
 * is more than everything else in f32 together.  Sine and cosine are taken in f64 and rounded once.
 * Source: Su et al. 2021 (RoFormer); the llama3 rule as in Llama 3.1's published configuration; Peng et al. 2023 (YaRN),
 * sections 3.2 to 3.4; Ding et al. 2024 (LongRoPE); all rounded as transformers' modeling_rope_utils.py rounds. */
#include <math.h>

#include "checkpoints/family/family_internal.h"

static const double two_pi = 6.283185307179586476925;

void model_config_rotate(struct model_config *config, double part) {
    double by_class = family_of(config)->default_rotary_part;
    int dim = (int)(config->head_dim * (part > 0       ? part
                                        : by_class > 0 ? by_class
                                                       : 1)); /* cut, as the class cuts it */
    config->rotary_dim = dim == config->head_dim ? 0 : dim;
}

int model_rotary_dim(const struct model_config *config) {
    return config->rotary_dim ? config->rotary_dim : config->head_dim;
}

/* positions_per_radian - theta^(2 i / R).  plain_frequency - its reciprocal, radians per position. */
static float positions_per_radian(const struct model_config *config, int i) {
    float exponent = (float)(2 * i) / (float)model_rotary_dim(config);
    return (float)pow((double)(float)config->rope_theta, (double)exponent);
}

static float plain_frequency(const struct model_config *config, int i) {
    return 1.0f / positions_per_radian(config, i);
}

/* yarn_bound - the frequency, as a number between two, that turns so often within the original positions. */
static double yarn_bound(const struct model_config *config, double turns) {
    return model_rotary_dim(config) * log((double)config->rope_original_positions / (turns * two_pi)) /
           (2 * log(config->rope_theta));
}

/* yarn_frequency - the plain one below the first bound, divided by the factor above the second, mixed between them. */
static float yarn_frequency(const struct model_config *config, int i) {
    double low = yarn_bound(config, config->yarn.beta_fast),
           high = yarn_bound(config, config->yarn.beta_slow);
    if (!config->yarn.exact_bounds) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, model_rotary_dim(config) - 1);
    if (low == high)
        high += 0.001; /* a step, and not a division by zero */
    float ramp = ((float)i - (float)low) / (float)(high - low);
    float kept = 1.0f - fminf(fmaxf(ramp, 0.0f), 1.0f), plain = plain_frequency(config, i);
    float stretched = 1.0f / ((float)config->rope_factor * positions_per_radian(config, i));
    return stretched * (1.0f - kept) + plain * kept;
}

double yarn_temperature(double factor, double mscale) {
    return factor > 1 ? 0.1 * mscale * log(factor) + 1 : 1;
}

double model_rope_amplitude(const struct model_config *config) {
    const struct yarn *yarn = &config->yarn;
    if (config->rope_kind != ROPE_YARN && config->rope_kind != ROPE_LONG)
        return 1;
    if (yarn->attention_factor > 0)
        return yarn->attention_factor;
    if (config->rope_kind == ROPE_LONG)
        return config->rope_factor > 1
                   ? sqrt(1 + log(config->rope_factor) / log((double)config->rope_original_positions))
                   : 1;
    if (yarn->mscale == 0 || yarn->mscale_all_dim == 0)
        return yarn_temperature(config->rope_factor, 1);
    return yarn_temperature(config->rope_factor, yarn->mscale) /
           yarn_temperature(config->rope_factor, yarn->mscale_all_dim);
}

double model_rope_divisor(const struct model_config *config, int i) {
    if (config->rope_kind == ROPE_PLAIN || config->rope_kind == ROPE_DYNAMIC)
        return 1.0;
    if (config->rope_kind == ROPE_LINEAR)
        return config->rope_factor;
    if (config->rope_kind == ROPE_YARN)
        return (double)plain_frequency(config, i) / (double)yarn_frequency(config, i);
    /* llama3: short waves stay, long waves are stretched by factor, those between change smoothly. */
    double original = (double)config->rope_original_positions;
    double wavelength = two_pi / (double)plain_frequency(config, i);
    if (wavelength < original / config->rope_high_freq)
        return 1.0;
    if (wavelength > original / config->rope_low_freq)
        return config->rope_factor;
    double smooth =
        (original / wavelength - config->rope_low_freq) / (config->rope_high_freq - config->rope_low_freq);
    return 1.0 / ((1.0 - smooth) / config->rope_factor + smooth);
}

/* dynamic_theta - the base for texts of that many positions. */
static double dynamic_theta(const struct model_config *config, int64_t positions) {
    double dim = model_rotary_dim(config), trained = (double)config->max_positions;
    double longest = (double)positions > trained ? (double)positions : trained;
    return config->rope_theta *
           pow(config->rope_factor * longest / trained - (config->rope_factor - 1), dim / (dim - 2));
}

/* frequency_of - in a run whose texts have at most that many positions. */
static float frequency_of(const struct model_config *config, int i, int64_t positions) {
    struct model_config stretched = *config;
    const struct longrope *factors = &config->longrope;
    switch (config->rope_kind) {
    case ROPE_YARN:
        return yarn_frequency(config, i);
    case ROPE_DYNAMIC:
        stretched.rope_theta = dynamic_theta(config, positions);
        return plain_frequency(&stretched, i);
    case ROPE_LONG:
        return 1.0f / ((positions > config->rope_original_positions ? factors->long_factors[i]
                                                                    : factors->short_factors[i]) *
                       positions_per_radian(config, i));
    case ROPE_PROPORTIONAL:
        return i < config->rope_pairs ? plain_frequency(config, i) / (float)config->rope_factor : 0;
    default:
        return (float)((double)plain_frequency(config, i) / model_rope_divisor(config, i));
    }
}

void model_rope_tables(const struct model_config *config, int64_t positions, float *cos_table,
                       float *sin_table) {
    int half = model_rotary_dim(config) / 2;
    float amplitude = (float)model_rope_amplitude(config);
    for (int i = 0; i < half; i++) {
        float frequency = frequency_of(config, i, positions);
        for (int64_t position = 0; position < positions; position++) {
            float angle = (float)position * frequency;
            cos_table[position * half + i] = amplitude * (float)cos((double)angle);
            sin_table[position * half + i] = amplitude * (float)sin((double)angle);
        }
    }
}
