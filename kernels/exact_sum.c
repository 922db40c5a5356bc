/* exact_sum.c - a wide integer that f64 terms are added to without rounding. */
#include "kernels/exact_sum.h"

#include <math.h>
#include <string.h>

enum { LIMB_BITS = 32, MANTISSA_BITS = 52, NO_NUMBER = 0x7ff };
#define LIMB_MASK UINT64_C(0xffffffff)
#define CARRIES_FROM (INT64_C(1) << 29) /* terms after which a limb could leave 63 bits */

void exact_sum_settle(struct exact_sum *sum) {
    for (int i = 0; i + 1 < EXACT_LIMBS; i++) {
        int64_t low = (int64_t)((uint64_t)sum->limbs[i] & LIMB_MASK);
        sum->limbs[i + 1] += (sum->limbs[i] - low) / (INT64_C(1) << LIMB_BITS);
        sum->limbs[i] = low;
    }
    sum->num_waiting = 0;
}

/* A term is mantissa 2^(place - 1074), the mantissa of 53 bits at most: it touches three limbs. */
void exact_sum_add(struct exact_sum *sum, double term) {
    uint64_t bits;
    memcpy(&bits, &term, sizeof bits);
    unsigned exponent = (unsigned)(bits >> MANTISSA_BITS) & NO_NUMBER;
    uint64_t mantissa = bits & ((UINT64_C(1) << MANTISSA_BITS) - 1);
    if (exponent == NO_NUMBER) {
        sum->num_not_finite++;
        return;
    }
    if (exponent > 0)
        mantissa |= UINT64_C(1) << MANTISSA_BITS;
    unsigned place = exponent > 0 ? exponent - 1 : 0, shift = place % LIMB_BITS;
    int64_t *limb = sum->limbs + place / LIMB_BITS, sign = bits >> 63 ? -1 : 1;
    uint64_t low = (mantissa & LIMB_MASK) << shift, high = (mantissa >> LIMB_BITS) << shift;
    limb[0] += sign * (int64_t)(low & LIMB_MASK);
    limb[1] += sign * (int64_t)((low >> LIMB_BITS) + (high & LIMB_MASK));
    limb[2] += sign * (int64_t)(high >> LIMB_BITS);
    if (++sum->num_waiting == CARRIES_FROM)
        exact_sum_settle(sum);
}

void exact_sum_join(struct exact_sum *sum, struct exact_sum *other) {
    exact_sum_settle(sum);
    exact_sum_settle(other);
    for (int i = 0; i < EXACT_LIMBS; i++)
        sum->limbs[i] += other->limbs[i];
    sum->num_not_finite += other->num_not_finite;
    exact_sum_settle(sum);
}

/* Of the highest limb in use and the two below it 65 bits at least are read; a bit for all that lies below them keeps what is
 * exactly between two f64 numbers apart from what is a little more. */
double exact_sum_value(const struct exact_sum *sum) {
    struct exact_sum settled = *sum;
    double sign = 1;
    if (sum->num_not_finite > 0)
        return NAN;
    exact_sum_settle(&settled);
    if (settled.limbs[EXACT_LIMBS - 1] < 0) {
        sign = -1;
        for (int i = 0; i < EXACT_LIMBS; i++)
            settled.limbs[i] = -settled.limbs[i];
        exact_sum_settle(&settled);
    }
    int top = EXACT_LIMBS - 1;
    while (top > 2 && settled.limbs[top] == 0)
        top--;
    unsigned __int128 head = 0;
    for (int i = top; i > top - 3; i--)
        head = head << LIMB_BITS | (uint64_t)settled.limbs[i];
    for (int i = top - 3; i >= 0 && !(head & 1); i--)
        head |= settled.limbs[i] != 0;
    return sign * ldexp((double)head, (top - 2) * LIMB_BITS - 1074);
}
