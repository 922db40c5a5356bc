/* optimizer.h - gradient norm, clipping and AdamW over what this rank owns. */
#pragma once

#include "train/config.h"
#include "train/params.h"

/* optimizer_grad_norm - global L2 norm of the reduced gradients, the same bits on every rank.  Collective. */
double optimizer_grad_norm(struct params *params, struct comm *comm, struct device *dev);

/* optimizer_update - one AdamW update of the owned masters; step counts from 1.  The gradient is scaled by
 * grad_clip / norm where the norm is larger.  Weight decay applies to matrices, not to norms. */
void optimizer_update(struct params *params, struct device *dev, const struct config *config, int64_t step,
                      double learning_rate, double grad_norm);
