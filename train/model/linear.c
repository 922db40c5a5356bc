/* linear.c - see linear.h. */
#include "train/model/linear.h"

void linear_forward(struct device *dev, struct tensor y, struct tensor x, const struct linear *linear) {
    op_linear_forward(dev, y, x, linear->w.value);
}

void linear_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x,
                     const struct linear *linear) {
    if (linear->w.grad.data)
        op_linear_backward_weight(dev, linear->w.grad, dy, x, linear->w.write);
    op_linear_backward_input(dev, dx, dy, linear->w.value, OP_OVERWRITE);
}
