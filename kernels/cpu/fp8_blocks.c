/* fp8_blocks.c - casts to 8 bits with a scale for each block (fp8.h): tiles of 128 columns, and of as many rows as a block has, in which
 * every column has a largest magnitude and a scale; where a block has several columns they share them. */
#include "kernels/cpu/cpu.h"

/* The part of a matrix that one tile is: from its first value on, with rows of stride values. */
struct tile {
    const uint16_t *from;
    uint16_t *to;
    int64_t stride;
    int rows, columns; /* at most FP8_BLOCK_SIDE of each */
};

/* Of each column of a tile. */
struct scales {
    float scale[FP8_BLOCK_SIDE], back[FP8_BLOCK_SIDE];
};

/* largest_of - the bits of the largest magnitude of each column: without their signs the bits of bf16 are in the order of magnitudes. */
CPU_CLONES
static void largest_of(uint16_t *restrict largest, const struct tile *t) {
    for (int i = 0; i < t->columns; i++)
        largest[i] = 0;
    for (int row = 0; row < t->rows; row++) {
        const uint16_t *from = t->from + row * t->stride;
        for (int i = 0; i < t->columns; i++) {
            uint16_t magnitude = from[i] & 0x7fffu;
            largest[i] = magnitude > largest[i] ? magnitude : largest[i];
        }
    }
}

static void share_largest(uint16_t *largest, int count) {
    uint16_t of_all = 0;
    for (int i = 0; i < count; i++)
        of_all = largest[i] > of_all ? largest[i] : of_all;
    for (int i = 0; i < count; i++)
        largest[i] = of_all;
}

static void scales_of(struct scales *s, const uint16_t *largest, int count, enum fp8_format format) {
    for (int i = 0; i < count; i++) {
        s->scale[i] = fp8_scale((uint32_t)largest[i] << 16, format);
        s->back[i] = 1 / s->scale[i];
    }
}

/* cast_e4m3, cast_e5m2 - one row of a tile; a loop for each format, which is a constant there. */
CPU_CLONES
static void cast_e4m3(uint16_t *restrict to, const uint16_t *restrict from, int count,
                      const struct scales *s) {
    for (int i = 0; i < count; i++)
        to[i] = bf16_from_f32(fp8_round(f32_from_bf16(from[i]) * s->scale[i], FP8_E4M3) * s->back[i]);
}

CPU_CLONES
static void cast_e5m2(uint16_t *restrict to, const uint16_t *restrict from, int count,
                      const struct scales *s) {
    for (int i = 0; i < count; i++)
        to[i] = bf16_from_f32(fp8_round(f32_from_bf16(from[i]) * s->scale[i], FP8_E5M2) * s->back[i]);
}

static void cast_tile(const struct tile *t, enum fp8_format format, enum fp8_grain grain) {
    uint16_t largest[FP8_BLOCK_SIDE];
    struct scales scales;
    largest_of(largest, t);
    if (grain != FP8_ALONG_COLUMNS)
        share_largest(largest, t->columns);
    scales_of(&scales, largest, t->columns, format);
    for (int row = 0; row < t->rows; row++) {
        int64_t at = row * t->stride;
        if (format == FP8_E4M3)
            cast_e4m3(t->to + at, t->from + at, t->columns, &scales);
        else
            cast_e5m2(t->to + at, t->from + at, t->columns, &scales);
    }
}

static int at_most(int64_t left, int most) {
    return left < most ? (int)left : most;
}

struct tensor cpu_fp8_cast_blocks(struct device *dev, void *to, struct tensor t, enum fp8_format format,
                                  enum fp8_grain grain) {
    int64_t rows = t.dims[0], columns = t.dims[1];
    int height = grain == FP8_ALONG_ROWS ? 1 : FP8_BLOCK_SIDE;
    const uint16_t *from = t.data;
    t.data = to;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t row = 0; row < rows; row += height)
        for (int64_t column = 0; column < columns; column += FP8_BLOCK_SIDE) {
            int64_t at = row * columns + column;
            struct tile tile = {from + at, (uint16_t *)to + at, columns, at_most(rows - row, height),
                                at_most(columns - column, FP8_BLOCK_SIDE)};
            cast_tile(&tile, format, grain);
        }
    return t;
}
