/* trainer_spike.h - the guard against spikes of the loss or the gradient norm (train.spike): a batch that is one is left out, in its
 * place or after going back to the last checkpoint.  Nothing is done without the key. */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_spike_judge - a step's loss and gradient norm, before its update; of the root, so that all ranks decide the same.  One that
 * is none counts for the next ones.  Collective. */
enum spike_kind trainer_spike_judge(struct trainer *t, double loss, double grad_norm);

/* trainer_spike_leave_out - the batch of this step, without an update: said.  goes_back is set where the run goes back as well.
 * Returns false on all ranks when as many are left out already as train.spike_limit allows: the run has diverged. */
bool trainer_spike_leave_out(struct trainer *t, enum spike_kind kind, double loss, double grad_norm);

/* trainer_go_back - with goes_back set, after the step: the state of the last checkpoint, and the batches after it without those
 * that are left out.  Returns false on all ranks when it cannot be read (said by the root).  Collective. */
bool trainer_go_back(struct trainer *t);
