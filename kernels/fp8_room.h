/* fp8_room.h - memory for the codes of one product in 8 bits, where they are bytes: on GPUs. */
#pragma once

#include "kernels/ops.h"

/* Columns of codes have so many rows or a multiple; matrices of codes begin at multiples of so many bytes. */
enum { FP8_STEP = 16, FP8_PLACE = 256 };

static inline int64_t fp8_rounded_up(int64_t count, int64_t to) {
    return (count + to - 1) / to * to;
}

/* fp8_matrix_bytes - of a matrix, as it lies or its columns. */
static inline int64_t fp8_matrix_bytes(int64_t rows, int64_t columns) {
    return fp8_rounded_up(fp8_rounded_up(rows, FP8_STEP) * columns, FP8_PLACE);
}

static inline int64_t fp8_larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* fp8_room_bytes - the most that both directions of a layer's products ask for: dy twice, and w or x. */
static inline int64_t fp8_room_bytes(const struct device_limits *limits) {
    int64_t attended = (int64_t)limits->num_heads * limits->head_dim,
            heads = attended + 2 * (int64_t)limits->num_kv_heads * limits->head_dim;
    int64_t out = fp8_larger(limits->width, fp8_larger(heads, 2 * limits->ffn_width));
    int64_t in = fp8_larger(limits->width, fp8_larger(attended, limits->ffn_width));
    int64_t rows = limits->max_tokens;
    return 2 * fp8_matrix_bytes(rows, out) +
           fp8_larger(fp8_matrix_bytes(out, in), fp8_matrix_bytes(rows, in));
}
