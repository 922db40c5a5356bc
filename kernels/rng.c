/* rng.c - Philox 4x32-10; see rng.h. */
#include "kernels/rng.h"

#include <math.h>

enum { PHILOX_ROUNDS = 10 };

static const uint32_t MULTIPLIER[2] = {0xD2511F53u, 0xCD9E8D57u};
static const uint32_t WEYL[2] = {0x9E3779B9u, 0xBB67AE85u};

/* philox - 4 words from a 128-bit counter and a 64-bit key. */
static void philox(uint32_t words[4], uint64_t key) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t a = (uint64_t)MULTIPLIER[0] * words[0];
        uint64_t b = (uint64_t)MULTIPLIER[1] * words[2];
        uint32_t w0 = (uint32_t)(b >> 32) ^ words[1] ^ k0;
        uint32_t w2 = (uint32_t)(a >> 32) ^ words[3] ^ k1;
        words[1] = (uint32_t)b;
        words[3] = (uint32_t)a;
        words[0] = w0;
        words[2] = w2;
        k0 += WEYL[0];
        k1 += WEYL[1];
    }
}

static void draw(uint64_t seed, uint64_t stream, uint64_t index, uint64_t out[2]) {
    uint32_t words[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream,
                         (uint32_t)(stream >> 32)};
    philox(words, seed);
    out[0] = words[0] | (uint64_t)words[1] << 32;
    out[1] = words[2] | (uint64_t)words[3] << 32;
}

uint64_t rng_stream(enum rng_use use, uint64_t id) {
    return (uint64_t)use << 56 ^ id;
}

uint64_t rng_bits(uint64_t seed, uint64_t stream, uint64_t index) {
    uint64_t out[2];
    draw(seed, stream, index, out);
    return out[0];
}

double rng_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
    return (double)(rng_bits(seed, stream, index) >> 11) * 0x1p-53;
}

double rng_normal(uint64_t seed, uint64_t stream, uint64_t index) {
    uint64_t out[2];
    draw(seed, stream, index, out);
    double radius = sqrt(-2.0 * log((double)((out[0] >> 11) + 1) * 0x1p-53)); /* (0, 1]: log is finite */
    return radius * cos(6.283185307179586 * (double)(out[1] >> 11) * 0x1p-53);
}

uint64_t rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t limit) {
    return (uint64_t)((unsigned __int128)rng_bits(seed, stream, index) * limit >> 64);
}
