/* rng.h - counter-based random numbers: the value depends on (seed, stream, index) alone, so it is the
 * same on any number of ranks and after any restart.
 * Source: Philox 4x32-10, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a stream is for; the high half of the stream word, so that uses never share numbers. */
enum rng_use {
    RNG_INIT = 1,
    RNG_SHUFFLE = 2,
    RNG_MIX = 3,
    RNG_SAMPLE = 4,
    RNG_ROUND = 5,
    RNG_TEST = 6,
    RNG_DROPOUT = 7,
    RNG_SHOW = 8,
    RNG_SHOTS = 9
};

/* rng_stream - a stream word from a use and an id (a tensor, a file, an epoch). */
uint64_t rng_stream(enum rng_use use, uint64_t id);

/* rng_stream_named - a stream word from a use, a name (of a tensor) and a number (of an update): the numbers
 * of one tensor do not depend on which others the model has, nor on their order. */
uint64_t rng_stream_named(enum rng_use use, const char *name, uint64_t number);

/* rng_bits - 64 random bits. */
uint64_t rng_bits(uint64_t seed, uint64_t stream, uint64_t index);

/* rng_uniform - in [0, 1), 53 bits. */
double rng_uniform(uint64_t seed, uint64_t stream, uint64_t index);

/* rng_normal - standard normal (Box-Muller). */
double rng_normal(uint64_t seed, uint64_t stream, uint64_t index);

/* rng_below - uniform integer in [0, limit), without bias worth naming (128-bit product); limit > 0. */
uint64_t rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t limit);

#ifdef __cplusplus
}
#endif
