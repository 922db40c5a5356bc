/* norm.h - the seam through which every norm of the model goes: its weights and what its family asks of it, and how much
 * of the forward the backward needs. */
#pragma once

#include "train/model/params.h"

/* A norm over rows of C. */
struct model_norm {
    struct norm_plan plan;
    float eps;
    struct weight w, bias; /* [C]; bias where the plan has one */
    uint32_t *largest,
        *gradient_largest; /* where the largest magnitude goes of what it writes, and of dx; NULL: nowhere */
};

/* norm_args - as an operation takes it. */
struct norm norm_args(const struct model_norm *norm);

/* norm_stats_take - room for the statistics of N rows; mean where the plan needs it. */
struct norm_stats norm_stats_take(struct arena *arena, const struct norm_plan *plan, int64_t num_rows);

/* norm_backward - from dy [N, C] the gradients of the weights that want one, added, and dx [N, C], added to.  x is what
 * the forward read. */
void norm_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x,
                   struct norm_stats stats, const struct model_norm *norm);
