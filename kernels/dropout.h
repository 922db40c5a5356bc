/* dropout.h - what a device needs to know of a dropout: the words that drop, and the factor of what stays. */
#pragma once

#include <stdint.h>

#include "kernels/philox.h"

/* A word of 32 bits below `below` drops its element; the others are multiplied by scale. */
struct dropout_factors {
    uint32_t below;
    float scale;
};

/* dropout_factors_of - share: of elements that are dropped, at least 0 and less than 1. */
static inline struct dropout_factors dropout_factors_of(double share) {
    struct dropout_factors f = {(uint32_t)(share * 0x1p32), (float)(1 / (1 - share))};
    return f;
}

/* dropout_block - the words of columns 4 block to 4 block + 3 of the row at a place. */
PHILOX_INLINE struct philox dropout_block(uint64_t seed, uint64_t stream, int32_t place, int64_t block) {
    return philox_block(seed, stream, (uint64_t)(uint32_t)place << 32 | (uint64_t)block);
}
