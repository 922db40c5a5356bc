/* attention.h - the soft-cap of attention scores; private to kernels/cpu/attention*.c. */
#pragma once

#include "kernels/cpu/cpu.h"

/* tanh_f32 - tanh(x) in a form that the compiler vectorises; relative error below 3e-7, NaN for NaN.
 * Below 0.55 an odd polynomial, x + x z q(z) with z = x^2 and q fitted for the smallest relative error (1e-9
 * before rounding): there 1 - 2 / (e^2x + 1) would cancel.  Above, that formula of |x|, with the sign of x.
 */
static inline __attribute__((always_inline)) float tanh_f32(float x) {
    float size = f32_from_bits(bits_from_f32(x) & 0x7fffffffu), z = x * x;
    float q = -6.274239440e-3f;
    q = q * z + 2.107167896e-2f;
    q = q * z - 5.385230987e-2f;
    q = q * z + 1.333258614e-1f;
    q = q * z - 3.333331756e-1f;
    float near = x + x * z * q;
    float far = 1.0f - 2.0f / (exp_f32(2.0f * size) + 1.0f);
    far = f32_from_bits(bits_from_f32(far) | (bits_from_f32(x) & 0x80000000u));
    return select_f32(size < 0.55f, near, far);
}

/* cap_scores - s = cap tanh(s / cap), for count scores; before the mask, whose -infinity must stay. */
void cap_scores(float *scores, int64_t count, float cap);
