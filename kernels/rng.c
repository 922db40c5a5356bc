/* rng.c - numbers from the random words of philox.h; see rng.h. */
#include "kernels/rng.h"

#include <math.h>

#include "kernels/philox.h"

/* draw - 128 bits for an index; most uses take the first 64. */
static void draw(uint64_t seed, uint64_t stream, uint64_t index, uint64_t out[2]) {
    struct philox p = philox_block(seed, stream, index);
    out[0] = p.words[0] | (uint64_t)p.words[1] << 32;
    out[1] = p.words[2] | (uint64_t)p.words[3] << 32;
}

/* The use in the top byte; ids reach into it only beyond 2^56. */
uint64_t rng_stream(enum rng_use use, uint64_t id) {
    return (uint64_t)use << 56 ^ id;
}

/* The name by FNV-1a (Fowler, Noll, Vo), then the number by the finaliser of SplitMix64 (Steele et al. 2014);
 * the high byte is the use's. */
uint64_t rng_stream_named(enum rng_use use, const char *name, uint64_t number) {
    uint64_t hash = 0xCBF29CE484222325u;
    for (; *name; name++)
        hash = (hash ^ (uint64_t)(unsigned char)*name) * 0x100000001B3u;
    hash += (number + 1) * 0x9E3779B97F4A7C15u;
    hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9u;
    hash = (hash ^ hash >> 27) * 0x94D049BB133111EBu;
    return rng_stream(use, (hash ^ hash >> 31) >> 8);
}

uint64_t rng_bits(uint64_t seed, uint64_t stream, uint64_t index) {
    uint64_t out[2];
    draw(seed, stream, index, out);
    return out[0];
}

/* The top 53 bits, as many as a double holds: every value is a multiple of 2^-53. */
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
