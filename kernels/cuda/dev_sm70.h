/* dev_sm70.h - what GPUs before sm_80 have no instruction for, by others; included by dev.h, which says what each of them
 * does.  No preprocessor: the host compiles and tries them too (tests/simt/conformance_sm70.cu). */
#pragma once

/* bf16_of_bits - the bits of an f32 rounded to nearest even; NaN becomes 0x7fff, as cvt.rn.bf16.f32 has it. */
DEV uint16_t bf16_of_bits(uint32_t bits) {
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded);
}

/* pair_of_halves - lo in the low half of a word. */
DEV uint32_t pair_of_halves(uint16_t lo, uint16_t hi) {
    return (uint32_t)hi << 16 | lo;
}

/* max_or_nan - the larger of two, NaN (0x7fffffff) when either is. */
DEV float max_or_nan(float a, float b) {
    return a != a || b != b ? bits_float(0x7fffffffu) : fmaxf(a, b);
}
