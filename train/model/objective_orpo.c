/* objective_orpo.c - odds ratio preference optimisation (Hong et al. 2024, equations 3 to 7): the mean loss of the chosen
 * answer's tokens, and beta (their lambda) times - log sigmoid of the logarithm of the ratio of both answers' odds, where the
 * probability of an answer is the geometric mean of its tokens'.  The first term is of the answer's tokens alone, each pair
 * weighing the same.  No reference model. */
#include <math.h>

#include "train/model/objective_preference.h"

/* The least difference of an answer's probability from 1 that is told: odds of a certain answer are not a number. */
static const double LEAST = 1e-12;

/* log_odds - of a probability whose logarithm is a <= 0; slope: its derivative by a. */
static double log_odds(double a, double *slope) {
    double rest = -expm1(a);
    rest = rest > LEAST ? rest : LEAST;
    *slope = 1 / rest;
    return a - log(rest);
}

static double pair_loss(const struct preference *preference, const struct document_logp pair[2],
                        double slopes[2]) {
    double beta = preference->settings->beta, chosen_slope, rejected_slope;
    double ratio = log_odds(preference_mean(&pair[0]), &chosen_slope) -
                   log_odds(preference_mean(&pair[1]), &rejected_slope);
    double slope = -beta * sigmoid(-ratio);
    slopes[0] = pair[0].count > 0 ? (slope * chosen_slope - 1) / pair[0].count : 0;
    slopes[1] = pair[1].count > 0 ? -slope * rejected_slope / pair[1].count : 0;
    return -preference_mean(&pair[0]) - beta * log_sigmoid(ratio);
}

static const struct preference_rule RULE = {.loss = pair_loss, .reward = preference_mean_reward};

static void coefficients(void *state, const struct batch *batch, const float *losses, float *weights) {
    preference_coefficients(&RULE, state, batch, losses, weights);
}

static double loss(void *state, const struct batch *batch, const float *losses) {
    return preference_loss(&RULE, state, batch, losses);
}

const struct objective objective_orpo = {.name = "orpo",
                                         .num_entries = 1,
                                         .needs_losses_first = true,
                                         .learns_from = PREFERENCE_PAIRS,
                                         .needs_reference = false,

                                         .coefficients = coefficients,
                                         .loss = loss};
