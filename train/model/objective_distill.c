/* objective_distill.c - distillation from the log-probabilities that a teacher's file keeps of each target's place:
 *
 *   (1 - w) cross-entropy + w T^2 KL(teacher || student), both softmax at temperature T
 *
 * as a mean over the target tokens.  The gradient is op_distill's, whose outcomes are the K ids of the file and, as one, the rest
 * of the vocabulary.  Programs that keep K log-probabilities have three ways with the rest: dividing the teacher's by their sum
 * (MaxText's forks call it renormalize), after which a student is best that gives the rest nothing, whatever the teacher gave it; leaving
 * it out (DistillKit, missing_probability_handling zero), a sum that is not a divergence and may be below zero; one outcome (DistillKit,
 * symmetric_uniform), as here: least where the student says what the teacher says, and never more than the divergence of the whole
 * vocabularies, which it is with K = V - 1.  TRL's GKD and torchtune keep no K: both models are in memory.  T^2 as in Hinton,
 * Vinyals and Dean 2015. */
#include "train/model/objective_distill.h"

static double distance(void *state, double loss, double divergence) {
    struct distilled_sums *sums = state;
    double temperature = sums->settings->temperature, share = sums->settings->teacher_share;
    sums->loss += loss;
    sums->divergence += divergence;
    return (1 - share) * loss + share * temperature * temperature * divergence;
}

const struct objective objective_distill = {.name = "distill", .num_entries = 1, .distance = distance};
