/* norm.c - a norm with its bias, which the operation adds and whose gradient is a sum of columns. */
#include "train/model/norm.h"

struct norm norm_args(const struct model_norm *norm) {
    return (struct norm){.kind = norm->plan.kind,
                         .eps = norm->eps,
                         .offset = norm->plan.offset,
                         .w = norm->w.value,
                         .bias = norm->bias.value,
                         .largest = norm->largest};
}

struct norm_stats norm_stats_take(struct arena *arena, const struct norm_plan *plan, int64_t num_rows) {
    struct norm_stats stats = {.rstd = arena_take_1d(arena, DTYPE_F32, num_rows)};
    if (plan->kind == NORM_LAYER)
        stats.mean = arena_take_1d(arena, DTYPE_F32, num_rows);
    return stats;
}

void norm_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x,
                   struct norm_stats stats, const struct model_norm *norm) {
    struct norm args = norm_args(norm);
    args.largest = norm->gradient_largest;
    op_norm_backward(dev, dx, norm->w.grad, dy, x, stats, &args);
    if (norm->bias.grad.data)
        op_column_sums(dev, norm->bias.grad, dy);
}
