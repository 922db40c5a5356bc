/* half.h - bf16, f16, E4M3 and E5M2 storage <-> f32, by bits, so that every compiler and device agrees.
 * Rounding to nearest even; NaN stays NaN; f16 overflow becomes infinity. */
#pragma once

#include <stdint.h>
#include <string.h>

/* f32_from_bits, bits_from_f32 - the same 32 bits, as a number and as an integer. */
static inline float f32_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_from_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* bf16 is the upper half of an f32: widening is exact. */
static inline float f32_from_bf16(uint16_t half) {
    return f32_from_bits((uint32_t)half << 16);
}

static inline uint16_t bf16_from_f32(float value) {
    uint32_t bits = bits_from_f32(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) /* NaN: keep it quiet, never round it to infinity */
        return (uint16_t)((bits >> 16) | 0x0040u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* f16: 1 bit of sign, 5 of exponent (bias 15), 10 of fraction; widening is exact. */
static inline float f32_from_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu, fraction = half & 0x3ffu;
    if (exponent == 31)
        return f32_from_bits(sign | 0x7f800000u | (fraction << 13));
    if (exponent)
        return f32_from_bits(sign | ((exponent + 112) << 23) | (fraction << 13));
    float magnitude = (float)fraction * 0x1p-24f; /* subnormal, exact */
    return f32_from_bits(sign | bits_from_f32(magnitude));
}

/* f16_from_f32 - the exponent moves by 112 = 127 - 15; the 13 bits that do not fit decide the rounding. */
static inline uint16_t f16_from_f32(float value) {
    uint32_t bits = bits_from_f32(value);
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
    if (magnitude >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* subnormal: let the FPU round to a multiple of 2^-24 */
        float scaled = f32_from_bits(magnitude) + 0.5f; /* 2^-24 is the last bit of 0.5's fraction */
        return (uint16_t)(sign | (uint16_t)(bits_from_f32(scaled) - bits_from_f32(0.5f)));
    }
    uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | (uint16_t)((rounded - 0x38000000u) >> 13));
}

/* f32_from_e4m3 - 4 bits of exponent (bias 7), 3 of fraction; no infinity, NaN where all seven are set, largest 448.
 * Source: Micikevicius et al., "FP8 Formats for Deep Learning", table 1. */
static inline float f32_from_e4m3(uint8_t byte) {
    uint32_t sign = (uint32_t)(byte & 0x80u) << 24;
    uint32_t exponent = (byte >> 3) & 0xfu, fraction = byte & 7u;
    if ((byte & 0x7fu) == 0x7fu)
        return f32_from_bits(sign | 0x7fc00000u);
    if (exponent)
        return f32_from_bits(sign | ((exponent + 120) << 23) | (fraction << 20));
    float magnitude = (float)fraction * 0x1p-9f; /* subnormal, exact */
    return f32_from_bits(sign | bits_from_f32(magnitude));
}

/* e4m3_from_f32 - to nearest, ties to even; what is larger than 448 becomes 448, NaN stays NaN. */
static inline uint8_t e4m3_from_f32(float value) {
    uint32_t bits = bits_from_f32(value), magnitude = bits & 0x7fffffffu, sign = bits >> 24 & 0x80u;
    if (magnitude > 0x7f800000u)
        return (uint8_t)(sign | 0x7fu);
    if (magnitude >= bits_from_f32(448.0f))
        return (uint8_t)(sign | 0x7eu);
    if (magnitude < bits_from_f32(0x1p-6f)) { /* multiples of 2^-9: the last place of what is near 2^14 */
        float shifted = f32_from_bits(magnitude) + 0x1p14f;
        return (uint8_t)(sign | (bits_from_f32(shifted) - bits_from_f32(0x1p14f)));
    }
    uint32_t rounded = magnitude + 0x7ffffu + (magnitude >> 20 & 1u);
    return (uint8_t)(sign | ((rounded >> 20) - (120u << 3)));
}

/* f32_from_e5m2 - 5 bits of exponent (bias 15), 2 of fraction: the upper byte of an f16.  Source: as above. */
static inline float f32_from_e5m2(uint8_t byte) {
    return f32_from_f16((uint16_t)(byte << 8));
}

/* e5m2_from_f32 - to nearest, ties to even; what is larger than 57344, infinity too, becomes 57344, NaN stays NaN. */
static inline uint8_t e5m2_from_f32(float value) {
    uint32_t bits = bits_from_f32(value), magnitude = bits & 0x7fffffffu, sign = bits >> 24 & 0x80u;
    if (magnitude > 0x7f800000u)
        return (uint8_t)(sign | 0x7fu);
    if (magnitude >= bits_from_f32(57344.0f))
        return (uint8_t)(sign | 0x7bu);
    if (magnitude < bits_from_f32(0x1p-14f)) { /* multiples of 2^-16: the last place of what is near 2^7 */
        float shifted = f32_from_bits(magnitude) + 0x1p7f;
        return (uint8_t)(sign | (bits_from_f32(shifted) - bits_from_f32(0x1p7f)));
    }
    uint32_t rounded = magnitude + 0xfffffu + (magnitude >> 21 & 1u);
    return (uint8_t)(sign | ((rounded >> 21) - (112u << 2)));
}
