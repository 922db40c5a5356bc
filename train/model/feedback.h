/* feedback.h - gradients that cross between replicas in 8 bits (parallel.wire: int8), and what rounding loses of them.
 *
 * A rank that has a shard of a replica's gradient g sends, for each block of 128 values, a scale and codes of 8 bits of v = g + e, and
 * keeps e = v - (what was sent) for the next step (op_quantise): what is sent over many steps is what was meant, but for the last e.
 * The sums are of what was sent, in f32 in the order of the replicas.
 *
 * Each rank keeps e of its whole shard, 4 bytes for each value, so that the replicas owe R of them together.  Before a checkpoint
 * they are added up, and each rank keeps the sum of the part that it updates: the next step sends it.  Files of a checkpoint are
 * therefore as large for any number of replicas (state/wire_feedback, 4 bytes a value), go on in any other layout, and a run that is
 * resumed has the bits of one that saved at the same step and went on.
 * Source: Seide et al. 2014, "1-Bit Stochastic Gradient Descent", section 3.2; Karimireddy et al. 2019, "Error Feedback Fixes SignSGD". */
#pragma once

#include "train/model/params.h"

/* feedback_reset - nothing is owed.  Nothing to do where gradients do not cross in 8 bits.  Not collective. */
void feedback_reset(struct params *params);

/* feedback_join - between two steps, before the state is saved or copied: what all replicas owe is this rank's of the part that it
 * updates, and nothing of the others.  The same there.  Collective over the replicas. */
void feedback_join(struct params *params);
