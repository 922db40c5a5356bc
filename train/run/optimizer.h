/* optimizer.h - gradient norm, clipping and AdamW over what this rank owns. */
#pragma once

#include "configs/schema/config.h"
#include "train/model/params.h"

/* optimizer_grad_norm - global L2 norm of the reduced gradients, the same bits on every rank.  comm joins the
 * ranks that share a replica.  Collective. */
double optimizer_grad_norm(struct params *params, struct comm *comm);

/* One update.  number counts the updates made, from 1: the corrections of the moments' bias depend on it, and
 * a step that made no update (no target, gradients that overflowed f16) does not count.  grad_norm is that of
 * the gradients as they are, which hold loss_scale times the true ones. */
struct optimizer_step {
    int64_t number;
    double learning_rate, grad_norm, loss_scale;
};

/* optimizer_update - one AdamW update of the owned masters, and of the copies that the forward reads.  The
 * gradient is scaled by grad_clip / norm where the norm is larger.  Weight decay applies to matrices, not to
 * norms. */
void optimizer_update(struct params *params, const struct config *config, const struct optimizer_step *step);
