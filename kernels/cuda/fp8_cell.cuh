/* fp8_cell.cuh - what the casts to 8 bits share: codes of scaled values, the largest magnitude of a block, and the cell of values that a
 * thread has, stored as rows and as columns. */
#pragma once

#include "kernels/cuda/dev_sm89.h"
#include "kernels/cuda/largest.cuh"

enum { CELL_ROWS = 4, CELL_COLUMNS = 8 };

/* Sizes of a matrix that is cast, and the rows that its columns have with the zeros after them. */
struct extent {
    int64_t num_rows, num_columns, padded_rows;
};

/* block_largest - over a block of so many warps, the same in every thread.  slots: shared memory, a word for each warp. */
template <int WARPS> DEV uint32_t block_largest(uint32_t value, uint32_t slots) {
    value = warp_largest(value);
    if (threadIdx.x % 32 == 0)
        shared_store4(slots + threadIdx.x / 32 * 4, value);
    block_barrier();
    for (int warp = 0; warp < WARPS; warp++)
        value = larger(value, shared_load4(slots + (uint32_t)warp * 4));
    return value;
}

/* inverse_of - a scale, which is a power of two or NaN. */
DEV float inverse_of(uint32_t scale_bits) {
    return bits_float(scale_bits == 0x7fc00000u ? scale_bits : (254u << 23) - scale_bits);
}

/* codes_of_two - of scaled values, that of lo in the low byte. */
template <int FORMAT> DEV uint32_t codes_of_two(float lo, float hi) {
    return FORMAT == FP8_E4M3 ? pack2_e4m3(lo, hi) : pack2_e5m2(lo, hi);
}

/* Four rows of eight codes, in two words each. */
struct cell {
    uint32_t words[CELL_ROWS][2];
};

/* store_rows, store_columns - a cell whose first value is at row and column. */
DEV void store_rows(uint8_t *to, const extent &e, const cell &codes, int64_t row, int64_t column) {
#pragma unroll
    for (int r = 0; r < CELL_ROWS; r++)
        if (row + r < e.num_rows)
            store8(to + (row + r) * e.num_columns + column, make_uint2(codes.words[r][0], codes.words[r][1]));
}

DEV void store_columns(uint8_t *to, const extent &e, const cell &codes, int64_t row, int64_t column) {
#pragma unroll
    for (int k = 0; k < CELL_COLUMNS; k++) {
        uint32_t word = 0;
#pragma unroll
        for (int r = 0; r < CELL_ROWS; r++)
            word |= (codes.words[r][k / 4] >> (k % 4 * 8) & 255u) << (r * 8);
        *(uint32_t *)(to + (column + k) * e.padded_rows + row) = word;
    }
}
