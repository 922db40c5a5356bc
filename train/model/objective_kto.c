/* objective_kto.c - Kahneman-Tversky optimisation (Ethayarajh et al. 2024, equations 7 and 8): of a labelled completion with
 * r, the log of the model's probability over the reference's,
 *
 *   desirable    weight (1 - sigmoid(beta (r - z)))
 *   undesirable  weight (1 - sigmoid(beta (z - r)))
 *
 * z estimates how far the model is from the reference: the mean r of completions that do not belong to their prompts, at
 * least 0, over the whole step, whoever computes it.  It is a number that is compared with, and has no gradient. */
#include <math.h>

#include "train/model/objective_preference.h"

static double pair_loss(const struct preference *preference, const struct document_logp pair[2],
                        double slopes[2]) {
    const struct objective_config *settings = preference->settings;
    bool is_desirable = pair[0].side == SIDE_DESIRABLE;
    double sign = is_desirable ? 1 : -1;
    double weight = is_desirable ? settings->desirable_weight : settings->undesirable_weight;
    double value = sigmoid(sign * settings->beta * (pair[0].sum - pair[0].reference - preference->kl));
    slopes[0] = -weight * sign * settings->beta * value * (1 - value);
    slopes[1] = 0;
    return weight * (1 - value);
}

static const struct preference_rule RULE = {.loss = pair_loss, .reward = preference_ratio_reward};

static void coefficients(void *state, const struct batch *batch, const float *losses, float *weights) {
    preference_coefficients(&RULE, state, batch, losses, weights);
}

static double loss(void *state, const struct batch *batch, const float *losses) {
    return preference_loss(&RULE, state, batch, losses);
}

static void step_losses(void *state, const struct batch *batch, const float *losses, double *sums) {
    (void)state;
    for (int64_t i = 1; i < batch->num_documents; i += 2) {
        struct document_logp mismatched = preference_document(batch, losses, i);
        sums[0] += mismatched.sum - mismatched.reference;
        sums[1]++;
    }
}

static void step_sums(void *state, const double *sums) {
    struct preference *preference = state;
    preference->kl = sums[1] > 0 ? fmax(sums[0] / sums[1], 0) : 0;
}

const struct objective objective_kto = {.name = "kto",
                                        .num_entries = 1,
                                        .needs_losses_first = true,
                                        .learns_from = PREFERENCE_LABELS,
                                        .needs_reference = true,
                                        .needs_step_pass = true,
                                        .step_losses = step_losses,
                                        .step_sums = step_sums,
                                        .coefficients = coefficients,
                                        .loss = loss};
