/* fp8_blocks.cu - casts of bf16 matrices to 8 bits with a scale for each block of 128 values, or of 128 x 128 (kernels/fp8.h).
 *
 *                       bytes per element                            bound
 *   cast                read x, write rows, columns           3, 4   memory, where the GPU has an instruction for codes (dev_sm89.h)
 *
 * A thread block has one tile of 128 x 128: its largest magnitudes are those of its own values, so that x is read once and kept in
 * registers.  A thread has a cell of four rows and eight columns of it; maxima of rows and of columns go through shuffles inside a
 * warp, which has 32 x 32, and through shared memory between the four warps that share them. */
#include "kernels/cuda/fp8.h"
#include "kernels/cuda/fp8_cell.cuh"
#include "kernels/fp8_room.h"

enum { SIDE = FP8_BLOCK_SIDE, BLOCKS_THREADS = 512, BLOCKS_WARPS = BLOCKS_THREADS / 32, SIDE_WARPS = 4 };

/* Shared memory: of each row of the tile, and of each column, what four warps found. */
enum { ROW_SLOTS = 0, COLUMN_SLOTS = SIDE * SIDE_WARPS * 4, SLOTS_BYTES = 2 * COLUMN_SLOTS };

/* The arguments of a cast, as the kernel has them. */
struct blocks_args {
    const bf16_t *from;
    uint8_t *rows, *columns;
    float *row_inverses, *column_inverses;
    int64_t row_stride; /* of row_inverses */
    extent size;
};

/* Where a thread is: its cell in the tile, and the tile's first row and column. */
struct place {
    int row, column, lane, warp;
    int64_t first_row, first_column;
};

DEV place place_of() {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    return {warp / SIDE_WARPS * 32 + lane / 4 * CELL_ROWS,
            warp % SIDE_WARPS * 32 + lane % 4 * CELL_COLUMNS,
            lane,
            warp,
            (int64_t)blockIdx.y * SIDE,
            (int64_t)blockIdx.x * SIDE};
}

/* A cell as it was read, two values in a word; zeros where the matrix has none. */
struct values {
    uint32_t words[CELL_ROWS][CELL_COLUMNS / 2];
};

/* N: elements of one access. */
template <int N> DEV values read_cell(const blocks_args &c, int64_t row, int64_t column) {
    values v = {};
#pragma unroll
    for (int r = 0; r < CELL_ROWS; r++) {
        if (row + r >= c.size.num_rows || column >= c.size.num_columns)
            continue;
        const bf16_t *from = c.from + (row + r) * c.size.num_columns + column;
#pragma unroll
        for (int first = 0; first < CELL_COLUMNS; first += N) {
            pack<bf16_t, N> p = pack_load<bf16_t, N>(from + first);
#pragma unroll
            for (int w = 0; w < p.WORDS; w++)
                v.words[r][first / 2 + w] |= p.words[w] << (first % 2 * 16);
        }
    }
    return v;
}

DEV uint32_t magnitude_of(const values &v, int row, int column) {
    return v.words[row][column / 2] >> (column % 2 * 16) & 0x7fffu;
}

/* row_largest, column_largest - of each row and column of a cell, over those of the lanes of the warp that share it. */
DEV void row_largest(uint32_t (&largest)[CELL_ROWS], const values &v) {
#pragma unroll
    for (int r = 0; r < CELL_ROWS; r++) {
        largest[r] = 0;
#pragma unroll
        for (int k = 0; k < CELL_COLUMNS; k++)
            largest[r] = larger(largest[r], magnitude_of(v, r, k));
        for (int mask = 2; mask > 0; mask /= 2)
            largest[r] = larger(largest[r], shfl_xor(largest[r], mask));
    }
}

DEV void column_largest(uint32_t (&largest)[CELL_COLUMNS], const values &v) {
#pragma unroll
    for (int k = 0; k < CELL_COLUMNS; k++) {
        largest[k] = 0;
#pragma unroll
        for (int r = 0; r < CELL_ROWS; r++)
            largest[k] = larger(largest[k], magnitude_of(v, r, k));
        for (int mask = 16; mask > 2; mask /= 2)
            largest[k] = larger(largest[k], shfl_xor(largest[k], mask));
    }
}

/* put_slots, take_slots - the largest of so many rows or columns from `first` of the tile on, that one of four warps found, and of all
 * four. */
template <int COUNT>
DEV void put_slots(uint32_t slots, int first, int warp, const uint32_t (&largest)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        shared_store4(slots + (uint32_t)((first + i) * SIDE_WARPS + warp) * 4, largest[i]);
}

template <int COUNT> DEV void take_slots(uint32_t slots, int first, uint32_t (&largest)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        vec16 four = shared_load16(slots + (uint32_t)((first + i) * SIDE_WARPS) * 4);
        largest[i] = larger(larger(four.w[0], four.w[1]), larger(four.w[2], four.w[3]));
    }
}

/* codes_of - of a cell whose values have scales by row, by column, or one: the index of each in `scales`. */
template <int FORMAT, int BY_ROW, int BY_COLUMN> DEV cell codes_of(const values &v, const uint32_t *scales) {
    cell codes = {};
#pragma unroll
    for (int r = 0; r < CELL_ROWS; r++)
#pragma unroll
        for (int k = 0; k < CELL_COLUMNS; k += 2) {
            float lo = bits_float(v.words[r][k / 2] << 16) * bits_float(scales[r * BY_ROW + k * BY_COLUMN]);
            float hi = bits_float(v.words[r][k / 2] & 0xffff0000u) *
                       bits_float(scales[r * BY_ROW + (k + 1) * BY_COLUMN]);
            codes.words[r][k / 4] |= codes_of_two<FORMAT>(lo, hi) << (k % 4 * 8);
        }
    return codes;
}

template <int FORMAT, int COUNT> DEV void scales_of(uint32_t (&largest)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        largest[i] = fp8_scale_bits(largest[i] << 16, (enum fp8_format)FORMAT);
}

/* put_inverses - of so many rows or columns from `first` on, where there are that many. */
template <int COUNT>
DEV void put_inverses(float *to, int64_t first, int64_t count, const uint32_t (&scales)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        if (first + i < count)
            to[first + i] = inverse_of(scales[i]);
}

/* cast_rows, cast_columns - one way out of a tile whose blocks lie along it.  Inverses of a block number stand together: [C / 128, N] and
 * [N / 128, C]. */
template <int FORMAT>
DEV void cast_rows(const blocks_args &c, const place &at, const values &v, uint32_t slots) {
    uint32_t scales[CELL_ROWS];
    int64_t row = at.first_row + at.row, column = at.first_column + at.column;
    take_slots(slots + ROW_SLOTS, at.row, scales);
    scales_of<FORMAT>(scales);
    if (at.column == 0)
        put_inverses(c.row_inverses + blockIdx.x * c.row_stride, row, c.size.num_rows, scales);
    if (column < c.size.num_columns)
        store_rows(c.rows, c.size, codes_of<FORMAT, 1, 0>(v, scales), row, column);
}

template <int FORMAT>
DEV void cast_columns(const blocks_args &c, const place &at, const values &v, uint32_t slots) {
    uint32_t scales[CELL_COLUMNS];
    int64_t row = at.first_row + at.row, column = at.first_column + at.column;
    take_slots(slots + COLUMN_SLOTS, at.column, scales);
    scales_of<FORMAT>(scales);
    if (at.row == 0)
        put_inverses(c.column_inverses + blockIdx.y * c.size.num_columns, column, c.size.num_columns, scales);
    if (row < c.size.padded_rows && column < c.size.num_columns)
        store_columns(c.columns, c.size, codes_of<FORMAT, 0, 1>(v, scales), row, column);
}

template <int FORMAT, int N>
static __global__ void __launch_bounds__(BLOCKS_THREADS) fp8_lines_kernel(blocks_args c) {
    DYN_SHARED(shared);
    uint32_t slots = shared_address(shared), of_rows[CELL_ROWS], of_columns[CELL_COLUMNS];
    place at = place_of();
    values v = read_cell<N>(c, at.first_row + at.row, at.first_column + at.column);
    row_largest(of_rows, v);
    column_largest(of_columns, v);
    if (at.lane % 4 == 0)
        put_slots(slots + ROW_SLOTS, at.row, at.warp % SIDE_WARPS, of_rows);
    if (at.lane / 4 == 0)
        put_slots(slots + COLUMN_SLOTS, at.column, at.warp / SIDE_WARPS, of_columns);
    block_barrier();
    if (c.rows)
        cast_rows<FORMAT>(c, at, v, slots);
    if (c.columns)
        cast_columns<FORMAT>(c, at, v, slots);
}

/* put_square - the inverse of a square where products find it that run along the rows, or down the columns: [blocks of the other side,
 * blocks along the sum rounded up to 4], the last ones of which belong to no square and get its inverse, too. */
DEV void put_square(float *to, int64_t outer, int64_t inner, int64_t num_inner, float inverse) {
    int64_t stride = (num_inner + 3) / 4 * 4, end = inner + 1 < num_inner ? inner + 1 : stride;
    for (int64_t i = inner; i < end; i++)
        to[outer * stride + i] = inverse;
}

/* Weights: the format is E4M3. */
template <int N> static __global__ void __launch_bounds__(BLOCKS_THREADS) fp8_squares_kernel(blocks_args c) {
    DYN_SHARED(shared);
    uint32_t of_rows[CELL_ROWS], scale[1];
    place at = place_of();
    int64_t row = at.first_row + at.row, column = at.first_column + at.column;
    values v = read_cell<N>(c, row, column);
    row_largest(of_rows, v);
    scale[0] = larger(larger(of_rows[0], of_rows[1]), larger(of_rows[2], of_rows[3]));
    scale[0] = block_largest<BLOCKS_WARPS>(scale[0], shared_address(shared));
    scales_of<FP8_E4M3>(scale);
    if (threadIdx.x == 0 && c.rows)
        put_square(c.row_inverses, blockIdx.y, blockIdx.x, gridDim.x, inverse_of(scale[0]));
    if (threadIdx.x == 0 && c.columns)
        put_square(c.column_inverses, blockIdx.x, blockIdx.y, gridDim.y, inverse_of(scale[0]));
    if (row >= c.size.padded_rows || column >= c.size.num_columns)
        return;
    cell codes = codes_of<FP8_E4M3, 0, 0>(v, scale);
    if (c.rows)
        store_rows(c.rows, c.size, codes, row, column);
    if (c.columns)
        store_columns(c.columns, c.size, codes, row, column);
}

template <int N> static void run_blocks(struct device *dev, const struct fp8_blocks *cast) {
    blocks_args args = {(const bf16_t *)cast->from.data,
                        cast->rows,
                        cast->columns,
                        cast->row_inverses,
                        cast->column_inverses,
                        divide_up(cast->from.dims[0], FP8_SCALES_STEP) * FP8_SCALES_STEP,
                        {cast->from.dims[0], cast->from.dims[1], cast->padded_rows}};
    dim3 grid((unsigned)divide_up(args.size.num_columns, SIDE),
              (unsigned)divide_up(args.size.num_rows, SIDE));
    dim3 block(BLOCKS_THREADS);
    if (cast->grain == FP8_SQUARES)
        LAUNCH(fp8_squares_kernel<N>, grid, block, BLOCKS_WARPS * 4, cuda_stream(dev), args);
    else if (cast->format == FP8_E4M3)
        LAUNCH((fp8_lines_kernel<FP8_E4M3, N>), grid, block, SLOTS_BYTES, cuda_stream(dev), args);
    else
        LAUNCH((fp8_lines_kernel<FP8_E5M2, N>), grid, block, SLOTS_BYTES, cuda_stream(dev), args);
}

extern "C" void cuda_fp8_cast_blocks(struct device *dev, const struct fp8_blocks *cast) {
    if (is_aligned<bf16_t>(cast->from.data, cast->from.dims[1]))
        run_blocks<VECTOR<bf16_t>>(dev, cast);
    else
        run_blocks<1>(dev, cast);
}
