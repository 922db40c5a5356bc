/* loss_scale.h - f16 gradients: the loss is multiplied by a power of two so that small gradients do not
 * vanish, and the update divides by it again.  A scale that makes gradients overflow is halved and that
 * update left out; after many good updates it is doubled.  With other types the scale is 1 and stays there.
 * Source: Micikevicius et al. 2018 (Mixed Precision Training), section 3.2. */
#pragma once

#include "kernels/tensor.h"

struct loss_scale {
    double value;
    int64_t good_steps; /* updates since it last changed */
    bool moves;
};

/* loss_scale_start - for that compute type. */
struct loss_scale loss_scale_start(enum dtype compute);

/* loss_scale_overflowed - gradients were not finite: halve.  Returns false when that cannot be the reason:
 * the scale does not move, or is 1 already. */
bool loss_scale_overflowed(struct loss_scale *scale);

/* loss_scale_succeeded - an update was made. */
void loss_scale_succeeded(struct loss_scale *scale);
