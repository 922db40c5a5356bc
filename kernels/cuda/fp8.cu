/* fp8.cu - casts of bf16 matrices to 8 bits, with one scale for each (kernels/fp8.h).
 *
 *                       bytes per element                            bound
 *   largest             read x                                2      memory
 *   cast                read x, write rows, columns           3, 4   memory, if the 14 integer operations of a code keep up
 *
 * The scale is needed before the first code, so that x is read twice; the second time it comes from the L2 cache where it fits.
 * Every block of the cast reads the largest magnitudes of all parts: no atomic, and no kernel between the two.  A thread of the cast
 * has four rows of eight columns: 16 bytes of each row, and four codes of each column in one word, so that both ways out are sectors
 * of 32 bytes and nothing passes through shared memory. */
#include "kernels/cuda/fp8.h"
#include "kernels/cuda/vector.cuh"

enum { FP8_THREADS = 256, FP8_WARPS = FP8_THREADS / 32 };
enum { CELL_ROWS = 4, CELL_COLUMNS = 8, TILE_ROWS = 64, TILE_COLUMNS = 128 };

/* Bits of bf16 without the sign, of the larger of two. */
DEV uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* block_largest - over the block, the same in every thread.  slots: shared memory, a word for each warp. */
DEV uint32_t block_largest(uint32_t value, uint32_t slots) {
    for (int mask = 16; mask > 0; mask /= 2)
        value = larger(value, shfl_xor(value, mask));
    if (threadIdx.x % 32 == 0)
        shared_store4(slots + threadIdx.x / 32 * 4, value);
    block_barrier();
    for (int warp = 0; warp < FP8_WARPS; warp++)
        value = larger(value, shared_load4(slots + (uint32_t)warp * 4));
    return value;
}

/* N: elements of one access.  The parts of x are whole multiples of that. */
template <int N>
static __global__ void __launch_bounds__(FP8_THREADS)
    fp8_largest_kernel(uint32_t *largest, const bf16_t *x, int64_t count) {
    DYN_SHARED(shared);
    int64_t stride = (int64_t)gridDim.x * FP8_THREADS * N;
    uint32_t value = 0;
#pragma unroll 4
    for (int64_t i = ((int64_t)blockIdx.x * FP8_THREADS + threadIdx.x) * N; i < count; i += stride) {
        pack<bf16_t, N> p = pack_load<bf16_t, N>(x + i);
        for (int w = 0; w < p.WORDS; w++)
            value = larger(value, larger(p.words[w] & 0x7fffu, p.words[w] >> 16 & 0x7fffu));
    }
    value = block_largest(value, shared_address(shared));
    if (threadIdx.x == 0)
        largest[blockIdx.x] = value;
}

/* code_of - of a scaled value: kernels/half.h, without its branches. */
template <int FORMAT> DEV uint32_t code_of(float scaled) {
    constexpr uint32_t DROPPED = FORMAT == FP8_E4M3 ? 20 : 21; /* bits of an f32's fraction */
    constexpr uint32_t LARGEST = FORMAT == FP8_E4M3 ? 0x43e00000u : 0x47600000u; /* 448, 57344 */
    constexpr uint32_t LOWEST = FORMAT == FP8_E4M3 ? 121u << 23 : 113u << 23; /* the smallest normal value */
    constexpr float PLACE =
        FORMAT == FP8_E4M3 ? 0x1p14f : 0x1p7f; /* whose last place is the smallest value */
    uint32_t bits = float_bits(scaled), magnitude = bits & 0x7fffffffu;
    uint32_t bounded = magnitude < LARGEST ? magnitude : LARGEST;
    uint32_t rounded = bounded + ((1u << (DROPPED - 1)) - 1) + (bounded >> DROPPED & 1u);
    uint32_t normal = (rounded - LOWEST + (1u << 23)) >> DROPPED;
    uint32_t small = float_bits(bits_float(bounded) + PLACE) - float_bits(PLACE);
    uint32_t code = bounded < LOWEST ? small : normal;
    return (magnitude > 0x7f800000u ? 0x7fu : code) | (bits >> 24 & 0x80u);
}

/* The arguments of a cast, as the kernel has them. */
struct cast_args {
    const bf16_t *from;
    uint8_t *rows, *columns;
    const uint32_t *largest;
    float *inverse;
    int64_t num_rows, num_columns, padded_rows;
    int num_largest;
    bool is_unscaled;
};

/* scale_bits - from the largest magnitudes of all parts, in every thread. */
template <int FORMAT> DEV uint32_t scale_bits(const cast_args &c, uint32_t slots) {
    uint32_t value = 0;
    for (int i = (int)threadIdx.x; i < c.num_largest; i += FP8_THREADS)
        value = larger(value, c.largest[i]);
    value = block_largest(value, slots);
    return c.is_unscaled ? 0x3f800000u : fp8_scale_bits(value << 16, (enum fp8_format)FORMAT);
}

/* Four rows of eight codes, in two words each. */
struct cell {
    uint32_t words[CELL_ROWS][2];
};

/* cell_codes - of the rows from `row` on that there are; zeros of the others.  N: elements of one access. */
template <int FORMAT, int N>
DEV cell cell_codes(const cast_args &c, int64_t row, int64_t column, float scale) {
    cell codes = {};
#pragma unroll
    for (int r = 0; r < CELL_ROWS; r++) {
        if (row + r >= c.num_rows)
            continue;
        const bf16_t *from = c.from + (row + r) * c.num_columns + column;
#pragma unroll
        for (int first = 0; first < CELL_COLUMNS; first += N) {
            float values[N];
            pack_values(values, pack_load<bf16_t, N>(from + first));
#pragma unroll
            for (int i = 0; i < N; i++)
                codes.words[r][(first + i) / 4] |= code_of<FORMAT>(values[i] * scale)
                                                   << ((first + i) % 4 * 8);
        }
    }
    return codes;
}

DEV void store_rows(const cast_args &c, const cell &codes, int64_t row, int64_t column) {
#pragma unroll
    for (int r = 0; r < CELL_ROWS; r++)
        if (row + r < c.num_rows)
            store8(c.rows + (row + r) * c.num_columns + column,
                   make_uint2(codes.words[r][0], codes.words[r][1]));
}

DEV void store_columns(const cast_args &c, const cell &codes, int64_t row, int64_t column) {
#pragma unroll
    for (int k = 0; k < CELL_COLUMNS; k++) {
        uint32_t word = 0;
#pragma unroll
        for (int r = 0; r < CELL_ROWS; r++)
            word |= (codes.words[r][k / 4] >> (k % 4 * 8) & 255u) << (r * 8);
        *(uint32_t *)(c.columns + (column + k) * c.padded_rows + row) = word;
    }
}

template <int FORMAT, int N>
static __global__ void __launch_bounds__(FP8_THREADS) fp8_cast_kernel(cast_args c) {
    DYN_SHARED(shared);
    uint32_t bits = scale_bits<FORMAT>(c, shared_address(shared));
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t row = (int64_t)blockIdx.y * TILE_ROWS + warp / 4 * 32 + lane / 4 * CELL_ROWS;
    int64_t column = (int64_t)blockIdx.x * TILE_COLUMNS + warp % 4 * 32 + lane % 4 * CELL_COLUMNS;
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) /* a power of two, or NaN */
        *c.inverse = bits_float(bits == 0x7fc00000u ? bits : (254u << 23) - bits);
    if (row >= c.padded_rows || column >= c.num_columns)
        return;
    cell codes = cell_codes<FORMAT, N>(c, row, column, bits_float(bits));
    if (c.rows)
        store_rows(c, codes, row, column);
    if (c.columns)
        store_columns(c, codes, row, column);
}

template <int FORMAT, int N> static void launch_cast(struct device *dev, const cast_args &args) {
    dim3 grid((unsigned)divide_up(args.num_columns, TILE_COLUMNS),
              (unsigned)divide_up(args.padded_rows, TILE_ROWS));
    LAUNCH((fp8_cast_kernel<FORMAT, N>), grid, dim3(FP8_THREADS), FP8_WARPS * 4, cuda_stream(dev), args);
}

/* launch_largest - into as many words as it returns. */
template <int N> static int launch_largest(struct device *dev, const struct fp8_cast *cast) {
    int64_t count = tensor_count(cast->from), wanted = divide_up(count, (int64_t)FP8_THREADS * N * 4);
    int num_blocks = wanted < FP8_LARGEST_BLOCKS ? (int)wanted : FP8_LARGEST_BLOCKS;
    LAUNCH(fp8_largest_kernel<N>, dim3((unsigned)num_blocks), dim3(FP8_THREADS), FP8_WARPS * 4,
           cuda_stream(dev), cast->largest, (const bf16_t *)cast->from.data, count);
    return num_blocks;
}

template <int N> static void run_cast(struct device *dev, const struct fp8_cast *cast) {
    int num_largest = launch_largest<N>(dev, cast);
    cast_args args = {(const bf16_t *)cast->from.data,
                      cast->rows,
                      cast->columns,
                      cast->largest,
                      cast->inverse,
                      cast->from.dims[0],
                      cast->from.dims[1],
                      cast->padded_rows,
                      num_largest,
                      cast->scaling == FP8_UNSCALED};
    if (cast->format == FP8_E4M3)
        launch_cast<FP8_E4M3, N>(dev, args);
    else
        launch_cast<FP8_E5M2, N>(dev, args);
}

extern "C" void cuda_fp8_cast(struct device *dev, const struct fp8_cast *cast) {
    if (is_aligned<bf16_t>(cast->from.data, cast->from.dims[1]))
        run_cast<VECTOR<bf16_t>>(dev, cast);
    else
        run_cast<1>(dev, cast);
}
