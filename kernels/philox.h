/* philox.h - Philox 4x32-10 and rounding at random, by bits, for the host and for kernels: the CPU and the
 * GPU draw the same words and so round the same value to the same side. Source: Salmon et al., "Parallel
 * random numbers: as easy as 1, 2, 3", SC11. */
#pragma once

#include <stdint.h>

#ifdef __CUDACC__
#define PHILOX_INLINE static __host__ __device__ __forceinline__
#else
#define PHILOX_INLINE static inline __attribute__((always_inline))
#endif

/* One block of random words, before and after: the 128-bit counter goes in. */
struct philox {
    uint32_t words[4];
};

/* philox_block - 4 random words from (seed, stream, index); see rng.h for what a stream is. */
PHILOX_INLINE struct philox philox_block(uint64_t seed, uint64_t stream, uint64_t index) {
    struct philox p = {
        {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)}};
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * p.words[0];
        uint64_t b = (uint64_t)0xCD9E8D57u * p.words[2];
        p.words[0] = (uint32_t)(b >> 32) ^ p.words[1] ^ k0;
        p.words[2] = (uint32_t)(a >> 32) ^ p.words[3] ^ k1;
        p.words[1] = (uint32_t)b;
        p.words[3] = (uint32_t)a;
        k0 += 0x9E3779B9u; /* the golden ratio, and the root of 3 less 1: Weyl sequences */
        k1 += 0xBB67AE85u;
    }
    return p;
}

/* bf16_at_random - the bits of an f32 rounded to bf16, up or down with the probabilities that make the result
 * right on average: the low 16 of `random` are added below the last bit that stays.  A value that bf16 holds
 * is not changed; NaN stays NaN. */
PHILOX_INLINE uint16_t bf16_at_random(uint32_t bits, uint32_t random) {
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x0040u); /* the sum could carry a NaN to zero */
    return (uint16_t)((bits + (random & 0xffffu)) >> 16);
}
