/* objective_dpo.c - direct preference optimisation (Rafailov et al. 2023, equation 7): the margin by which the model prefers
 * the chosen answer more than the reference does.  Of the margin m = beta times the difference of both log ratios:
 *
 *   sigmoid  - (1 - e) log sigmoid(m) - e log sigmoid(- m); e: label smoothing (Mitchell 2023, "A note on DPO with noisy
 *            preferences", equation 3)
 *   robust   ((1 - e) (- log sigmoid(m)) - e (- log sigmoid(- m))) / (1 - 2 e) (Chowdhury et al. 2024, equation 12)
 *   hinge    max(0, 1 - m) (Zhao et al. 2023, SLiC-HF)
 *   ipo      (d - 1 / (2 beta))^2, d the difference of both log ratios per token (Azar et al. 2023, equation 17, with the
 *            normalisation that TRL documents as the authors' own)
 *
 * and, where it is asked for, the mean loss of the chosen answer's tokens: every pair weighs the same, however long it is. */
#include "train/model/objective_preference.h"

/* margin_loss - of m, with its derivative. */
static double margin_loss(const struct objective_config *settings, double m, double *slope) {
    double e = settings->label_smoothing, scale = settings->loss == DPO_ROBUST ? 1 / (1 - 2 * e) : 1;
    double sign = settings->loss == DPO_ROBUST ? -1 : 1;
    if (settings->loss == DPO_HINGE) {
        *slope = m < 1 ? -1 : 0;
        return m < 1 ? 1 - m : 0;
    }
    *slope = scale * (-(1 - e) * sigmoid(-m) + sign * e * sigmoid(m));
    return scale * (-(1 - e) * log_sigmoid(m) - sign * e * log_sigmoid(-m));
}

/* per_token - of a document, 1 / its number of targets. */
static double per_token(const struct document_logp *document) {
    return document->count > 0 ? 1 / document->count : 0;
}

static double ipo_loss(const struct objective_config *settings, const struct document_logp pair[2],
                       double slopes[2]) {
    double chosen = per_token(&pair[0]), rejected = per_token(&pair[1]);
    double far = chosen * (pair[0].sum - pair[0].reference) - rejected * (pair[1].sum - pair[1].reference) -
                 1 / (2 * settings->beta);
    slopes[0] = 2 * far * chosen;
    slopes[1] = -2 * far * rejected;
    return far * far;
}

static double pair_loss(const struct preference *preference, const struct document_logp pair[2],
                        double slopes[2]) {
    const struct objective_config *settings = preference->settings;
    double slope, loss;
    if (settings->loss == DPO_IPO) {
        loss = ipo_loss(settings, pair, slopes);
    } else {
        double m =
            preference_ratio_reward(preference, &pair[0]) - preference_ratio_reward(preference, &pair[1]);
        loss = margin_loss(settings, m, &slope);
        slopes[0] = settings->beta * slope;
        slopes[1] = -settings->beta * slope;
    }
    slopes[0] -= settings->sft_weight * per_token(&pair[0]);
    return loss - settings->sft_weight * preference_mean(&pair[0]);
}

static const struct preference_rule RULE = {.loss = pair_loss, .reward = preference_ratio_reward};

static void coefficients(void *state, const struct batch *batch, const float *losses, float *weights) {
    preference_coefficients(&RULE, state, batch, losses, weights);
}

static double loss(void *state, const struct batch *batch, const float *losses) {
    return preference_loss(&RULE, state, batch, losses);
}

const struct objective objective_dpo = {.name = "dpo",
                                        .num_entries = 1,
                                        .needs_losses_first = true,
                                        .learns_from = PREFERENCE_PAIRS,
                                        .needs_reference = true,

                                        .coefficients = coefficients,
                                        .loss = loss};
