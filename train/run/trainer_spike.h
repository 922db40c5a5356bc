/* trainer_spike.h - the guard against spikes of the loss or the gradient norm (train.spike): a batch that is one is left out, in its
 * place or after going back to the last checkpoint.  Nothing is done without the key. */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_spike_judge - a step's loss and gradient norm, before its update; of the root, so that all ranks decide the same.  One that
 * is none counts for the next ones.  Collective. */
enum spike_kind trainer_spike_judge(struct trainer *t, double loss, double grad_norm);

/* trainer_spike_leave_out - the batch of this step, without an update: said.  back_to is set where the run goes back as well.
 * Returns false on all ranks when as many are left out already as train.spike_limit allows, or when the run would go back and no
 * checkpoint is sound: it has diverged.  Collective. */
bool trainer_spike_leave_out(struct trainer *t, enum spike_kind kind, double loss, double grad_norm);
