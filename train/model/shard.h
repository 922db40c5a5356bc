/* shard.h - moving the units of params.h between ranks.  All calls that take a transport are collective; with
 * link NULL there is one rank and stage 0.  link joins the ranks that share one replica; those of other replicas are reached
 * as params_join_replicas said. */
#pragma once

#include "train/model/params.h"

/* params_prefetch - start gathering a unit (stage 3; nothing otherwise).  params_acquire - wait for it: its weights
 * can be had by params_weight until another unit of the same slot is asked for.  Collective. */
void params_prefetch(struct params *params, struct transport *link, int unit);
void params_acquire(struct params *params, struct transport *link, int unit);

/* params_grad_begin - the unit's backward begins: its weights come with their gradients.  The first time in a step
 * matrix products overwrite theirs, which saves a pass over memory; everything else was zeroed and is added to.
 * params_grad_end - it is over: its reduce-scatter starts (stages 2 and 3).  A tied embedding begins twice, head
 * first, and ends once.  params_grad_finish - all micro-batches are over: sums over the ranks of this replica,
 * across the replicas, and over the ranks that divide tensors, are complete in segment.grad.  Collective.  params_grad_reset - a new step begins.
 * params_grad_last - the micro-batch that follows is its last: whole gradients are sent as soon as they are complete, not
 * in params_grad_finish; the same on all ranks. */
void params_grad_begin(struct params *params, int unit);
void params_grad_end(struct params *params, struct transport *link, int unit);
void params_grad_finish(struct params *params, struct transport *link);
void params_grad_reset(struct params *params);
void params_grad_last(struct params *params);

/* params_grad_repeats - between the last micro-batch and params_grad_finish: whether the step has to be computed again, from
 * params_grad_reset on, because its gradients did not fit the units in which they are added (exact_grads.h); false where they
 * are added in f32.  Arguments as exact_grads_judge.  Collective. */
bool params_grad_repeats(struct params *params, struct comm *comm, int64_t num_terms);

/* params_own_grad - gradient of the range of a segment that this rank updates, [own_count]; after
 * params_grad_finish. */
float *params_own_grad(const struct params *params, const struct segment *segment);

/* params_own_copy - what the forward reads of the range this rank updates, in the compute type; NULL where
 * that is the master itself. */
void *params_own_copy(const struct params *params, const struct segment *segment);

/* params_gather_own - whole, f32 [count], of which each rank has filled its owned range, is complete on all ranks.
 * params_sum_own - the owned range of whole is the sum over the ranks' wholes; what else whole holds is lost.
 * Collective. */
void params_gather_own(struct params *params, struct transport *link, const struct segment *segment,
                       float *whole);
void params_sum_own(struct params *params, struct transport *link, const struct segment *segment,
                    float *whole);

/* params_publish - the copies of what this rank owns have changed: all ranks have them when it returns (publish.h: beside the next
 * forward), what was gathered is forgotten.  params_refresh - make those copies from the masters first.  Collective. */
void params_publish(struct params *params, struct transport *link);
void params_refresh(struct params *params, struct transport *link);

/* params_share_masters - after each rank filled its shard of masters, states and frozen values: where every rank
 * holds all of an array, it gets the others' shards.  Collective. */
void params_share_masters(struct params *params, struct transport *link);
