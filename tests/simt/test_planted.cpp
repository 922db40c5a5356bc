/* test_planted.cpp - bugs planted in sm_80 kernels, each of which the shim must show (planted.h).
 * A plain program that returns the number of bugs missed. */
#include "planted.h"

#include <cstdlib>

#include "kernels/cuda/dev.h"

namespace {

enum bug {
    NONE,
    WAIT_TOO_LAX,
    NO_BARRIER_BEFORE_USE,
    NO_BARRIER_BEFORE_REFILL,
    READER_FORGETS_SWIZZLE,
    BOUNDS,
    ALIGNMENT,
    NEVER_WAITED,
    NEVER_COMMITTED,
    DIVERGENT,
    DIVERGENT_OP,
    EARLY_RETURN,
    BARRIER_COUNT,
    BARRIER_COUNT_DISAGREES,
    BARRIER_ID,
    HALF_BARRIER
};

/* --- A product of tiles: x [num_tiles * 64, 64] through a ring of two buffers, by cp.async; each thread's
 * sums. */

enum { TILE_ROWS = 64, TILE_BYTES = TILE_ROWS * 128, NUM_TILES = 5, NUM_THREADS = 128 };

DEV uint32_t chunk_at(uint32_t row, uint32_t chunk) {
    return row * 128 + (chunk ^ row % 8) * 16;
}

DEV void load_tile(uint32_t buffer, const bf16_t *x, int tile) {
    for (uint32_t i = threadIdx.x; i < TILE_BYTES / 16; i += NUM_THREADS)
        cp_async16(buffer + chunk_at(i / 8, i % 8), x + ((uint32_t)tile * TILE_ROWS + i / 8) * 64 + i % 8 * 8,
                   true);
}

/* 16 rows, copied by another warp, times a fixed B, whose rows all differ. */
template <int BUG> DEV void multiply_tile(float c[4], uint32_t buffer) {
    uint32_t lane = threadIdx.x % 32, row = (threadIdx.x / 32 * 16 + 16 + lane % 16) % TILE_ROWS;
    for (uint32_t k = 0; k < 4; k++) {
        uint32_t chunk = 2 * k + lane / 16, a[4], b[2];
        b[0] = pack2<bf16_t>((float)(k + lane % 4), (float)(k * lane % 7));
        b[1] = pack2<bf16_t>((float)(k * 3 % 5), (float)(lane / 4));
        uint32_t offset = BUG == READER_FORGETS_SWIZZLE ? row * 128 + chunk * 16 : chunk_at(row, chunk);
        ldmatrix4(a, buffer + offset + (BUG == BOUNDS ? TILE_BYTES : BUG == ALIGNMENT ? 8 : 0));
        mma_16x8x16<bf16_t>(c, a, b);
    }
}

template <int BUG> __global__ void ring_kernel(float *out, const bf16_t *x) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory);
    float c[4] = {0, 0, 0, 0};
    load_tile(base, x, 0);
    cp_async_commit();
    for (int tile = 0; tile < NUM_TILES; tile++) {
        if (tile + 1 < NUM_TILES)
            load_tile(base + (uint32_t)(tile + 1) % 2 * TILE_BYTES, x, tile + 1);
        if (BUG != NEVER_COMMITTED)
            cp_async_commit();
        if (BUG == NEVER_WAITED && tile + 2 >= NUM_TILES)
            break;
        if (BUG == WAIT_TOO_LAX && tile + 1 < NUM_TILES)
            cp_async_wait<2>();
        else
            cp_async_wait<1>();
        if (BUG != NO_BARRIER_BEFORE_USE)
            block_barrier();
        multiply_tile<BUG>(c, base + (uint32_t)tile % 2 * TILE_BYTES);
        if (BUG != NO_BARRIER_BEFORE_REFILL)
            block_barrier();
    }
    for (int i = 0; i < 4; i++)
        out[(blockIdx.x * NUM_THREADS + threadIdx.x) * 4 + (unsigned)i] = c[i];
}

template <int BUG> words run_ring() {
    static std::vector<bf16_t> x;
    if (x.empty())
        for (uint32_t i = 0; i < NUM_TILES * TILE_ROWS * 64; i++)
            x.push_back(from_f32<bf16_t>((float)(i * 2654435761u % 23) - 11));
    words out(3 * NUM_THREADS * 4, 0xffffffff);
    LAUNCH((ring_kernel<BUG>), 3, NUM_THREADS, 2 * TILE_BYTES, 0, (float *)out.data(), x.data());
    return out;
}

/* The same by plain loops: C [64, 8] of each warp's rows, as mma_16x8x16 spreads it over the lanes. */
words plain_ring() {
    words out;
    for (uint32_t thread = 0; thread < 3 * NUM_THREADS; thread++)
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t lane = thread % 32, n = lane % 4 * 2 + i % 2;
            uint32_t row = (thread % NUM_THREADS / 32 * 16 + 16 + lane / 4 + i / 2 * 8) % TILE_ROWS;
            float sum = 0;
            for (uint32_t tile = 0; tile < NUM_TILES; tile++)
                for (uint32_t column = 0; column < 64; column++) {
                    /* B's row column % 16 of step k lies in lane holder, in register column / 8 % 2 */
                    uint32_t k = column / 16, holder = n * 4 + column % 8 / 2, upper = column / 8 % 2;
                    uint32_t lo = upper ? k * 3 % 5 : k + holder % 4,
                             hi = upper ? holder / 4 : k * holder % 7;
                    uint32_t at = (tile * TILE_ROWS + row) * 64 + column;
                    sum += ((float)(at * 2654435761u % 23) - 11) * (float)(column % 2 ? hi : lo);
                }
            out.push_back(float_bits(sum));
        }
    return out;
}

/* --- Collectives and barriers: a block sum by shuffles and shared memory, in two halves of the block. */

template <int BUG> __global__ void sum_kernel(float *out, const float *x) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory), i = threadIdx.x, warp = i / 32, half = warp / 2;
    float v = x[i];
    if (BUG == DIVERGENT && i % 32 < 16)
        v = shfl_xor(v, 1);
    if (BUG == DIVERGENT_OP)
        v = i % 2 ? shfl_xor(v, 1) : shfl_down(v, 1);
    float sum = warp_sum(v);
    if (BUG == EARLY_RETURN && warp == 3)
        return;
    if (i % 32 == 0)
        shared_store_f32(base + 4 * warp, sum);
    int id = BUG == BARRIER_ID ? 1 + (int)warp : 1 + (int)half;
    named_barrier(id, BUG == BARRIER_COUNT ? 32 : BUG == BARRIER_COUNT_DISAGREES && warp == 0 ? 128 : 64);
    float other = shared_load_f32(base + 4 * (warp ^ 1));
    if (BUG == HALF_BARRIER && warp == 3)
        named_barrier_arrive(9, 128);
    block_barrier();
    out[i] = sum + other;
}

template <int BUG> words run_sum() {
    std::vector<float> x(128);
    for (size_t i = 0; i < x.size(); i++)
        x[i] = (float)(i * i % 19);
    words out(128, 0xffffffff);
    LAUNCH((sum_kernel<BUG>), 1, 128, 64, 0, (float *)out.data(), x.data());
    return out;
}

words plain_sum() {
    float halves[2] = {0, 0};
    for (size_t i = 0; i < 128; i++)
        halves[i / 64] += (float)(i * i % 19);
    words out;
    for (size_t i = 0; i < 128; i++)
        out.push_back(float_bits(halves[i / 64]));
    return out;
}

int search_sm80() {
    words ring = plain_ring(), sum = plain_sum();
    return check_right("ring of cp.async buffers", run_ring<NONE>, ring) +
           check_right("block sum", run_sum<NONE>, sum) +
           search_all(
               {{"wait_group one group too lax", run_ring<WAIT_TOO_LAX>, nullptr},
                {"no barrier before other threads' copies are used", run_ring<NO_BARRIER_BEFORE_USE>,
                 nullptr},
                {"no barrier before the buffer is refilled", run_ring<NO_BARRIER_BEFORE_REFILL>, nullptr},
                {"reader forgets the swizzle", run_ring<READER_FORGETS_SWIZZLE>, nullptr},
                {"access beyond shared memory", run_ring<BOUNDS>, "outside of the block's 16384 bytes"},
                {"misaligned access", run_ring<ALIGNMENT>, "not a multiple of 16"},
                {"copies never waited for", run_ring<NEVER_WAITED>, "copies that it has not waited for"},
                {"copies never committed", run_ring<NEVER_COMMITTED>, "neither committed nor waited for"}},
               ring) +
           search_all(
               {{"collective by half a warp", run_sum<DIVERGENT>, "deadlock"},
                {"lanes in different collectives", run_sum<DIVERGENT_OP>, "divergent collective"},
                {"return before a barrier", run_sum<EARLY_RETURN>, "named_barrier: barrier 2, 32 of 64"},
                {"named barrier for too few threads", run_sum<BARRIER_COUNT>, nullptr},
                {"threads disagree about a barrier's count", run_sum<BARRIER_COUNT_DISAGREES>, "expect"},
                {"threads at different barriers", run_sum<BARRIER_ID>, "deadlock in kernel sum_kernel<BUG>"},
                {"barrier left half full", run_sum<HALF_BARRIER>, "barrier 9 half full: 32 of 128"}},
               sum);
}

/* --- Launches, and the count of bank conflicts. */

__global__ void idle_kernel(int) {
}

int check_launches() {
    struct {
        dim3 grid, block;
        size_t shared_bytes;
        int cluster_blocks;
    } refused[] = {
        {1, 1025, 0, 1}, {1, 0, 0, 1}, {dim3(1, 65536), 32, 0, 1}, {1, 32, 232449, 1}, {3, 32, 0, 2}};
    int num_missed = 0;
    for (const auto &r : refused)
        num_missed +=
            simt::failure_of([&] {
                LAUNCH_CLUSTER(idle_kernel, r.cluster_blocks, r.grid, r.block, r.shared_bytes, 0, 0);
            }).empty();
    num_missed += !simt::failure_of([&] { LAUNCH(idle_kernel, 65, 1024, 232448, 0, 0); }).empty();
    printf("%s  launches that no GPU would take\n", num_missed ? "MISSED" : "found ");
    return num_missed;
}

/* Lanes read rows of 128 bytes, as they lie or swizzled; then words and 16 bytes side by side. */
__global__ void conflict_kernel(int swizzle) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory), lane = threadIdx.x % 32, r[4];
    ldmatrix4(r, base + lane * 128 + (swizzle ? lane % 8 * 16 : 0));
    shared_load16(base + 16 * lane);
    shared_store4(base + 4 * lane, lane);
    if (lane < 16)
        shared_load4(base + 256 * lane);
}

int check_conflicts() {
    int num_wrong = 0;
    for (int swizzle = 0; swizzle < 2; swizzle++) {
        simt::count_conflicts(true);
        LAUNCH(conflict_kernel, 2, 64, 32 * 128, 0, swizzle);
        num_wrong += simt::conflicts_of("ldmatrix4").requests != 4;
        num_wrong += simt::conflicts_of("ldmatrix4").conflicts != (swizzle ? 0 : 4 * 4 * 7);
        num_wrong += simt::conflicts_of("ldmatrix4").cycles != (swizzle ? 4 * 4 : 4 * 4 * 8);
        num_wrong +=
            simt::conflicts_of("shared_load16").conflicts + simt::conflicts_of("shared_store4").conflicts !=
            0;
        num_wrong += simt::conflicts_of("shared_load4").conflicts != 4 * 15;
    }
    simt::count_conflicts(false);
    LAUNCH(conflict_kernel, 2, 64, 32 * 128, 0, 0);
    num_wrong += simt::conflicts_of("ldmatrix4").requests != 0;
    printf("%s  bank conflicts\n", num_wrong ? "WRONG " : "right ");
    return num_wrong;
}

} // namespace

int main() {
    int num_missed = search_sm80() + check_launches() + check_conflicts();
    printf("%d missed or wrong\n", num_missed);
    return num_missed;
}
