/* experts.cuh - what the kernels of experts share: sums and counts of a warp, and where a block of a grouped product works.
 *
 * A grouped product is one launch over the tiles of all experts.  Who computes which tile follows from `starts` in the GPU's
 * memory: the host does not know how many rows an expert has, and does not wait to learn it. */
#pragma once

#include "kernels/cuda/vector.cuh"

/* bit_count - how many bits are set. */
DEV uint32_t bit_count(uint32_t x) {
    x -= x >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    return ((x + (x >> 4)) & 0x0f0f0f0f) * 0x01010101 >> 24;
}

/* warp_sums - of the lanes up to this one. */
DEV uint32_t warp_sums(uint32_t v) {
    for (int distance = 1; distance < 32; distance *= 2) {
        uint32_t other = shfl_up(v, distance);
        v += (int)threadIdx.x % 32 >= distance ? other : 0;
    }
    return v;
}

/* The three products D [m, n] = sum over k of A B, and += where it adds, of each expert e with places p:
 *   FORWARD  y [p, O]  = x [p, I] w_e^T     m: places    n: O    k: I
 *   INPUT    dx [p, I] = dy [p, O] w_e      m: places    n: I    k: O
 *   WEIGHT   dw_e [O, I] = dy^T x           m: O         n: I    k: places */
enum grouped_product { GROUPED_FORWARD, GROUPED_INPUT, GROUPED_WEIGHT };

/* How an operand lies: rows along k, or a row for each k. */
enum operand_rows { ROWS_ALONG_K, ROWS_ACROSS_K };
template <grouped_product P>
constexpr operand_rows ROWS_OF_A = P == GROUPED_WEIGHT ? ROWS_ACROSS_K : ROWS_ALONG_K;
template <grouped_product P>
constexpr operand_rows ROWS_OF_B = P == GROUPED_FORWARD ? ROWS_ALONG_K : ROWS_ACROSS_K;

/* Strides are elements from a row to the next. */
template <class T, class D> struct grouped {
    D *d;
    const T *a, *b;
    const int32_t *starts;
    int64_t a_stride, b_stride, d_stride;
    int num_experts;
    int m, n, k; /* that which is a number of places: of all experts together */
    bool adds;
};

/* What one block computes: pointers to its corner, and how much there is from there on; m 0: nothing. */
template <class T, class D> struct grouped_task {
    D *d;
    const T *a, *b;
    int m, n, k;
};

/* An expert's tile: number `tile` of those of `count` places from `first` on; expert -1: there are not so many tiles. */
struct expert_tile {
    int expert, first, count, tile;
};

/* expert_tile_find - of tiles of EDGE places, `columns` of them side by side (warp). */
template <int EDGE>
DEV expert_tile expert_tile_find(const int32_t *starts, int num_experts, int tile, int columns) {
    for (int from = 0; from < num_experts; from += 32) {
        int expert = from + (int)threadIdx.x % 32, known = expert < num_experts;
        uint32_t first = known ? (uint32_t)starts[expert] : 0,
                 count = known ? (uint32_t)starts[expert + 1] - first : 0;
        uint32_t tiles = (count + EDGE - 1) / EDGE * (uint32_t)columns, sums = warp_sums(tiles);
        uint32_t after =
            ballot((uint32_t)tile < sums); /* of the expert that is looked for, and all lanes after it */
        if (after) {
            int lane = 32 - (int)bit_count(after);
            uint32_t before = shfl(sums - tiles, lane);
            return {from + lane, (int)shfl(first, lane), (int)shfl(count, lane), tile - (int)before};
        }
        tile -= (int)shfl(sums, 31);
    }
    return {-1, 0, 0, 0};
}

/* grouped_task_of - of block (x: tile, y: expert of GROUPED_WEIGHT), the same in each thread.  Blocks side by side have one column
 * of tiles: the same part of an expert's matrix. */
template <grouped_product P, int M, int N, class T, class D>
DEV grouped_task<T, D> grouped_task_of(const grouped<T, D> &g) {
    const int columns = (g.n + N - 1) / N;
    if constexpr (P == GROUPED_WEIGHT) {
        int expert = (int)blockIdx.y, rows = (g.m + M - 1) / M;
        int64_t first = g.starts[expert], m = (int)blockIdx.x % rows * M, n = (int)blockIdx.x / rows * N;
        return {g.d + (expert * (int64_t)g.m + m) * g.d_stride + n,
                g.a + first * g.a_stride + m,
                g.b + first * g.b_stride + n,
                g.m - (int)m,
                g.n - (int)n,
                g.starts[expert + 1] - (int)first};
    } else {
        expert_tile at = expert_tile_find<M>(g.starts, g.num_experts, (int)blockIdx.x, columns);
        if (at.expert < 0)
            return {};
        int rows = (at.count + M - 1) / M, m = at.tile % rows * M;
        int64_t n = at.tile / rows * N, place = at.first + m;
        const T *w = g.b + at.expert * (int64_t)(P == GROUPED_FORWARD ? g.n : g.k) * g.b_stride;
        return {g.d + place * g.d_stride + n,
                g.a + place * g.a_stride,
                w + (P == GROUPED_FORWARD ? n * g.b_stride : n),
                at.count - m,
                g.n - (int)n,
                g.k};
    }
}

/* grouped_grid - enough blocks whatever the router chose: an expert's last tile may be a part of one. */
template <grouped_product P, int M, int N, class T, class D> dim3 grouped_grid(const grouped<T, D> &g) {
    if (P == GROUPED_WEIGHT)
        return dim3((unsigned)(divide_up(g.m, M) * divide_up(g.n, N)), (unsigned)g.num_experts);
    int parts = g.num_experts < g.m ? g.num_experts : g.m;
    return dim3((unsigned)((g.m / M + parts) * divide_up(g.n, N)));
}

/* grouped_plain, grouped_tiles - compute it; tiles: only of 16-bit types, where rows move by 16 bytes (experts_products.cu). */
template <grouped_product P, class T, class D> void grouped_plain(struct device *dev, const grouped<T, D> &g);
template <grouped_product P, class T, class D> void grouped_tiles(struct device *dev, const grouped<T, D> &g);
