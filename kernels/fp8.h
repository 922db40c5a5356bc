/* fp8.h - tensors of the model as products in 8 bits see them: which scale a tensor has, and what is left of a value.
 *
 * A tensor t has one scale s, made of its own largest magnitude as it is now ("current scaling"): the largest power of two with
 * s max|t| <= the largest finite value of the format.  Its values are then round(s t) / s, to nearest, ties to even.
 *
 * Why a power of two, where others divide that largest value by max|t|: s t and its way back are exact, so that a value is rounded
 * once; what is left of it has at most 4 significant bits and is exactly a bf16, so that a product in bf16 of such values is the
 * product in 8 bits to the last bit of each term, whatever the device; and a tensor whose largest value wavers keeps its scale.  The
 * price is less than one of the 18 (E4M3) or 32 (E5M2) binades: what is rounded there does not depend on the scale, but for the
 * smallest values.  Transformer Engine and torchao have it as an option (power_2_scale, round_scales_to_power_of_2).
 *
 * A tensor with a NaN or an infinity has the scale NaN, and is NaN everywhere: the guard of the loss sees it.
 *
 * With FP8_BLOCKS it is not a tensor but a block of it that has a scale, made in the same way of its own largest magnitude:
 * 1 x 128 values along the sum of the product at hand, so that what is read forward is cast along its columns, and for the gradient of the
 * weights along its rows; 128 x 128 of a matrix of weights, the same in both directions.  The last block of a row may be shorter.  A block
 * with a NaN is NaN, and with it the rows of products that read it.
 * Sources: Micikevicius et al. 2022, "FP8 Formats for Deep Learning"; DeepSeek-AI 2024, "DeepSeek-V3 Technical Report", section 3.3.2, for
 * the blocks. */
#pragma once

#include "kernels/half.h"

#ifdef __CUDACC__
#define FP8_INLINE static __host__ __device__ __forceinline__
#else
#define FP8_INLINE static inline
#endif

enum fp8_format { FP8_E4M3, FP8_E5M2 };

/* Values of a block along a sum, and rows of a block of weights. */
enum { FP8_BLOCK_SIDE = 128 };

/* Which blocks a matrix has: FP8_BLOCK_SIDE values of a row, FP8_BLOCK_SIDE of a column, or squares. */
enum fp8_grain { FP8_ALONG_ROWS, FP8_ALONG_COLUMNS, FP8_SQUARES };

/* Which values share a scale: those of a tensor; or those of a block of it, FP8_BLOCK_SIDE values along the sum, of a matrix of weights
 * FP8_BLOCK_SIDE x FP8_BLOCK_SIDE.  UNSCALED is the control of tests alone: every scale is 1. */
enum fp8_scaling { FP8_CURRENT, FP8_UNSCALED, FP8_BLOCKS };

/* Exponents of a scale end here: the inverses of two scales have a product that f32 holds. */
enum { FP8_MOST_EXPONENT = 60 };

/* fp8_scale_bits - the scale of a tensor whose largest magnitude has these bits of an f32, as bits of one.  Both largest values are
 * 1.75 times a power of two.  fp8_scale - the number. */
FP8_INLINE uint32_t fp8_scale_bits(uint32_t largest_bits, enum fp8_format format) {
    if (largest_bits >= 0x7f800000u)
        return 0x7fc00000u;
    int exponent = (int)(largest_bits >> 23) - 127, top = format == FP8_E4M3 ? 8 : 15;
    int scale = top - exponent - ((largest_bits & 0x7fffffu) > 0x600000u);
    scale = scale < FP8_MOST_EXPONENT ? scale : FP8_MOST_EXPONENT;
    return (uint32_t)(scale + 127) << 23;
}

static inline float fp8_scale(uint32_t largest_bits, enum fp8_format format) {
    return f32_from_bits(fp8_scale_bits(largest_bits, format));
}

/* fp8_round - the value of the code that a scaled value gets (e4m3_from_f32, e5m2_from_f32), without the code and without a branch:
 * adding 1.5 * 2^23 units of the last place leaves no bit below it.  A NaN stays one. */
static inline float fp8_round(float scaled, enum fp8_format format) {
    const uint32_t lowest =
        format == FP8_E4M3 ? 127 - 6 : 127 - 14; /* exponent of the smallest normal value */
    const uint32_t fraction_bits = format == FP8_E4M3 ? 3 : 2;
    const uint32_t largest = format == FP8_E4M3 ? 0x43e00000u : 0x47600000u; /* 448, 57344 */
    uint32_t bits = bits_from_f32(scaled), magnitude = bits & 0x7fffffffu;
    uint32_t bounded = magnitude > largest && magnitude <= 0x7f800000u ? largest : magnitude;
    uint32_t exponent = bounded >> 23 > lowest ? bounded >> 23 : lowest;
    exponent = exponent < 200 ? exponent : 200; /* of a NaN, which any sum leaves one */
    float shift = f32_from_bits((exponent + 23 - fraction_bits) << 23 | 0x400000u);
    float rounded = (f32_from_bits(bounded) + shift) - shift;
    return f32_from_bits(bits_from_f32(rounded) | (bits & 0x80000000u));
}
