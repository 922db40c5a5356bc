/* experts_tiles.cu - grouped products of 16-bit rows by the tensor cores of sm_80.
 *
 *   work                2 m n k flops                                  bound: tensor cores
 *
 * A block of 8 warps computes 128 x 128 elements, a warp 64 x 32.  k comes in steps of 32 through a ring of stages in shared memory,
 * filled by cp.async while earlier ones are multiplied.  Sums run along k in its order, in f32 registers, whatever runs beside;
 * what lies past the end of an expert's places is zero and is not read. */
#include "kernels/cuda/experts.cuh"
#include "kernels/cuda/tile.cuh"

enum {
    EDGE = 128,
    DEPTH = 32,
    WARPS = 8,
    WARP_ROWS = 64,
    WARP_COLUMNS = 32,
    WARPS_DOWN = EDGE / WARP_ROWS,
    THREADS = 32 * WARPS,
    STAGES = 4,
    OPERAND_BYTES = EDGE * DEPTH * 2,
    STAGE_BYTES = 2 * OPERAND_BYTES,
    CHUNK = 8 /* elements */
};

/* Elements of one row of a tile in shared memory. */
template <operand_rows ROWS> constexpr int WIDTH_OF = ROWS == ROWS_ALONG_K ? DEPTH : EDGE;

/* One operand of a block, on its way along k. */
template <operand_rows ROWS, class T> struct stream_of {
    const T *from;
    int64_t stride;
    int count; /* rows of A, or columns of B, that there are */

    /* load - start copying the DEPTH elements of k from `k` on, of which `depth` are left. */
    DEV void load(uint32_t to, int k, int depth) const {
        constexpr int WIDTH = WIDTH_OF<ROWS>, CHUNKS = WIDTH / CHUNK,
                      COPIES = OPERAND_BYTES / CHUNK_BYTES / THREADS;
        const T *base = from + (ROWS == ROWS_ALONG_K ? k : k * stride);
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int at = (int)threadIdx.x + i * THREADS, row = at / CHUNKS, chunk = at % CHUNKS;
            const bool known = ROWS == ROWS_ALONG_K ? row < count && chunk * CHUNK < depth
                                                    : row < depth && chunk * CHUNK < count;
            cp_async16(to + tile_offset<WIDTH>(row, chunk), base + row * stride + chunk * CHUNK, known);
        }
    }
};

/* fragment_of_a - 16 rows from `row` on by 16 of k. */
template <operand_rows ROWS> static DEV void fragment_of_a(uint32_t (&a)[4], operand tile, int row, int k) {
    if constexpr (ROWS == ROWS_ALONG_K) {
        ldmatrix4(a, fragment_address<DEPTH>(tile, row, k));
    } else {
        uint32_t turned[4];
        ldmatrix4_trans(turned, fragment_address<EDGE>(tile, k, row));
        a[0] = turned[0], a[1] = turned[2], a[2] = turned[1], a[3] = turned[3];
    }
}

/* fragment_of_b - 16 of k by 16 columns from `column` on: those of the first 8, then the others. */
template <operand_rows ROWS>
static DEV void fragment_of_b(uint32_t (&b)[4], operand tile, int column, int k) {
    if constexpr (ROWS == ROWS_ALONG_K) {
        uint32_t rows[4];
        ldmatrix4(rows, fragment_address<DEPTH>(tile, column, k));
        b[0] = rows[0], b[1] = rows[2], b[2] = rows[1], b[3] = rows[3];
    } else {
        ldmatrix4_trans(b, fragment_address<EDGE>(tile, k, column));
    }
}

enum { FRAGMENTS_DOWN = WARP_ROWS / 16, FRAGMENTS_ACROSS = WARP_COLUMNS / 8 };
using warp_sums_of_tile = float[FRAGMENTS_DOWN][FRAGMENTS_ACROSS][4];

/* multiply - one stage: a warp's part of it, which begins at (row, column). */
template <class T, grouped_product P>
static DEV void multiply(warp_sums_of_tile &sums, operand a, operand b, int row, int column) {
#pragma unroll
    for (int k = 0; k < DEPTH; k += 16) {
        uint32_t rows[FRAGMENTS_DOWN][4];
#pragma unroll
        for (int m = 0; m < FRAGMENTS_DOWN; m++)
            fragment_of_a<ROWS_OF_A<P>>(rows[m], a, row + m * 16, k);
#pragma unroll
        for (int n = 0; n < FRAGMENTS_ACROSS; n += 2) {
            uint32_t columns[4];
            fragment_of_b<ROWS_OF_B<P>>(columns, b, column + n * 8, k);
#pragma unroll
            for (int m = 0; m < FRAGMENTS_DOWN; m++) {
                mma_16x8x16<T>(sums[m][n], rows[m], columns);
                mma_16x8x16<T>(sums[m][n + 1], rows[m], columns + 2);
            }
        }
    }
}

/* store_pair - two elements side by side. */
static DEV void store_pair(float *to, float x, float y, bool adds) {
    if (adds) {
        uint2 before = load8(to);
        x += bits_float(before.x), y += bits_float(before.y);
    }
    store8(to, make_uint2(float_bits(x), float_bits(y)));
}

template <class T> static DEV void store_pair(T *to, float x, float y, bool adds) {
    uint32_t *word = (uint32_t *)to;
    if (adds) {
        float before_x, before_y;
        unpack2<T>(*word, &before_x, &before_y);
        x += before_x, y += before_y;
    }
    *word = pack2<T>(x, y);
}

/* store - a warp's part of the task; n is a multiple of 8. */
template <class Task>
static DEV void store(const Task &task, int64_t stride, const warp_sums_of_tile &sums, int row, int column,
                      bool adds) {
#pragma unroll
    for (int m = 0; m < FRAGMENTS_DOWN; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int i = row + m * 16 + half * 8 + lane_id() / 4;
#pragma unroll
            for (int n = 0; n < FRAGMENTS_ACROSS; n++)
                if (i < task.m && column + n * 8 < task.n)
                    store_pair(task.d + i * stride + column + n * 8 + lane_id() % 4 * 2, sums[m][n][2 * half],
                               sums[m][n][2 * half + 1], adds);
        }
}

/* Shared memory: STAGES stages. */
template <grouped_product P, class T, class D>
static __global__ void __launch_bounds__(THREADS, 2) grouped_tiles_kernel(grouped<T, D> g) {
    DYN_SHARED(shared);
    const grouped_task<T, D> task = grouped_task_of<P, EDGE, EDGE>(g);
    if (task.m == 0 || (task.k == 0 && g.adds))
        return;
    constexpr operand_rows OF_A = ROWS_OF_A<P>, OF_B = ROWS_OF_B<P>;
    const stream_of<OF_A, T> a = {task.a, g.a_stride, task.m};
    const stream_of<OF_B, T> b = {task.b, g.b_stride, task.n};
    const uint32_t base = shared_address(shared), lane_a = tile_lane<WIDTH_OF<OF_A>>(base),
                   lane_b = tile_lane<WIDTH_OF<OF_B>>(base);
    const int warp = (int)threadIdx.x / 32, row = warp % WARPS_DOWN * WARP_ROWS,
              column = warp / WARPS_DOWN * WARP_COLUMNS, num_steps = (task.k + DEPTH - 1) / DEPTH;
    auto load = [&](int step) {
        const uint32_t to = base + (uint32_t)(step % STAGES * STAGE_BYTES);
        if (step < num_steps) {
            a.load(to, step * DEPTH, task.k - step * DEPTH);
            b.load(to + OPERAND_BYTES, step * DEPTH, task.k - step * DEPTH);
        }
        cp_async_commit(); /* an empty group after the last: the count of those in flight stays */
    };
    warp_sums_of_tile sums;
    clear(sums);
    for (int step = 0; step < STAGES - 1; step++)
        load(step);
    for (int step = 0; step < num_steps; step++) {
        const uint32_t at = (uint32_t)(step % STAGES * STAGE_BYTES);
        cp_async_wait<STAGES - 2>();
        block_barrier(); /* the stage is there for all, and the one before it free for all */
        load(step + STAGES - 1);
        multiply<T, P>(sums, {lane_a, at}, {lane_b, at + OPERAND_BYTES}, row, column);
    }
    store(task, g.d_stride, sums, row, column, g.adds);
}

template <grouped_product P, class T, class D>
void grouped_tiles(struct device *dev, const grouped<T, D> &g) {
    LAUNCH((grouped_tiles_kernel<P, T, D>), (grouped_grid<P, EDGE, EDGE>(g)), dim3(THREADS),
           (size_t)STAGES * STAGE_BYTES, cuda_stream(dev), g);
}

#define TILES(T)                                                                                             \
    template void grouped_tiles<GROUPED_FORWARD>(struct device *, const grouped<T, T> &);                    \
    template void grouped_tiles<GROUPED_INPUT>(struct device *, const grouped<T, T> &);                      \
    template void grouped_tiles<GROUPED_WEIGHT>(struct device *, const grouped<T, float> &);
TILES(bf16_t)
TILES(f16_t)
