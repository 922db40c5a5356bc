/* exact_grads.h - gradients that have the same bits on any number of data-parallel ranks (train.reproducible: layout).
 *
 * A micro-batch is the same tokens on whichever rank computes it, and so is its gradient in f32.  What changes with the ranks
 * is the order in which micro-batches are added.  So each one's gradient is rounded to whole multiples of a unit, which is one
 * power of two for each tensor, and these integers of 64 bits are added: on a rank over its micro-batches, then between the ranks, in
 * whatever order.  At the end the sum is rounded once to f32, which is what norm and optimizer read.
 *
 * The unit.  2^EXACT_TARGET_BITS units are as much as the largest value of the last step's micro-batches: 16 bits finer than f32 at
 * that value.  Where in a step the largest value is out of [2^EXACT_LEAST_BITS, 2^EXACT_MOST_BITS] units, the step is computed
 * again with the unit that suits it.  At most 2^EXACT_SUM_BITS units of all micro-batches together: no sum of some of them overflows.
 * All of that follows from the largest values alone, which do not depend on who computed them.
 *
 * Between ranks the integers are added as such (transport_reduce_scatter_i64_start), 8 bytes for each value.
 * Source: Demmel and Nguyen 2015, "Parallel Reproducible Summation", of which this is the case of one bin. */
#pragma once

#include "train/model/params.h"
#include "train/ranks/comm.h"

enum {
    EXACT_FIRST_EXPONENT = -48, /* of the unit where nothing is known yet */
    EXACT_TARGET_BITS = 40,
    EXACT_LEAST_BITS = 30,
    EXACT_MOST_BITS = 50, /* op_fixed_add's integers end at 51 */
    EXACT_SUM_BITS = 62,
    EXACT_MAX_TERMS = 1 << 20 /* micro-batches of a step */
};

/* exact_grads_reset - a step, or its repetition, begins, in the units of this step; the first micro-batch overwrites the sums. */
void exact_grads_reset(struct params *params);

/* exact_grads_add - the gradient of a micro-batch is in a unit's slot: it is added to the sums where they stay whole, and else the sum over
 * the ranks sets out to those that it belongs to.  slot->adds: beside what earlier micro-batches left; exact_grads_land adds it after its
 * arrival, segment by segment.  Collective. */
void exact_grads_add(struct params *params, struct transport *link, struct unit_slot *slot);
void exact_grads_land(struct params *params, const struct unit_slot *slot, const struct segment *segment);

/* exact_grads_send - a unit's whole sums set out through its slot: this rank's shard becomes the sum over the ranks.  exact_grads_finish
 * does the same for units of which it was not done.  Collective. */
void exact_grads_send(struct params *params, struct transport *link, struct unit_slot *slot);

/* exact_grads_judge - whether the step has to be computed again; decides the units of that, or of the next step.  num_terms: the
 * micro-batches of the step on all ranks, those of padding left out.  comm joins the ranks that divide the loss; NULL: alone.
 * The same on all ranks.  Collective. */
bool exact_grads_judge(struct params *params, struct comm *comm, int64_t num_terms);

/* exact_grads_finish - sums over the ranks of this replica and across the replicas, then segment.grad in f32.  Collective. */
void exact_grads_finish(struct params *params, struct transport *link);

/* exact_grads_norm - the norm of what params_own_grad gives on all ranks: squares are added without rounding.  NaN where a
 * micro-batch's gradient was no finite number.  comm as optimizer_grad_norm.  Collective. */
double exact_grads_norm(struct params *params, struct comm *comm);
