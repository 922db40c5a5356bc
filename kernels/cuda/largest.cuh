/* largest.cuh - the largest magnitude of what a kernel writes or reads in bf16, into a word of global memory (struct fp8_magnitude).  Bits
 * without the sign are in the order of magnitudes, and a maximum is the same in any order, so that blocks raise the word as they end:
 * it is 0 before the kernel. */
#pragma once

#include "kernels/cuda/vector.cuh"

/* HAS_LARGEST - whether kernels that write a type can find it. */
template <class T> constexpr bool HAS_LARGEST = false;
template <> constexpr bool HAS_LARGEST<bf16_t> = true;

/* larger - of two, bits of bf16 without the sign. */
DEV uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* pack_largest - of a value and the magnitudes of a pack. */
template <int N> DEV uint32_t pack_largest(uint32_t value, const pack<bf16_t, N> &p) {
    for (int w = 0; w < p.WORDS; w++)
        value = larger(value, larger(p.words[w] & 0x7fffu, p.words[w] >> 16 & 0x7fffu));
    return value;
}

DEV uint32_t warp_largest(uint32_t value) {
    for (int mask = 16; mask > 0; mask /= 2)
        value = larger(value, shfl_xor(value, mask));
    return value;
}

/* raise_by_warps - the word to what each warp found, by each of them: where blocks are few. */
DEV void raise_by_warps(uint32_t *largest, uint32_t value) {
    value = warp_largest(value);
    if (threadIdx.x % 32 == 0)
        atomic_max(largest, value);
}

/* raise_largest - the word to what a team of whole warps found: once for each, so that a word which all blocks share is not what they wait
 * for.  threadIdx.x counts inside the team; one of several warps is the whole block, and has a word of shared memory at slots for each. */
DEV void raise_largest(uint32_t *largest, uint32_t value, int num_warps, uint32_t slots) {
    value = warp_largest(value);
    if (num_warps > 1) {
        if (threadIdx.x % 32 == 0)
            shared_store4(slots + threadIdx.x / 32 * 4, value);
        block_barrier();
        for (int warp = 0; warp < num_warps && threadIdx.x == 0; warp++)
            value = larger(value, shared_load4(slots + (uint32_t)warp * 4));
    }
    if (threadIdx.x == 0)
        atomic_max(largest, value);
}
