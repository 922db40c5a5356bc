/* rounded.h - what remains of a value in a type. */
#pragma once

#include "kernels/half.h"
#include "kernels/tensor.h"

/* rounded_to - the nearest value of bf16 or f16 (half.h); any other type: the value itself. */
static inline float rounded_to(enum dtype dtype, float value) {
    if (dtype == DTYPE_BF16)
        return f32_from_bf16(bf16_from_f32(value));
    return dtype == DTYPE_F16 ? f32_from_f16(f16_from_f32(value)) : value;
}
