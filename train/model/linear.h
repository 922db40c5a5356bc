/* linear.h - the one seam through which every matrix product of the model goes.  What hangs on a product (a gradient
 * that is not wanted, later a bias, an adapter, another number format, a collective) is here alone. */
#pragma once

#include "train/model/params.h"

/* One product: y = x W^T. */
struct linear {
    struct weight w; /* [O, I]; grad.data NULL: frozen, or no backward is under way */
};

/* linear_forward - y [N, O] from x [N, I]. */
void linear_forward(struct device *dev, struct tensor y, struct tensor x, const struct linear *linear);

/* linear_backward - from dy [N, O] the gradient of the weight, as linear->w.write says, where one is wanted; and
 * dx [N, I], overwritten.  x is what the forward read. */
void linear_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x,
                     const struct linear *linear);
