/* log_sum.h - the denominator of a softmax over a row of logits, for those who look at logits on the host. */
#pragma once

#include <stdint.h>

/* log_sum - log of the sum of e^(x / temperature) over x[count], in f64; NaN where a logit is not a number. */
double log_sum(const float *x, int64_t count, double temperature);
