/* test_planted_sm90.cpp - bugs planted in Hopper kernels, each of which the shim must show (planted.h).
 * A plain program that returns the number of bugs missed. */
#include "planted.h"

#include <cstdlib>

#include "kernels/cuda/dev_sm90.h"

namespace {

enum bug {
    NONE,
    PRODUCER_DOES_NOT_WAIT,
    TOO_FEW_BYTES,
    TOO_MANY_BYTES,
    WRONG_PARITY,
    WRONG_ARRIVALS,
    NO_INIT_FENCE,
    NO_INIT_BARRIER,
    NO_WGMMA_WAIT,
    NO_WGMMA_FENCE,
    NO_WGMMA_COMMIT,
    RELEASED_BEFORE_WAIT,
    ACCUMULATOR_TOUCHED,
    WRONG_DESCRIPTOR,
    WARP_SKIPS_PRODUCT,
    NO_ASYNC_FENCE,
    NO_STORE_BARRIER,
    NO_STORE_WAIT,
    NO_STORE_COMMIT,
    TOO_MANY_REGISTERS,
    LOADED_TOO_MUCH,
    STRAY_WRITE,
    NO_CLUSTER_BARRIER_BEFORE,
    NO_CLUSTER_BARRIER_BETWEEN,
    NO_CLUSTER_BARRIER_AFTER
};

/* --- C = A B^T, A [128, 320], B [192, 320] in bf16: one TMA producer, one consumer warpgroup, three stages;
 * C goes back through shared memory and a TMA store. */

enum { M = 128, N = 192, K = 320, TILE = 64, STAGES = 3, NUM_STEPS = K / TILE, TILE_BYTES = TILE * TILE * 2 };
enum {
    BARRIERS_AT = STAGES * 2 * TILE_BYTES,
    OUTPUT_AT = BARRIERS_AT + 1024,
    SHARED = OUTPUT_AT + TILE * TILE * 4
};

struct ring {
    uint32_t base;
    DEV uint32_t full(int stage) const {
        return base + BARRIERS_AT + 8 * (uint32_t)stage;
    }
    DEV uint32_t empty(int stage) const {
        return base + BARRIERS_AT + 8 * (uint32_t)(STAGES + stage);
    }
    DEV uint32_t a(int stage) const {
        return base + 2 * (uint32_t)stage * TILE_BYTES;
    }
    DEV uint32_t b(int stage) const {
        return a(stage) + TILE_BYTES;
    }
};

template <int BUG> DEV void open_ring(ring r) {
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; stage++) {
            mbarrier_init(r.full(stage), 1);
            mbarrier_init(r.empty(stage), BUG == WRONG_ARRIVALS ? 129 : 128);
        }
        if (BUG != NO_INIT_FENCE)
            mbarrier_init_fence();
    }
    if (BUG != NO_INIT_BARRIER)
        block_barrier();
}

template <int BUG> DEV void produce(ring r, const tensor_map *a, const tensor_map *b) {
    for (int step = 0; step < NUM_STEPS; step++) {
        int stage = step % STAGES;
        if (BUG != PRODUCER_DOES_NOT_WAIT)
            mbarrier_wait(r.empty(stage), step / STAGES % 2 == 0);
        mbarrier_arrive_expect_bytes(r.full(stage), BUG == TOO_FEW_BYTES    ? TILE_BYTES
                                                    : BUG == TOO_MANY_BYTES ? 2 * TILE_BYTES + 16
                                                                            : 2 * TILE_BYTES);
        tma_load_2d(r.a(stage), a, r.full(stage), step * TILE, (int)blockIdx.y * TILE);
        tma_load_2d(r.b(stage), b, r.full(stage), step * TILE, (int)blockIdx.x * TILE);
        if (BUG == LOADED_TOO_MUCH && step + 1 == NUM_STEPS) {
            mbarrier_expect_bytes(r.full(0), TILE_BYTES);
            tma_load_2d(r.a(0), a, r.full(0), 0, 0);
        }
    }
}

template <int BUG> DEV void multiply_stage(float d[32], ring r, int stage) {
    if (BUG != NO_WGMMA_FENCE)
        wgmma_fence();
    for (uint32_t k = 0; k < TILE / 16; k++) {
        if (BUG == WARP_SKIPS_PRODUCT && k == 3 && threadIdx.x / 32 == 2)
            continue;
        uint64_t a = matrix_descriptor(r.a(stage) + 32 * k, 0, 1024, 128);
        uint64_t b = matrix_descriptor(r.b(stage) + (BUG == WRONG_DESCRIPTOR ? 0 : 32 * k), 0, 1024, 128);
        wgmma<TILE, bf16_t, false, false>(d, a, b, true);
    }
    if (BUG != NO_WGMMA_COMMIT)
        wgmma_commit();
    if (BUG == RELEASED_BEFORE_WAIT)
        mbarrier_arrive(r.empty(stage));
    if (BUG == ACCUMULATOR_TOUCHED)
        d[5] = 0;
    if (BUG != NO_WGMMA_WAIT)
        wgmma_wait<0>();
    if (BUG != RELEASED_BEFORE_WAIT)
        mbarrier_arrive(r.empty(stage));
}

template <int BUG> DEV void store_tile(ring r, const float d[32], const tensor_map *c) {
    uint32_t row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
    uint32_t output = r.base + OUTPUT_AT;
    for (uint32_t i = 0; i < 32; i++)
        shared_store_f32(output + ((row + i / 2 % 2 * 8) * TILE + column + i / 4 * 8 + i % 2) * 4, d[i]);
    if (BUG != NO_ASYNC_FENCE)
        fence_async_shared();
    if (BUG != NO_STORE_BARRIER)
        named_barrier(1, 128);
    if (threadIdx.x == 0) {
        tma_store_2d(c, output, (int)blockIdx.x * TILE, (int)blockIdx.y * TILE);
        if (BUG != NO_STORE_COMMIT)
            tma_store_commit();
        if (BUG != NO_STORE_WAIT)
            tma_store_wait_read<0>();
    }
}

template <int BUG> DEV void consume(ring r, const tensor_map *c) {
    float d[32];
    for (int i = 0; i < 32; i++)
        d[i] = 0;
    for (int step = 0; step < NUM_STEPS; step++) {
        int stage = step % STAGES;
        mbarrier_wait(r.full(stage), (uint32_t)(step / STAGES + (BUG == WRONG_PARITY)) % 2);
        multiply_stage<BUG>(d, r, stage);
        if (BUG == STRAY_WRITE && step == 1 && threadIdx.x == 77)
            shared_store4(r.full(2), 5);
    }
    if (BUG == NO_WGMMA_WAIT)
        wgmma_wait<1>(); /* the last product is still in flight */
    store_tile<BUG>(r, d, c);
    if (BUG == NO_WGMMA_WAIT)
        wgmma_wait<0>();
}

template <int BUG>
__global__ void __launch_bounds__(256, 1)
    product_kernel(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b,
                   const __grid_constant__ tensor_map c) {
    DYN_SHARED(memory);
    ring r = {shared_address(memory)};
    open_ring<BUG>(r);
    if (threadIdx.x >= 128) {
        registers_lower<40>();
        if (threadIdx.x == 128)
            produce<BUG>(r, &a, &b);
        if (BUG == TOO_MANY_REGISTERS)
            registers_raise<232>();
    } else {
        registers_raise<BUG == TOO_MANY_REGISTERS ? 256 : 240>();
        consume<BUG>(r, &c);
    }
}

struct operands {
    alignas(16) bf16_t a[M * K], b[N * K];
    alignas(16) float c[M * N];
};

template <int BUG> words run_product() {
    static operands *o = nullptr;
    if (!o) {
        o = new operands;
        for (uint32_t i = 0; i < M * K; i++)
            o->a[i] = from_f32<bf16_t>((float)(i * 2654435761u % 13) - 6);
        for (uint32_t i = 0; i < N * K; i++)
            o->b[i] = from_f32<bf16_t>((float)(i * 2246822519u % 11) - 5);
    }
    for (float &x : o->c)
        x = -1;
    tensor_map a, b, c;
    const int64_t dims_a[] = {K, M}, dims_b[] = {K, N}, dims_c[] = {N, M}, stride[] = {K * 2},
                  stride_c[] = {N * 4};
    const int box[] = {TILE, TILE};
    if (tensor_map_2d(&a, DTYPE_BF16, o->a, dims_a, stride, box, 128) ||
        tensor_map_2d(&b, DTYPE_BF16, o->b, dims_b, stride, box, 128) ||
        tensor_map_2d(&c, DTYPE_F32, o->c, dims_c, stride_c, box, 0))
        return words();
    LAUNCH((product_kernel<BUG>), dim3(N / TILE, M / TILE), 256, SHARED, 0, a, b, c);
    words out(M * N);
    memcpy(out.data(), o->c, sizeof o->c);
    return out;
}

/* The same by plain loops; all sums are integers below 2^24, exact. */
words plain_product() {
    words out;
    for (uint32_t i = 0; i < M; i++)
        for (uint32_t j = 0; j < N; j++) {
            float sum = 0;
            for (uint32_t k = 0; k < K; k++)
                sum += ((float)((i * K + k) * 2654435761u % 13) - 6) *
                       ((float)((j * K + k) * 2246822519u % 11) - 5);
            out.push_back(float_bits(sum));
        }
    return out;
}

int search_product() {
    words right = plain_product();
    return check_right("product by TMA and wgmma", run_product<NONE>, right) +
           search_all(
               {{"producer does not wait", run_product<PRODUCER_DOES_NOT_WAIT>,
                 "all 1 arrivals of the phase are in"},
                {"fewer bytes expected than loaded", run_product<TOO_FEW_BYTES>, "in flight"},
                {"more bytes expected than loaded", run_product<TOO_MANY_BYTES>, "16 bytes"},
                {"wrong parity", run_product<WRONG_PARITY>, "all 1 arrivals of the phase are in"},
                {"mbarrier counts a thread too many", run_product<WRONG_ARRIVALS>, "lacks 1 of 129 arrivals"},
                {"mbarrier_init_fence is missing", run_product<NO_INIT_FENCE>, "without mbarrier_init_fence"},
                {"mbarrier used before it is initialised", run_product<NO_INIT_BARRIER>, "no mbarrier"},
                {"wgmma_wait is missing", run_product<NO_WGMMA_WAIT>, nullptr},
                {"wgmma_fence is missing", run_product<NO_WGMMA_FENCE>, "without wgmma_fence"},
                {"wgmma_commit is missing", run_product<NO_WGMMA_COMMIT>, "in flight"},
                {"stage released before wgmma_wait", run_product<RELEASED_BEFORE_WAIT>, nullptr},
                {"accumulator touched in flight", run_product<ACCUMULATOR_TOUCHED>,
                 "accumulator 5 was written"},
                {"wrong descriptor", run_product<WRONG_DESCRIPTOR>, nullptr},
                {"one warp skips a product", run_product<WARP_SKIPS_PRODUCT>, "differs between the warps"},
                {"fence_async_shared is missing", run_product<NO_ASYNC_FENCE>, "without fence_async_shared"},
                {"no barrier before the TMA store", run_product<NO_STORE_BARRIER>, nullptr},
                {"TMA store not waited for", run_product<NO_STORE_WAIT>, "tma_store_wait_read is missing"},
                {"TMA store not committed", run_product<NO_STORE_COMMIT>, "neither committed nor waited"},
                {"more registers than the block has", run_product<TOO_MANY_REGISTERS>, "registers a thread"},
                {"a load that nobody waits for", run_product<LOADED_TOO_MUCH>, "expects 8192 bytes"},
                {"stray write to an mbarrier", run_product<STRAY_WRITE>, "written over the mbarrier"}},
               right);
}

/* --- A cluster of two blocks, in which each reads the other's shared memory. */

template <int BUG> __global__ void cluster_kernel(uint32_t *out) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory), other = map_shared_rank(base, cluster_rank() ^ 1);
    shared_store4(base + 4 * threadIdx.x, threadIdx.x + 100 * blockIdx.x);
    if (BUG != NO_CLUSTER_BARRIER_BEFORE) {
        cluster_barrier_arrive();
        cluster_barrier_wait();
    }
    uint32_t sum = cluster_load4(other + 4 * (63 - threadIdx.x));
    if (BUG != NO_CLUSTER_BARRIER_BETWEEN) {
        cluster_barrier_arrive();
        cluster_barrier_wait();
    }
    cluster_store4(other + 4 * threadIdx.x, sum);
    if (BUG != NO_CLUSTER_BARRIER_AFTER) {
        cluster_barrier_arrive();
        cluster_barrier_wait();
    }
    out[64 * blockIdx.x + threadIdx.x] = sum + shared_load4(base + 4 * threadIdx.x);
}

template <int BUG> words run_cluster() {
    words out(256, 0xffffffff);
    LAUNCH_CLUSTER((cluster_kernel<BUG>), 2, 4, 64, 256, 0, out.data());
    return out;
}

int search_clusters() {
    words right;
    for (uint32_t block = 0; block < 4; block++)
        for (uint32_t i = 0; i < 64; i++)
            right.push_back(63 - i + 100 * (block ^ 1) + 63 - i + 100 * block);
    return check_right("exchange in a cluster", run_cluster<NONE>, right) +
           search_all({{"no cluster barrier before", run_cluster<NO_CLUSTER_BARRIER_BEFORE>,
                        "cluster barrier missing"},
                       {"no cluster barrier between", run_cluster<NO_CLUSTER_BARRIER_BETWEEN>, nullptr},
                       {"no cluster barrier after", run_cluster<NO_CLUSTER_BARRIER_AFTER>,
                        "its shared memory is gone"}},
                      right);
}

} // namespace

int main() {
    int num_missed = search_product() + search_clusters();
    printf("%d missed or wrong\n", num_missed);
    return num_missed;
}
