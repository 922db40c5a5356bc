/* attention_sm70.cuh - the device functions of attention_sm70.cu that know where elements lie: tiles in shared memory, products
 * by mma.m8n8k4, and their sums on the way out.
 *
 * Rows of a tile are 16 bytes further apart than they are long: 8 lanes that read 16 bytes each of 8 rows meet all banks.
 *
 * Fragments.  A quarter of a warp, lanes 4 i .. 4 i + 3 and the same + 16, multiplies 8 x 4 by 4 x 8 (dev.h).  It is
 * given the rows whose numbers are its lanes', of the others all four are given the same.  Then a lane holds of an
 * accumulator [N][4] columns 4 n + (lane & 2) and the next one, of rows (lane & ~2) (elements 0, 1) and that + 2
 * (elements 2, 3).  Above head width 128 two warps own the same rows: each computes all weights, and half the columns. */
#pragma once

#include <math.h>

#include "kernels/cuda/attention_rotation.cuh"

enum { WARP = 32, WARPS = 4, THREADS = WARPS * WARP, CHUNK_BYTES = 16 };
enum pass { FORWARD, VALUES, QUERIES, KEYS };

/* Tile sizes by head width. */
template <int D, pass PASS> struct volta_shape {
    static constexpr bool OWN_QUERIES = PASS == FORWARD || PASS == QUERIES;
    static constexpr bool GRADIENT = PASS == QUERIES || PASS == KEYS; /* of the scores */
    static constexpr int PARTS = D > 128 ? 2 : 1;                     /* warps that own the same rows */
    static constexpr int OWN = WARPS / PARTS * WARP, OTHERS = D > 192 ? 16 : 32;
    static constexpr int N = OTHERS / 4;
    /* Columns of a warp: in each half of the head the same, so that it has both elements of a pair that turns. */
    static constexpr int COLUMNS = D / PARTS, JUMP = D / 2 - COLUMNS / 2;
    static constexpr int CHUNKS = D * 2 / CHUNK_BYTES;
    static constexpr uint32_t ROW_BYTES = D * 2 + CHUNK_BYTES;
    static constexpr uint32_t OWN_BYTES = OWN * ROW_BYTES, OTHER_BYTES = OTHERS * ROW_BYTES;
    static constexpr uint32_t OTHERS_AT = (GRADIENT ? 2 : 1) * OWN_BYTES;
    static constexpr uint32_t SHARED_BYTES = OTHERS_AT + 2 * OTHER_BYTES;
};

/* Rows of a head in global memory. */
struct head_rows {
    const char *first;
    int64_t row_bytes;
};

DEV int lane_id() {
    return (int)(threadIdx.x % WARP);
}

/* column_of - the first of the two columns of tile n that this lane holds. */
DEV int column_of(int n) {
    return 4 * n + (lane_id() & 2);
}

/* load_tile - ROWS rows from `first` on; those past the last become zero: zero times an old NaN would be NaN. */
template <int D, int ROWS> DEV void load_tile(uint32_t to, head_rows from, int first, int num_rows) {
    using shape = volta_shape<D, FORWARD>;
#pragma unroll
    for (int i = 0; i < (ROWS * shape::CHUNKS + THREADS - 1) / THREADS; i++) {
        const int at = (int)threadIdx.x + i * THREADS, row = at / shape::CHUNKS, chunk = at % shape::CHUNKS;
        if (at >= ROWS * shape::CHUNKS)
            break;
        vec16 values = {{0, 0, 0, 0}};
        if (first + row < num_rows)
            values = load16(from.first + (first + row) * from.row_bytes + chunk * CHUNK_BYTES);
        shared_store16(to + (uint32_t)row * shape::ROW_BYTES + (uint32_t)(chunk * CHUNK_BYTES), values);
    }
}

/* store_rows - sums times a factor per row, rounded, to global memory.  They pass through the tile of own rows, which
 * nobody reads any more, so that whole chunks of 16 bytes are written side by side. */
template <int D, int N>
DEV void store_rows(char *to, int64_t row_bytes, int valid_rows, uint32_t tile, const float (&sums)[N][4],
                    const float (&factor)[2]) {
    using shape = volta_shape<D, FORWARD>;
    const int warp = (int)(threadIdx.x / WARP), part = warp % shape::PARTS;
    block_barrier();
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = warp / shape::PARTS * WARP + (lane_id() & ~2) + 2 * h;
            const int column = column_of(n) + part * shape::COLUMNS / 2 + (n >= N / 2 ? shape::JUMP : 0);
            shared_store4(tile + (uint32_t)row * shape::ROW_BYTES + (uint32_t)column * 2,
                          pack2<f16_t>(sums[n][2 * h] * factor[h], sums[n][2 * h + 1] * factor[h]));
        }
    block_barrier();
    for (int at = (int)threadIdx.x; at < shape::OWN * shape::CHUNKS; at += THREADS) {
        const int row = at / shape::CHUNKS, chunk = at % shape::CHUNKS;
        if (row < valid_rows)
            store16(to + row * row_bytes + chunk * CHUNK_BYTES,
                    shared_load16(tile + (uint32_t)row * shape::ROW_BYTES + (uint32_t)(chunk * CHUNK_BYTES)));
    }
}

/* turn_sums_back - by the positions of their rows (attention_rotation.cuh). */
template <int D, int N>
DEV void turn_sums_back(float (&sums)[N][4], const attention_problem &p, int warp_row) {
    using shape = volta_shape<D, FORWARD>;
    const int part_column = (int)(threadIdx.x / WARP) % shape::PARTS * shape::COLUMNS / 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const row_angles of = angles_of(p.rotation, warp_row + (lane_id() & ~2) + 2 * h, p.num_rows, D / 2);
        if (p.rotation.layout == ROPE_HALVES) {
#pragma unroll
            for (int n = 0; n < N / 2; n++) {
                float cosine[2], sine[2];
                angles_of_two(cosine, of.cos, of.known, column_of(n) + part_column);
                angles_of_two(sine, of.sin, of.known, column_of(n) + part_column);
#pragma unroll
                for (int e = 0; e < 2; e++)
                    turn_back(sums[n][2 * h + e], sums[n + N / 2][2 * h + e], cosine[e], sine[e]);
            }
        } else {
#pragma unroll
            for (int n = 0; n < N; n++) {
                const int pair = (column_of(n) + part_column + (n >= N / 2 ? shape::JUMP : 0)) / 2;
                turn_back(sums[n][2 * h], sums[n][2 * h + 1], angle_of(of.cos, of.known, pair),
                          angle_of(of.sin, of.known, pair));
            }
        }
    }
}

template <int N> DEV void clear(float (&x)[N][4]) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            x[n][e] = 0.0f;
}

/* product_rows - x [32, 4 N] = own others^T.  own_row: of this lane's own row; others: of the tile. */
template <int D, int N> DEV void product_rows(float (&x)[N][4], uint32_t own_row, uint32_t others) {
    using shape = volta_shape<D, FORWARD>;
    others += (uint32_t)(lane_id() % 4 + lane_id() / 16 * 4) * shape::ROW_BYTES;
    clear(x);
#pragma unroll 8
    for (int k = 0; k < shape::CHUNKS; k++) {
        const vec16 a = shared_load16(own_row + (uint32_t)(k * CHUNK_BYTES));
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            const vec16 b =
                shared_load16(others + (uint32_t)n * 4 * shape::ROW_BYTES + (uint32_t)(k * CHUNK_BYTES));
            mma_8x8x4_columns(x[n], x[n + 1], a.w, b.w);
            mma_8x8x4_columns(x[n], x[n + 1], a.w + 2, b.w + 2);
        }
    }
}

/* left_operand - four columns of x, rounded, as mma takes them: each lane all four of the row with its number.  It has two
 * of that row and two of its neighbour's. */
DEV void left_operand(uint32_t (&a)[2], const float (&x)[4]) {
    const uint32_t first = pack2<f16_t>(x[0], x[1]), second = pack2<f16_t>(x[2], x[3]);
    const bool has_second = lane_id() & 2;
    const uint32_t got = shfl_xor(has_second ? first : second, 2);
    a[0] = has_second ? got : first;
    a[1] = has_second ? second : got;
}

/* product_columns - sums += x others, of this warp's columns.  A lane reads 8 of them at a time, and two mma take four
 * each: so tiles 0 and 2 of four are the columns of one, 1 and 3 of the other. */
template <int D, int NS, int N>
DEV void product_columns(float (&sums)[NS][4], const float (&x)[N][4], uint32_t others) {
    using shape = volta_shape<D, FORWARD>;
    const int part = (int)(threadIdx.x / WARP) % shape::PARTS;
    others += (uint32_t)(lane_id() % 4) * shape::ROW_BYTES + (uint32_t)(lane_id() / 16 * CHUNK_BYTES) +
              (uint32_t)(part * shape::COLUMNS);
#pragma unroll
    for (int k = 0; k < N; k++) {
        uint32_t a[2];
        left_operand(a, x[k]);
#pragma unroll
        for (int n = 0; n < NS; n += 4) {
            const uint32_t column = (uint32_t)(n * 4 + (n >= NS / 2 ? shape::JUMP : 0));
            const vec16 b = shared_load16(others + (uint32_t)k * 4 * shape::ROW_BYTES + column * 2);
            mma_8x8x4_rows(sums[n], sums[n + 2], a, b.w);
            mma_8x8x4_rows(sums[n + 1], sums[n + 3], a, b.w + 2);
        }
    }
}
