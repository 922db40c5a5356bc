/* fp8.cu - casts of bf16 matrices to 8 bits, with one scale for each (kernels/fp8.h).
 *
 *                       bytes per element                            bound
 *   largest             read x                                2      memory
 *   cast                read x, write rows, columns           3, 4   memory
 *
 * The scale is needed before the first code, so that x is read twice, the second time from the L2 cache where it fits; unless whoever
 * wrote x, or an earlier cast of it, left its largest magnitude.  A thread of the cast has four rows of eight columns: 16 bytes of each row,
 * and four codes of each column in one word, so that both ways out are sectors of 32 bytes and nothing passes through shared memory. */
#include "kernels/cuda/fp8.h"
#include "kernels/cuda/fp8_cell.cuh"

enum { FP8_THREADS = 256, FP8_WARPS = FP8_THREADS / 32 };

/* Blocks of the pass for the largest magnitude. */
enum { LARGEST_BLOCKS = 512 };
enum { TILE_ROWS = 64, TILE_COLUMNS = 128 };

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
        value = pack_largest(value, p);
    }
    raise_largest(largest, value, FP8_WARPS, shared_address(shared));
}

/* The arguments of a cast, as the kernel has them. */
struct cast_args {
    const bf16_t *from;
    uint8_t *rows, *columns;
    const uint32_t *largest;
    float *inverse;
    int64_t num_rows, num_columns, padded_rows;
    bool is_unscaled;
};

template <int FORMAT> DEV uint32_t scale_bits(const cast_args &c) {
    return c.is_unscaled ? 0x3f800000u : fp8_scale_bits(*c.largest << 16, (enum fp8_format)FORMAT);
}

/* row_codes - of eight values in a row, in two words.  N: elements of one access. */
template <int FORMAT, int N> DEV void row_codes(uint32_t (&words)[2], const bf16_t *from, float scale) {
    float scaled[CELL_COLUMNS];
#pragma unroll
    for (int first = 0; first < CELL_COLUMNS; first += N) {
        float values[N];
        pack_values(values, pack_load<bf16_t, N>(from + first));
#pragma unroll
        for (int i = 0; i < N; i++)
            scaled[first + i] = values[i] * scale;
    }
#pragma unroll
    for (int i = 0; i < CELL_COLUMNS; i += 2)
        words[i / 4] |= codes_of_two<FORMAT>(scaled[i], scaled[i + 1]) << (i % 4 * 8);
}

/* cell_codes - of the rows from `row` on that there are; zeros of the others. */
template <int FORMAT, int N>
DEV cell cell_codes(const cast_args &c, int64_t row, int64_t column, float scale) {
    cell codes = {};
#pragma unroll
    for (int r = 0; r < CELL_ROWS; r++)
        if (row + r < c.num_rows)
            row_codes<FORMAT, N>(codes.words[r], c.from + (row + r) * c.num_columns + column, scale);
    return codes;
}

template <int FORMAT, int N>
static __global__ void __launch_bounds__(FP8_THREADS) fp8_cast_kernel(cast_args c) {
    uint32_t bits = scale_bits<FORMAT>(c);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t row = (int64_t)blockIdx.y * TILE_ROWS + warp / 4 * 32 + lane / 4 * CELL_ROWS;
    int64_t column = (int64_t)blockIdx.x * TILE_COLUMNS + warp % 4 * 32 + lane % 4 * CELL_COLUMNS;
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0)
        *c.inverse = inverse_of(bits);
    if (row >= c.padded_rows || column >= c.num_columns)
        return;
    const extent size = {c.num_rows, c.num_columns, c.padded_rows};
    cell codes = cell_codes<FORMAT, N>(c, row, column, bits_float(bits));
    if (c.rows)
        store_rows(c.rows, size, codes, row, column);
    if (c.columns)
        store_columns(c.columns, size, codes, row, column);
}

template <int FORMAT, int N> static void launch_cast(struct device *dev, const cast_args &args) {
    dim3 grid((unsigned)divide_up(args.num_columns, TILE_COLUMNS),
              (unsigned)divide_up(args.padded_rows, TILE_ROWS));
    LAUNCH((fp8_cast_kernel<FORMAT, N>), grid, dim3(FP8_THREADS), 0, cuda_stream(dev), args);
}

template <int N>
static void launch_largest(struct device *dev, uint32_t *largest, const bf16_t *x, int64_t count) {
    int64_t wanted = divide_up(count, (int64_t)FP8_THREADS * N * 4);
    int num_blocks = wanted < LARGEST_BLOCKS ? (int)wanted : LARGEST_BLOCKS;
    LAUNCH(fp8_largest_kernel<N>, dim3((unsigned)num_blocks), dim3(FP8_THREADS), FP8_WARPS * 4,
           cuda_stream(dev), largest, x, count);
}

extern "C" void cuda_put_largest(struct device *dev, uint32_t *largest, struct tensor t) {
    int64_t count = tensor_count(t);
    cuda_zero(dev, largest, sizeof *largest);
    if (count == 0)
        return;
    if (is_aligned<bf16_t>(t.data, count))
        launch_largest<VECTOR<bf16_t>>(dev, largest, (const bf16_t *)t.data, count);
    else
        launch_largest<1>(dev, largest, (const bf16_t *)t.data, count);
}

/* largest_of - where the largest magnitude of what is cast stands, which is found first if nobody did. */
static uint32_t *largest_of(struct device *dev, const struct fp8_cast *cast) {
    uint32_t *at = cast->magnitude.at ? cast->magnitude.at : cast->largest;
    if (!cast->magnitude.is_known && cast->scaling != FP8_UNSCALED)
        cuda_put_largest(dev, at, cast->from);
    return at;
}

template <int N> static void run_cast(struct device *dev, const struct fp8_cast *cast) {
    cast_args args = {(const bf16_t *)cast->from.data,
                      cast->rows,
                      cast->columns,
                      largest_of(dev, cast),
                      cast->inverse,
                      cast->from.dims[0],
                      cast->from.dims[1],
                      cast->padded_rows,
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
