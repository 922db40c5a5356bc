/* exact_sum.h - a sum of f64 numbers that rounds nothing until it is read: in whatever order the terms come, and however
 * they are shared out, the sum has the same bits.
 *
 * A wide integer over the whole range of f64, in limbs of 32 bits, least significant first, each in 64 bits so that
 * carries wait.  Source: Kulisch 1971; Neal 2015, "Fast exact summation using small and large superaccumulators". */
#pragma once

#include "kernels/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 2^-1074 to 2^1024 are 2098 bits; two limbs more hold the carries of 2^64 terms. */
enum { EXACT_LIMBS = 68 };

/* Zeroed: a sum of nothing. */
struct exact_sum {
    int64_t limbs[EXACT_LIMBS];
    int64_t num_not_finite; /* terms that are no number or no finite one */
    int64_t num_waiting;    /* terms since carries were last passed on */
};

/* exact_sum_add - one term.  exact_sum_join - all terms of another sum, whose carries are passed on. */
void exact_sum_add(struct exact_sum *sum, double term);
void exact_sum_join(struct exact_sum *sum, struct exact_sum *other);

/* exact_sum_settle - pass the carries on: every limb but the last is in [0, 2^32) then, so that the limbs of 2^31 sums can be added
 * as integers. */
void exact_sum_settle(struct exact_sum *sum);

/* exact_sum_value - the sum, rounded once to f64; NaN where a term was not finite. */
double exact_sum_value(const struct exact_sum *sum);

#ifdef __cplusplus
}
#endif
