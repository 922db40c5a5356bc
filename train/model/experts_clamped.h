/* experts_clamped.h - experts as gpt-oss has them: with biases, gate and up side by side and held within limits, and matrices whose
 * rows are inputs.  What is around them, router and places, is in experts.c. */
#pragma once

#include "train/model/experts.h"

/* clamped_weights - of a layer whose unit is ready. */
struct expert_weights clamped_weights(const struct model *model, int layer);

/* clamped_forward - from the rows at their places, spread [M, C], to acts->out.
 * clamped_backward - from the gradient of that, which stands there, the weights' gradients and that of what was read, in its place.  What the experts
 * read stands in model->experts.spread where a matrix learns from it. */
void clamped_forward(struct model *model, const struct experts *block, struct tensor spread);
void clamped_backward(struct model *model, const struct experts *block);
