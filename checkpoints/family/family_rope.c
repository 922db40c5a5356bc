/* family_rope.c - rotary position tables: angle(position, i) = position * theta^(-2 i / R) / divisor(i), where R of the D
 * elements of a head turn.
 *
 * Rounded to f32 at the places where the reference programs round: exponent, power, reciprocal, scaled
 * frequency, angle.  The models were trained with those angles.  Exact frequencies would turn position p by
 * up to p * 6e-8 radians against them (measured: cosines differ by 5e-4 at position 8192, 3e-5 at 512), which
 * is more than everything else in f32 together.  Sine and cosine are taken in f64 and rounded once. Source:
 * Su et al. 2021 (RoFormer); the llama3 rule as in Llama 3.1's published configuration. */
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

/* plain_frequency - theta^(-2 i / R), radians per position. */
static float plain_frequency(const struct model_config *config, int i) {
    float exponent = (float)(2 * i) / (float)model_rotary_dim(config);
    float power = (float)pow((double)(float)config->rope_theta, (double)exponent);
    return 1.0f / power;
}

double model_rope_divisor(const struct model_config *config, int i) {
    if (config->rope_kind == ROPE_PLAIN)
        return 1.0;
    if (config->rope_kind == ROPE_LINEAR)
        return config->rope_factor;
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

void model_rope_tables(const struct model_config *config, int64_t positions, float *cos_table,
                       float *sin_table) {
    int half = model_rotary_dim(config) / 2;
    for (int i = 0; i < half; i++) {
        float frequency = (float)((double)plain_frequency(config, i) / model_rope_divisor(config, i));
        for (int64_t position = 0; position < positions; position++) {
            float angle = (float)position * frequency;
            cos_table[position * half + i] = (float)cos((double)angle);
            sin_table[position * half + i] = (float)sin((double)angle);
        }
    }
}
