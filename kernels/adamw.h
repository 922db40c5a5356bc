/* adamw.h - the scalars of one update of AdamW, worked out once on the host for every device. */
#pragma once

#include <math.h>

#include "kernels/ops.h"

/* Bias corrections are folded in. */
struct adamw_factors {
    float beta1, beta2, grad_scale;
    float keep;      /* 1 - learning_rate * weight_decay */
    float step_size; /* learning_rate / (1 - beta1^t) */
    float inv_root;  /* 1 / sqrt(1 - beta2^t) */
    float eps;
};

/* adamw_factors_of - corrections in f64: 1 - beta2^t cancels badly at t = 1. */
static inline struct adamw_factors adamw_factors_of(const struct adamw_args *args) {
    double step = (double)args->step;
    struct adamw_factors f;
    f.beta1 = args->beta1;
    f.beta2 = args->beta2;
    f.grad_scale = args->grad_scale;
    f.keep = (float)(1.0 - (double)args->learning_rate * (double)args->weight_decay);
    f.step_size = (float)((double)args->learning_rate / (1.0 - pow((double)args->beta1, step)));
    f.inv_root = (float)(1.0 / sqrt(1.0 - pow((double)args->beta2, step)));
    f.eps = args->eps;
    return f;
}
