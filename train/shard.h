/* shard.h - moving the units of params.h between ranks.  All calls are collective; with comm NULL there is
 * one rank and stage 0. */
#pragma once

#include "train/params.h"

/* params_prefetch - start gathering a unit (stage 3; nothing otherwise).  params_acquire - wait for it,
 * return its weights.  They stay valid until another unit of the same slot is asked for.  Collective. */
void params_prefetch(struct params *params, struct comm *comm, int unit);
void *params_acquire(struct params *params, struct comm *comm, int unit);

/* params_grad_begin - where the backward of this unit adds its weight gradients, [count] f32.
 * params_grad_end - the unit's backward is over: its reduce-scatter starts (stages 2 and 3).  Collective.
 * params_grad_finish - all micro-batches are over: sums over the ranks are complete in unit.grad. Collective.
 */
float *params_grad_begin(struct params *params, struct comm *comm, int unit);
void params_grad_end(struct params *params, struct comm *comm, int unit);
void params_grad_finish(struct params *params, struct comm *comm);
void params_grad_zero(struct params *params);

/* params_own_grad - gradient of the range this rank updates, [own_count]; after params_grad_finish. */
float *params_own_grad(const struct params *params, int unit);

/* params_publish - after the masters changed: refresh the compute copies on all ranks, forget what was
 * gathered. Collective. */
void params_publish(struct params *params, struct comm *comm, struct device *dev);

/* params_share_masters - after each rank filled its shard of masters and moments: stage 0 completes them.
 * Collective. */
void params_share_masters(struct params *params, struct comm *comm);
