/* row8.h - eight columns of a matrix product at once, for the twins of mma and wgmma.  Two vectors of four:
 * what every x86-64 has, so that the compiler keeps them in registers. */
#pragma once

#include <cstring>

namespace simt {

typedef float row4 __attribute__((vector_size(16)));

struct row8 {
    row4 lo, hi;
};

static inline row8 load_row8(const float *from) {
    row8 row;
    memcpy(&row, from, sizeof row);
    return row;
}

static inline void store_row8(float *to, const row8 &row) {
    memcpy(to, &row, sizeof row);
}

/* sum += a * b[0 .. 7], one rounding after the product and one after the sum. */
static inline void multiply_add(row8 &sum, float a, const float *b) {
    row8 row = load_row8(b);
    sum.lo += a * row.lo;
    sum.hi += a * row.hi;
}

} // namespace simt
