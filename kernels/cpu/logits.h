/* logits.h - passes over one row of logits that the losses share; private to kernels/cpu. */
#pragma once

#include "kernels/cpu/cpu.h"

/* logits_max - of count values; NaN may be passed over: it comes back in the sum of exponentials. */
float logits_max(const float *x, int64_t count);

/* logits_exp_sum - sum of e^(x - max); with to, the terms are stored there (it may be x). */
float logits_exp_sum(float *to, const float *x, int64_t count, float max);

/* logits_multiply - by a factor, in place. */
void logits_multiply(float *x, int64_t count, float factor);

/* logits_shape - z [count] from the logits, which it may be: see struct loss_args. */
void logits_shape(float *z, const float *x, int64_t count, const struct loss_args *args);

/* logits_slope - dlogits, the gradient of z, times dz / dx. */
void logits_slope(float *dlogits, const float *z, int64_t count, const struct loss_args *args);
