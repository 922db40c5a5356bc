/* objective_simpo.c - simple preference optimisation (Meng et al. 2024, equation 6): - log sigmoid(m), m = beta times the
 * difference of both answers' log-probabilities per token, less the margin gamma; with label smoothing as DPO has it, and the
 * mean loss of the chosen answer's tokens where it is asked for.  No reference model. */
#include "train/model/objective_preference.h"

static double pair_loss(const struct preference *preference, const struct document_logp pair[2],
                        double slopes[2]) {
    const struct objective_config *settings = preference->settings;
    double e = settings->label_smoothing;
    double m = preference_mean_reward(preference, &pair[0]) - preference_mean_reward(preference, &pair[1]) -
               settings->gamma;
    double slope = settings->beta * (-(1 - e) * sigmoid(-m) + e * sigmoid(m));
    slopes[0] = pair[0].count > 0 ? (slope - settings->sft_weight) / pair[0].count : 0;
    slopes[1] = pair[1].count > 0 ? -slope / pair[1].count : 0;
    return -(1 - e) * log_sigmoid(m) - e * log_sigmoid(-m) - settings->sft_weight * preference_mean(&pair[0]);
}

static const struct preference_rule RULE = {.loss = pair_loss, .reward = preference_mean_reward};

static void coefficients(void *state, const struct batch *batch, const float *losses, float *weights) {
    preference_coefficients(&RULE, state, batch, losses, weights);
}

static double loss(void *state, const struct batch *batch, const float *losses) {
    return preference_loss(&RULE, state, batch, losses);
}

const struct objective objective_simpo = {.name = "simpo",
                                          .num_entries = 1,
                                          .needs_losses_first = true,
                                          .learns_from = PREFERENCE_PAIRS,
                                          .needs_reference = false,

                                          .coefficients = coefficients,
                                          .loss = loss};
