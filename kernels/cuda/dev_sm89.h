/* dev_sm89.h - PTX of Ada and Hopper (sm_89, sm_90a) behind wrappers: codes of 8 bits.
 *
 * As in dev.h, nvcc compiles the PTX and other compilers tests/simt/simt_sm89.h.  Machine code of older GPUs has integers instead, which
 * newer ones that run its PTX execute, too: the same codes, at many times as many instructions.
 * Source: the PTX ISA, section 9.7.9, "cvt". */
#pragma once

#include "kernels/cuda/dev.h"

/* code_by_integers - of a number, as below, without the instruction and without a branch (kernels/half.h says how).  FRACTION: its bits, 3
 * or 2; LARGEST, LOWEST: bits of an f32, of the largest number and of the smallest normal one. */
template <uint32_t FRACTION, uint32_t LARGEST, uint32_t LOWEST> DEV uint32_t code_by_integers(float x) {
    constexpr uint32_t DROPPED = 23 - FRACTION; /* bits of an f32's fraction */
    constexpr uint32_t PLACE =
        LOWEST + (DROPPED << 23); /* of a power of two whose last place is the smallest number */
    uint32_t bits = float_bits(x), magnitude = bits & 0x7fffffffu;
    uint32_t bounded = magnitude < LARGEST ? magnitude : LARGEST;
    uint32_t rounded = bounded + ((1u << (DROPPED - 1)) - 1) + (bounded >> DROPPED & 1u);
    uint32_t normal = (rounded - LOWEST + (1u << 23)) >> DROPPED;
    uint32_t small = float_bits(bits_float(bounded) + bits_float(PLACE)) - PLACE;
    uint32_t code = bounded < LOWEST ? small : normal;
    return (magnitude > 0x7f800000u ? 0x7fu : code) | (bits >> 24 & 0x80u);
}
DEV uint32_t e4m3_by_integers(float x) {
    return code_by_integers<3, 0x43e00000u, 121u << 23>(x); /* 448, 2^-6 */
}
DEV uint32_t e5m2_by_integers(float x) {
    return code_by_integers<2, 0x47600000u, 113u << 23>(x); /* 57344, 2^-14 */
}

/* pack2_e4m3, pack2_e5m2 - the codes of two numbers in the lower half of a word, that of lo in its low byte.  To nearest, ties to even;
 * what is too large, infinity too, becomes the largest number of its sign; a NaN becomes one of the format's, of which the instruction may
 * take another than the integers do. */
#ifdef __CUDACC__
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#define DEV_CODES(format)                                                                                    \
    uint16_t codes;                                                                                          \
    asm("cvt.rn.satfinite." format "x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(hi), "f"(lo));                   \
    return codes
DEV uint32_t pack2_e4m3(float lo, float hi) {
    DEV_CODES("e4m3");
}
DEV uint32_t pack2_e5m2(float lo, float hi) {
    DEV_CODES("e5m2");
}
#else
DEV uint32_t pack2_e4m3(float lo, float hi) {
    return e4m3_by_integers(lo) | e4m3_by_integers(hi) << 8;
}
DEV uint32_t pack2_e5m2(float lo, float hi) {
    return e5m2_by_integers(lo) | e5m2_by_integers(hi) << 8;
}
#endif
#else
#include "simt_sm89.h"
#endif
