/* logits.c - passes over a row of logits.  See logits.h. */
#include "kernels/cpu/logits.h"

CPU_CLONES
float logits_max(const float *x, int64_t count) {
    float max = x[0];
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < count; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

CPU_CLONES_FUSED
float logits_exp_sum(float *to, const float *x, int64_t count, float max) {
    float sum = 0;
    if (to) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < count; i++) {
            float e = exp_f32(x[i] - max);
            to[i] = e;
            sum += e;
        }
        return sum;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += exp_f32(x[i] - max);
    return sum;
}

CPU_CLONES
void logits_multiply(float *x, int64_t count, float factor) {
    for (int64_t i = 0; i < count; i++)
        x[i] *= factor;
}

CPU_CLONES
void logits_shape(float *z, const float *x, int64_t count, const struct loss_args *args) {
    float scale = args->logit_scale, cap = args->softcap, inverse = cap > 0 ? 1 / cap : 0;
    if (cap > 0) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            z[i] = cap * tanh_f32(scale * x[i] * inverse);
    } else {
        for (int64_t i = 0; i < count; i++)
            z[i] = scale * x[i];
    }
}

CPU_CLONES
void logits_slope(float *dlogits, const float *z, int64_t count, const struct loss_args *args) {
    float scale = args->logit_scale, inverse = args->softcap > 0 ? 1 / args->softcap : 0;
    for (int64_t i = 0; i < count; i++) {
        float part = z[i] * inverse;
        dlogits[i] *= scale * (1 - part * part);
    }
}
