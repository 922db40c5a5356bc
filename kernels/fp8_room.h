/* fp8_room.h - memory for the codes of one product in 8 bits, where they are bytes: on GPUs. */
#pragma once

#include "kernels/ops.h"

/* Columns of codes have so many rows or a multiple; matrices of codes begin at multiples of so many bytes. */
enum { FP8_STEP = 16, FP8_PLACE = 256 };

/* The scales of rows' blocks with one number, and the products that read them, have so many rows or a multiple. */
enum { FP8_SCALES_STEP = 4 };

/* fp8_expect_sizes - die where a matrix does not have the sizes that cuBLASLt asks for in 8 bits. */
static inline void fp8_expect_sizes(struct tensor w) {
    CHECK(w.dims[0] % FP8_STEP == 0 && w.dims[1] % FP8_STEP == 0,
          "a matrix of %lld x %lld in 8 bits: on a GPU both are multiples of %d", (long long)w.dims[0],
          (long long)w.dims[1], FP8_STEP);
}

static inline int64_t fp8_rounded_up(int64_t count, int64_t to) {
    return (count + to - 1) / to * to;
}

/* fp8_matrix_bytes - of a matrix, as it lies or its columns. */
static inline int64_t fp8_matrix_bytes(int64_t rows, int64_t columns) {
    return fp8_rounded_up(fp8_rounded_up(rows, FP8_STEP) * columns, FP8_PLACE);
}

static inline int64_t fp8_blocks_of(int64_t count) {
    return (count + FP8_BLOCK_SIDE - 1) / FP8_BLOCK_SIDE;
}

/* fp8_scales_bytes - of the inverse scales of a matrix's blocks, whichever they are. */
static inline int64_t fp8_scales_bytes(int64_t rows, int64_t columns) {
    int64_t down = fp8_blocks_of(rows), across = fp8_blocks_of(columns);
    int64_t along = fp8_rounded_up(rows, FP8_SCALES_STEP) * across;
    int64_t lines = along > columns * down ? along : columns * down;
    int64_t squares = (down + 3) * (across + 3);
    return fp8_rounded_up((lines > squares ? lines : squares) * (int64_t)sizeof(float), FP8_PLACE);
}

static inline int64_t fp8_larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* fp8_part_bytes - of a matrix's codes, `times` over, with the scales of its blocks if it has some. */
static inline int64_t fp8_part_bytes(int64_t rows, int64_t columns, int times, bool has_blocks) {
    return times * (fp8_matrix_bytes(rows, columns) + (has_blocks ? fp8_scales_bytes(rows, columns) : 0));
}

/* fp8_room_bytes - the most that both directions of a layer's products ask for: dy twice, and w or x.  With scales of blocks both of these:
 * forward y takes the place of dy where it has too few rows for the product. */
static inline int64_t fp8_room_bytes(const struct device_limits *limits) {
    int64_t attended = (int64_t)limits->num_heads * limits->head_dim,
            heads = attended + 2 * (int64_t)limits->num_kv_heads * limits->head_dim;
    int64_t out = fp8_larger(limits->width, fp8_larger(heads, 2 * limits->ffn_width));
    int64_t in = fp8_larger(limits->width, fp8_larger(attended, limits->ffn_width));
    int64_t rows = limits->max_tokens;
    int64_t of_w = fp8_part_bytes(out, in, 1, limits->fp8_blocks),
            of_x = fp8_part_bytes(rows, in, 1, limits->fp8_blocks);
    return fp8_part_bytes(rows, out, 2, limits->fp8_blocks) +
           (limits->fp8_blocks ? of_w + of_x : fp8_larger(of_w, of_x));
}
