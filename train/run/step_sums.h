/* step_sums.h - what a step adds up over the ranks: each over the axes of the grid that divide it. */
#pragma once

#include "kernels/exact_sum.h"
#include "train/model/objective_distill.h"
#include "train/ranks/rank_device.h"
#include "train/record/metrics.h"
#include "train/run/step_message.h"

struct step_sums {
    double target_weight; /* of the whole batch: the sum of its targets' weights */
    double num_means; /* what the loss is a mean over: pairs or labelled completions, else target_weight */
    double
        own_means; /* what the gradients that this rank updates by are a mean over: num_means, or its replica's */
    double filled_tokens; /* of the whole batch, padding left out */
    double loss;          /* mean over the targets; NaN: there were none */
    double flops;         /* of all ranks */
    double cross_entropy,
        divergence;       /* means over the targets, of a run that learns from a teacher; NaN: of others */
    double num_sequences; /* of the whole batch, those that are not all padding */
    double
        own_sequences; /* those that the routers' losses are a mean over: num_sequences, or its replica's */
    struct router_record router;
};

/* step_sums_read - target_weight, num_means and filled_tokens from what the ranks have read, over the axes that divide the
 * samples: ranks that share samples count them once.  step_sums_apart - own_means and own_sequences of a replica that learns apart: 1
 * where it has read no target, and its gradients are 0. */
void step_sums_read(struct step_sums *sums, const struct step_message *message, const struct grid *grid);
void step_sums_apart(struct step_sums *sums, const struct step_message *message, const struct grid *grid);

/* step_sums_computed - loss and flops, from the ranks' sums of losses and their own counts of flops, over the axes that divide the
 * loss.  After step_sums_read of the same batch. */
void step_sums_computed(struct step_sums *sums, const struct step_message *message, const struct grid *grid);

/* step_sums_exactly - the loss again, as the sum of all ranks' losses without rounding: the same bits whichever rank computed which
 * micro-batch.  After one that has set it.  Collective: all ranks of the grid. */
void step_sums_exactly(struct step_sums *sums, const struct exact_sum *own_losses, struct rank_device *rank);

/* step_sums_taught - cross_entropy and divergence, from this rank's sums.  After step_sums_read.  Collective: all ranks of the grid. */
void step_sums_taught(struct step_sums *sums, const struct distilled_sums *own, struct rank_device *rank);

/* step_sums_routed - router, from what this rank's model counted, and the routers' losses joined to the loss.  After the other sums.
 * Collective: all ranks of the grid. */
void step_sums_routed(struct step_sums *sums, const struct model *model, struct rank_device *rank);

/* step_sums_by_source - sums of losses [count], and of what is counted in the samples [2 count], over all ranks in place.  Collective: all ranks of the
 * grid. */
void step_sums_by_source(double *losses, double *counts, int count, struct rank_device *rank);

/* step_sums_evaluated - the same for an evaluation: loss, num_means and target_weight, from this rank's sums over all
 * rounds.  Collective: all ranks of the grid. */
void step_sums_evaluated(struct step_sums *sums, double own_loss, const struct step_sums *own,
                         struct rank_device *rank);
