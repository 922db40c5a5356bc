/* attention_tile.cuh - the device functions that the three sm_80 attention kernels are made of, on tiles of rows of D elements
 * (tile.cuh).
 *
 * Two C tiles of a product side by side, rounded to 16 bits, are an A fragment as they stand: so probabilities go from one product
 * into the next without leaving their thread. */
#pragma once

#include <string.h>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/tile.cuh"

/* fill - one value for every row that a lane holds part of. */
template <int M> DEV void fill(float (&rows)[M][2], float value) {
#pragma unroll
    for (int m = 0; m < M; m++)
        rows[m][0] = rows[m][1] = value;
}

/* product_rows - x [16 M, 8 N] = a b^T: a and b are rows of D elements in shared memory. */
template <class T, int D, int M, int N> DEV void product_rows(float (&x)[M][N][4], operand a, operand b) {
    clear(x);
#pragma unroll
    for (int k = 0; k < D; k += MMA_EDGE) {
        uint32_t rows[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
            ldmatrix4(rows[m], fragment_address<D>(a, m * MMA_EDGE, k));
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t columns[4];
            ldmatrix4(columns, fragment_address<D>(b, n / 2 * MMA_EDGE, k));
            const uint32_t left[2] = {columns[0], columns[2]}, right[2] = {columns[1], columns[3]};
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_16x8x16<T>(x[m][n], rows[m], left);
                mma_16x8x16<T>(x[m][n + 1], rows[m], right);
            }
        }
    }
}

/* product_columns - sums [16 M, D] += x b: x [16 M, 8 N] is rounded to T on the way, b is 8 N rows of D. */
template <class T, int D, int M, int N>
DEV void product_columns(float (&sums)[M][D / 8][4], const float (&x)[M][N][4], operand b) {
#pragma unroll
    for (int k = 0; k < N; k += 2) {
        uint32_t rows[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) {
            rows[m][0] = pack2<T>(x[m][k][0], x[m][k][1]);
            rows[m][1] = pack2<T>(x[m][k][2], x[m][k][3]);
            rows[m][2] = pack2<T>(x[m][k + 1][0], x[m][k + 1][1]);
            rows[m][3] = pack2<T>(x[m][k + 1][2], x[m][k + 1][3]);
        }
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            uint32_t columns[4];
            ldmatrix4_trans(columns, fragment_address<D>(b, k / 2 * MMA_EDGE, n * 8));
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_16x8x16<T>(sums[m][n], rows[m], columns);
                mma_16x8x16<T>(sums[m][n + 1], rows[m], columns + 2);
            }
        }
    }
}

/* What the rows of a warp see of the others, queries of keys or keys of queries: none of them anything outside any_first ..
 * any_last, each of them all of common_first .. common_last.  Bounds never decrease from row to row: so the first
 * two are the first row's first and the last row's last, the others the other way round. */
struct sight {
    int any_first, any_last, common_first, common_last;

    /* Whether some row may see some of the others from `first` on; whether every row sees all of them. */
    DEV bool any(int first, int count) const {
        return first <= any_last && first + count > any_first;
    }
    DEV bool all(int first, int count) const {
        return first >= common_first && first + count - 1 <= common_last;
    }
};

/* sight_of_queries - count of them from first_row on. */
DEV sight sight_of_queries(const attention_problem &p, int first_row, int count) {
    const int last_row = min(first_row + count, p.num_rows) - 1;
    if (first_row >= p.num_rows)
        return {0, -1, 0, -1}; /* nothing */
    return {p.first_key[first_row], last_key_of(p.last_key, last_row), p.first_key[last_row],
            last_key_of(p.last_key, first_row)};
}

/* mask_keys - minus infinity where a row may not see the key.  One comparison per score: key - begin,
 * unsigned, is larger than last - begin for keys on either side of begin .. last. */
template <int M, int N>
DEV void mask_keys(float (&scores)[M][N][4], const attention_problem &p, int first_row, int first_key) {
    const int own_row = min(first_row + lane_id() % (M * MMA_EDGE), p.num_rows - 1);
    const uint32_t begins = (uint32_t)p.first_key[own_row];
    const uint32_t spans = (uint32_t)last_key_of(p.last_key, own_row) - begins;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * MMA_EDGE + h * 8 + lane_id() / 4;
            const uint32_t span = shfl(spans, row);
            const uint32_t key = (uint32_t)(first_key + lane_id() % 4 * 2) - shfl(begins, row);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    if (key + (uint32_t)(n * 8 + e) > span)
                        scores[m][n][2 * h + e] = -INFINITY;
        }
}

/* cap_scores - q k becomes tanh(scale q k / cap); the factor cap is in scale_log2. */
template <int M, int N> DEV void cap_scores(float (&scores)[M][N][4], float cap_inverse) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                scores[m][n][e] = tanhf(scores[m][n][e] * cap_inverse);
}

/* write_rows - sums times a factor per row, rounded to T, to global memory.  They pass through shared memory
 * that only this warp uses (16 M rows of a tile), so that whole 16-byte chunks of a row are written side by
 * side. factor[m][h] belongs to row 16 m + 8 h + lane / 4. */
template <class T, int D, int M>
DEV void write_rows(char *to, int64_t row_bytes, int valid_rows, uint32_t staging,
                    const float (&sums)[M][D / 8][4], const float (&factor)[M][2]) {
    const int lane = lane_id();
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                shared_store4(
                    staging + tile_offset<D>(m * MMA_EDGE + h * 8 + lane / 4, n) + (uint32_t)(lane % 4 * 4),
                    pack2<T>(sums[m][n][2 * h] * factor[m][h], sums[m][n][2 * h + 1] * factor[m][h]));
    warp_barrier();
#pragma unroll
    for (int i = 0; i < M * MMA_EDGE * tile<D>::CHUNKS / WARP; i++) {
        int chunk = i * WARP + lane, row = chunk / tile<D>::CHUNKS;
        chunk -= row * tile<D>::CHUNKS;
        vec16 values = shared_load16(staging + tile_offset<D>(row, chunk));
        if (row < valid_rows)
            store16(to + row * row_bytes + chunk * CHUNK_BYTES, values);
    }
}
