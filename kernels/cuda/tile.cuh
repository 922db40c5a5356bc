/* tile.cuh - tiles of 16-bit elements in shared memory, as ldmatrix and mma of sm_80 read them; for the products of attention and
 * of experts.
 *
 * A tile holds rows of D elements, without padding.  ldmatrix reads 8 rows of 16 bytes at a time, and those must lie in different
 * banks: the 16-byte chunks of a row are therefore permuted by an exclusive or with some bits of the row number.  Which bits,
 * depends on how the row width falls on the 128-byte line of banks: a row of 64 elements begins where the one before it began (3
 * bits), one of 96 half a line further (2 bits, every second row), one of 80 a quarter (1 bit, every fourth row).
 *
 * Fragments.  mma takes A [16 x 16] row by row, B [16 x 8] column by column and keeps C [16 x 8] as: lane l has columns 2 (l % 4)
 * and the next, of rows l / 4 (elements 0, 1) and l / 4 + 8 (elements 2, 3).  All operands are read by one lane pattern (row
 * l % 16, chunk l / 16), with ldmatrix as they lie (rows run along the product) or transposed (rows are the summed dimension). */
#pragma once

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/dev.h"

enum {
    WARP = 32,
    MMA_EDGE = 16,   /* rows and depth of one mma; widths go in pairs of 8 */
    CHUNK_BYTES = 16 /* what cp.async and one lane of ldmatrix move */
};

/* Layout of a tile of rows of D elements. */
template <int D> struct tile {
    static constexpr int ROW_BYTES = D * 2;
    static constexpr int CHUNKS = ROW_BYTES / CHUNK_BYTES;
    static constexpr int SHIFT = CHUNKS % 8 == 0 ? 0 : CHUNKS % 4 == 0 ? 1 : 2;
    static constexpr int MASK = (8 >> SHIFT) - 1;
    static constexpr uint32_t PERIOD_BYTES = (MASK + 1) * CHUNK_BYTES; /* the permutation stays within it */
};

DEV int lane_id() {
    return (int)(threadIdx.x % WARP);
}

/* tile_offset - where a chunk of a row lies in its tile. */
template <int D> DEV uint32_t tile_offset(int row, int chunk) {
    return (uint32_t)(row * tile<D>::ROW_BYTES +
                      ((chunk ^ ((row >> tile<D>::SHIFT) & tile<D>::MASK)) * CHUNK_BYTES));
}

/* tile_load - start copying ROWS rows into a tile; rows from valid_rows on become zero (never left as they
 * were: zero times an old NaN would be NaN). */
template <int D, int ROWS, int THREADS>
DEV void tile_load(uint32_t to, const char *from, int row_bytes, int valid_rows) {
    constexpr int CHUNKS = tile<D>::CHUNKS, COPIES = (ROWS * CHUNKS + THREADS - 1) / THREADS;
    constexpr bool WHOLE_ROWS = THREADS % CHUNKS == 0; /* a thread keeps its column: less arithmetic */
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
        const int at = (int)threadIdx.x + (WHOLE_ROWS ? 0 : i * THREADS);
        const int row = at / CHUNKS + (WHOLE_ROWS ? i * (THREADS / CHUNKS) : 0), chunk = at % CHUNKS;
        if (ROWS * CHUNKS % THREADS == 0 || row < ROWS)
            cp_async16(to + tile_offset<D>(row, chunk), from + (int64_t)row * row_bytes + chunk * CHUNK_BYTES,
                       row < valid_rows);
    }
}

/* A tile as ldmatrix sees it: `lane` is the address that this lane gives for the fragment at (0, 0) of a tile
 * at the start of shared memory, `at` the distance to the tile in question.  The permutation acts on address
 * bits that are zero in `at` and in every row offset; so fragments of all tiles share their few values of
 * lane ^ low, and all else is a constant in the instruction. */
struct operand {
    uint32_t lane, at;
};

template <int D> DEV uint32_t tile_lane(uint32_t shared_start) {
    return shared_start + tile_offset<D>(lane_id() % MMA_EDGE, lane_id() / MMA_EDGE);
}

/* fragment_address - row and column are multiples of MMA_EDGE. */
template <int D> DEV uint32_t fragment_address(operand tile_operand, int row, int column) {
    const uint32_t bytes = (uint32_t)column * 2, low = bytes % tile<D>::PERIOD_BYTES;
    return (tile_operand.lane ^ low) + (tile_operand.at + bytes - low + (uint32_t)(row * tile<D>::ROW_BYTES));
}

/* clear - accumulators to zero. */
template <int M, int N> DEV void clear(float (&x)[M][N][4]) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                x[m][n][e] = 0.0f;
}
