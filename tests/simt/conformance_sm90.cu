/* conformance_sm90.cu - one probe for each wrapper of kernels/cuda/dev_sm90.h; see conformance.h. */
#include "kernels/cuda/dev_sm90.h"

#include "conformance.h"
#include "conformance_turns.h"

namespace {

/* The xor of 128-, 64- and 32-byte swizzle, on rows of that many bytes that begin at a multiple of 1024: a
 * restatement, not the shim's. */
__host__ __device__ inline uint32_t swizzled(uint32_t row, uint32_t byte, int swizzle) {
    uint32_t flip = swizzle == 128 ? row % 8 : swizzle == 64 ? row / 2 % 4 : swizzle == 32 ? row / 4 % 2 : 0;
    return byte ^ flip * 16;
}

/* --- mbarriers: two warps pass a value back and forth, as full and empty stages of a ring of one. */

__global__ void mbarrier_kernel(uint32_t *out) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory), full = base + 128, empty = base + 136, i = threadIdx.x;
    if (i == 0) {
        mbarrier_init(full, 32);
        mbarrier_init(empty, 32);
        mbarrier_init_fence();
    }
    block_barrier();
    for (uint32_t round = 0; round < 6; round++) {
        uint32_t parity = round % 2;
        if (i < 32) {
            mbarrier_wait(empty, parity ^ 1);
            shared_store4(base + 4 * i, 100 * round + i);
            mbarrier_arrive(full);
        } else {
            mbarrier_wait(full, parity);
            out[32 * round + i - 32] = shared_load4(base + 4 * (63 - i));
            mbarrier_arrive(empty);
        }
    }
    block_barrier();
    if (i == 0) {
        mbarrier_invalidate(full);
        mbarrier_invalidate(empty);
    }
}

void probe_mbarrier(conformance *run) {
    words out(6 * 32);
    LAUNCH(mbarrier_kernel, 1, 64, 256, 0, out.data);
    std::vector<uint32_t> want;
    for (uint32_t round = 0; round < 6; round++)
        for (uint32_t i = 0; i < 32; i++)
            want.push_back(100 * round + 31 - i);
    expect_words(run, "mbarrier_init _arrive _wait _invalidate", out, want);
}

/* --- TMA. */

struct tile_case {
    enum dtype dtype;
    int ndim, swizzle;
    int dims[4], box[4], at[4];
};

size_t element_bytes(const tile_case &c) {
    return c.dtype == DTYPE_F32 ? 4 : 2;
}
size_t box_bytes(const tile_case &c) {
    return element_bytes(c) * c.box[0] * c.box[1] * c.box[2] * c.box[3];
}
size_t row_bytes(const tile_case &c) { /* of the tensor; padded, so that strides matter */
    return (c.dims[0] * element_bytes(c) + 15) / 16 * 16 + 16;
}
size_t tensor_bytes(const tile_case &c) {
    return row_bytes(c) * c.dims[1] * c.dims[2] * c.dims[3];
}

tensor_map map_of(const tile_case &c, void *base) {
    tensor_map map;
    int64_t dims[4], strides[3] = {(int64_t)row_bytes(c)};
    for (int i = 0; i < 4; i++)
        dims[i] = c.dims[i];
    for (int i = 1; i < 3; i++)
        strides[i] = strides[i - 1] * dims[i];
    int status = c.ndim == 2   ? tensor_map_2d(&map, c.dtype, base, dims, strides, c.box, c.swizzle)
                 : c.ndim == 3 ? tensor_map_3d(&map, c.dtype, base, dims, strides, c.box, c.swizzle)
                               : tensor_map_4d(&map, c.dtype, base, dims, strides, c.box, c.swizzle);
    if (status != 0) {
        printf("tensor_map_%dd: refused\n", c.ndim);
        exit(1);
    }
    return map;
}

/* Call visit(byte in the tensor or -1, byte in shared memory) for each 16-bit half of the box. */
template <class F> void each_half(const tile_case &c, F visit) {
    size_t halves = element_bytes(c) / 2, in_row = c.box[0] * halves, row = 0;
    for (int w = 0; w < c.box[3]; w++)
        for (int z = 0; z < c.box[2]; z++)
            for (int y = 0; y < c.box[1]; y++, row++)
                for (size_t h = 0; h < in_row; h++) {
                    long x[4] = {c.at[0] + (long)(h / halves), c.at[1] + y, c.at[2] + z, c.at[3] + w};
                    bool inside = true;
                    for (int i = 0; i < 4; i++)
                        inside = inside && x[i] >= 0 && x[i] < c.dims[i];
                    long at = (long)row_bytes(c) * (x[1] + c.dims[1] * (x[2] + c.dims[2] * x[3])) +
                              x[0] * (long)element_bytes(c) + (long)(h % halves) * 2;
                    size_t shared = row * in_row * 2 + swizzled((uint32_t)row, (uint32_t)h * 2, c.swizzle);
                    visit(inside ? at : -1, shared);
                }
}

__global__ void tma_load_kernel(const __grid_constant__ tensor_map map, uint32_t *out, tile_case c,
                                uint32_t bytes) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory), bar = base + (bytes + 127) / 128 * 128;
    if (threadIdx.x == 0) {
        tensor_map_prefetch(&map);
        mbarrier_init(bar, 1);
        mbarrier_init_fence();
        mbarrier_expect_bytes(bar, bytes);
        if (c.ndim == 2)
            tma_load_2d(base, &map, bar, c.at[0], c.at[1]);
        else if (c.ndim == 3)
            tma_load_3d(base, &map, bar, c.at[0], c.at[1], c.at[2]);
        else
            tma_load_4d(base, &map, bar, c.at[0], c.at[1], c.at[2], c.at[3]);
        mbarrier_arrive(bar);
    }
    block_barrier();
    mbarrier_wait(bar, 0);
    for (uint32_t i = threadIdx.x; i < bytes / 4; i += blockDim.x)
        out[i] = shared_load4(base + 4 * i);
}

std::vector<uint32_t> random_tensor(const tile_case &c) {
    std::vector<uint32_t> values(tensor_bytes(c) / 4);
    for (size_t i = 0; i < values.size(); i++)
        values[i] = (uint32_t)i * 2654435761u + 77;
    return values;
}

void probe_tma_load(conformance *run, const char *name, const tile_case &c) {
    std::vector<uint32_t> tensor = random_tensor(c), want(box_bytes(c) / 4);
    words in(tensor), out(want.size());
    LAUNCH(tma_load_kernel, 1, 64, box_bytes(c) + 256, 0, map_of(c, in.data), out.data, c,
           (uint32_t)box_bytes(c));
    each_half(c, [&](long at, size_t shared) {
        memset((char *)want.data() + shared, 0, 2);
        if (at >= 0)
            memcpy((char *)want.data() + shared, (char *)tensor.data() + at, 2);
    });
    expect_words(run, name, out, want);
}

__global__ void tma_store_kernel(const __grid_constant__ tensor_map map, const uint32_t *in, tile_case c,
                                 uint32_t bytes) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory);
    for (uint32_t i = threadIdx.x; i < bytes / 4; i += blockDim.x)
        shared_store4(base + 4 * i, in[i]);
    fence_async_shared();
    block_barrier();
    if (threadIdx.x == 0) {
        if (c.ndim == 2)
            tma_store_2d(&map, base, c.at[0], c.at[1]);
        else if (c.ndim == 3)
            tma_store_3d(&map, base, c.at[0], c.at[1], c.at[2]);
        else
            tma_store_4d(&map, base, c.at[0], c.at[1], c.at[2], c.at[3]);
        tma_store_commit();
        tma_store_wait_read<0>();
        tma_store_wait<0>();
    }
}

void probe_tma_store(conformance *run, const char *name, const tile_case &c) {
    std::vector<uint32_t> want = random_tensor(c), box(box_bytes(c) / 4);
    for (size_t i = 0; i < box.size(); i++)
        box[i] = (uint32_t)i * 2246822519u + 5;
    words in(box), out(want);
    LAUNCH(tma_store_kernel, 1, 64, box_bytes(c), 0, map_of(c, out.data), in.data, c, (uint32_t)box_bytes(c));
    each_half(c, [&](long at, size_t shared) {
        if (at >= 0)
            memcpy((char *)want.data() + at, (char *)box.data() + shared, 2);
    });
    expect_words(run, name, out, want);
}

void probe_tma(conformance *run) {
    const tile_case plain = {DTYPE_F32, 2, 0, {40, 30, 1, 1}, {24, 10, 1, 1}, {20, 7, 0, 0}};
    const tile_case narrow = {DTYPE_BF16, 2, 32, {40, 30, 1, 1}, {16, 24, 1, 1}, {-3, 11, 0, 0}};
    const tile_case middle = {DTYPE_F16, 3, 64, {72, 9, 5, 1}, {32, 8, 2, 1}, {48, -2, 4, 0}};
    const tile_case wide = {DTYPE_BF16, 4, 128, {72, 5, 9, 3}, {64, 1, 16, 2}, {8, 3, -4, 1}};
    const tile_case wide_f32 = {DTYPE_F32, 4, 128, {40, 3, 9, 2}, {32, 2, 8, 1}, {0, 1, 1, 1}};
    probe_tma_load(run, "tma_load_2d f32", plain);
    probe_tma_load(run, "tma_load_2d bf16 swizzle 32", narrow);
    probe_tma_load(run, "tma_load_3d f16 swizzle 64", middle);
    probe_tma_load(run, "tma_load_4d bf16 swizzle 128", wide);
    probe_tma_load(run, "tma_load_4d f32 swizzle 128", wide_f32);
    probe_tma_store(run, "tma_store_2d f32", plain);
    probe_tma_store(run, "tma_store_2d bf16 swizzle 32", narrow);
    probe_tma_store(run, "tma_store_3d f16 swizzle 64", middle);
    probe_tma_store(run, "tma_store_4d bf16 swizzle 128", wide);
    probe_tma_store(run, "tma_store_4d f32 swizzle 128", wide_f32);
    probe_turns(run);
}

/* --- wgmma.  Operands are [rows][K] in global memory, rows being m or n; the kernel lays them out in shared
 * memory as matrix_descriptor documents, by plain stores. */

enum { K = 64 }; /* of the whole product: 4 instructions */

/* The layout of one operand; all in bytes. */
template <bool TRANS, int SWIZZLE> struct layout {
    static constexpr uint32_t WIDTH = SWIZZLE ? SWIZZLE : 16; /* of a row of shared memory */
    static constexpr uint32_t PER_ROW = WIDTH / 2;            /* elements */

    /* Where element (row, k) lies, in an operand of num_rows rows. */
    __host__ __device__ static uint32_t at(uint32_t row, uint32_t k, uint32_t num_rows) {
        uint32_t along = TRANS ? row : k, across = TRANS ? k : row; /* along: contiguous */
        uint32_t lines = TRANS ? (uint32_t)K : num_rows;
        return along / PER_ROW * lines * WIDTH + across * WIDTH +
               swizzled(across, along % PER_ROW * 2, SWIZZLE);
    }
    /* The descriptor of the 16 k from 16 step on. */
    DEV static uint64_t descriptor(uint32_t base, uint32_t step, uint32_t num_rows) {
        uint32_t column = num_rows * WIDTH; /* not Trans: from one PER_ROW of k to the next */
        if (TRANS)
            return SWIZZLE ? matrix_descriptor(base + step * 16 * WIDTH, K * WIDTH, 8 * WIDTH, SWIZZLE)
                           : matrix_descriptor(base + step * 16 * WIDTH, 8 * WIDTH, K * WIDTH, SWIZZLE);
        if (SWIZZLE == 0)
            return matrix_descriptor(base + step * 2 * column, column, 8 * WIDTH, SWIZZLE);
        return matrix_descriptor(base + step * 16 / PER_ROW * column + step * 16 % PER_ROW * 2, 0, 8 * WIDTH,
                                 SWIZZLE);
    }
};

template <class T, class LAYOUT>
DEV void place_operand(uint32_t base, const float *values, uint32_t num_rows) {
    for (uint32_t i = threadIdx.x; i < num_rows * K; i += blockDim.x)
        shared_store2(base + LAYOUT::at(i / K, i % K, num_rows), from_f32<T>(values[i]).bits);
}

template <int N> DEV void store_accumulators(float *out, const float *d) {
    int row = (int)threadIdx.x / 32 * 16 + (int)threadIdx.x % 32 / 4, column = (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < N / 2; i++)
        out[(row + i / 2 % 2 * 8) * N + column + i / 4 * 8 + i % 2] = d[i];
}

template <int N, class T, bool TRANS_A, int SWIZZLE_A, bool TRANS_B, int SWIZZLE_B>
__global__ void __launch_bounds__(128) wgmma_kernel(float *out, const float *a, const float *b) {
    DYN_SHARED(memory);
    typedef layout<TRANS_A, SWIZZLE_A> layout_a;
    typedef layout<TRANS_B, SWIZZLE_B> layout_b;
    uint32_t base_a = shared_address(memory), base_b = base_a + 64 * K * 2;
    place_operand<T, layout_a>(base_a, a, 64);
    place_operand<T, layout_b>(base_b, b, N);
    fence_async_shared();
    block_barrier();
    float d[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; i++)
        d[i] = 1000.0f; /* dropped: the first product does not accumulate */
    wgmma_pin<N / 2>(d);
    wgmma_fence();
#pragma unroll
    for (uint32_t step = 0; step < K / 16; step++)
        wgmma<N, T, TRANS_A, TRANS_B>(d, layout_a::descriptor(base_a, step, 64),
                                      layout_b::descriptor(base_b, step, N), step > 0);
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_pin<N / 2>(d);
    store_accumulators<N>(out, d);
}

/* The same with A in registers, in two batches, the second one waited for last. */
template <int N, class T, bool TRANS_B, int SWIZZLE_B>
__global__ void __launch_bounds__(128) wgmma_registers_kernel(float *out, const float *a, const float *b) {
    DYN_SHARED(memory);
    typedef layout<TRANS_B, SWIZZLE_B> layout_b;
    uint32_t base_b = shared_address(memory);
    place_operand<T, layout_b>(base_b, b, N);
    fence_async_shared();
    block_barrier();
    int row = (int)threadIdx.x / 32 * 16 + (int)threadIdx.x % 32 / 4, k = (int)threadIdx.x % 4 * 2;
    float d[2][N / 2];
    uint32_t fragments[K / 16][4];
#pragma unroll
    for (int i = 0; i < N / 2; i++)
        d[0][i] = d[1][i] = 2.0f;
#pragma unroll
    for (int step = 0; step < K / 16; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float *pair = a + (row + i % 2 * 8) * K + 16 * step + k + i / 2 * 8;
            fragments[step][i] = pack2<T>(pair[0], pair[1]);
        }
    wgmma_pin<N / 2>(d[0]);
    wgmma_pin<N / 2>(d[1]);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        wgmma_fence();
#pragma unroll
        for (uint32_t step = 2 * half; step < 2 * half + 2u; step++)
            wgmma_registers<N, T, TRANS_B>(d[half], fragments[step], layout_b::descriptor(base_b, step, N),
                                           true);
        wgmma_commit();
    }
    wgmma_wait<1>();
    wgmma_pin<N / 2>(d[0]);
    store_accumulators<N>(out, d[0]);
    wgmma_wait<0>();
    wgmma_pin<N / 2>(d[1]);
    store_accumulators<N>(out + 64 * N, d[1]);
}

const char *type_name(bf16_t) {
    return "bf16";
}
const char *type_name(f16_t) {
    return "f16";
}

std::vector<float> operand_values(size_t num_rows, size_t salt) {
    std::vector<float> values(num_rows * K);
    for (size_t row = 0; row < num_rows; row++)
        for (size_t k = 0; k < K; k++)
            values[row * K + k] = small_integer(row + salt, k);
    return values;
}

/* The sum over k from first to last - 1. */
std::vector<float> product(const std::vector<float> &a, const std::vector<float> &b, size_t first,
                           size_t last, float start) {
    size_t n = b.size() / K;
    std::vector<float> c(64 * n, start);
    for (size_t i = 0; i < 64; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t k = first; k < last; k++)
                c[i * n + j] += a[i * K + k] * b[j * K + k];
    return c;
}

template <int N, class T, bool TRANS_A, int SWIZZLE_A, bool TRANS_B, int SWIZZLE_B>
void probe_wgmma(conformance *run) {
    std::vector<float> a = operand_values(64, 0), b = operand_values(N, 5);
    device_array<float> device_a(a), device_b(b);
    words out(64 * N);
    LAUNCH((wgmma_kernel<N, T, TRANS_A, SWIZZLE_A, TRANS_B, SWIZZLE_B>), 1, 128, (64 + N) * K * 2, 0,
           (float *)out.data, device_a.data, device_b.data);
    char name[120];
    snprintf(name, sizeof name, "wgmma n%d %s, A %s-major swizzle %d, B %s-major swizzle %d", N,
             type_name(T()), TRANS_A ? "m" : "k", SWIZZLE_A, TRANS_B ? "n" : "k", SWIZZLE_B);
    expect_words(run, name, out, words_of(product(a, b, 0, K, 0.0f)));
}

template <int N, class T, bool TRANS_B, int SWIZZLE_B> void probe_wgmma_registers(conformance *run) {
    std::vector<float> a = operand_values(64, 0), b = operand_values(N, 5);
    device_array<float> device_a(a), device_b(b);
    words out(2 * 64 * N);
    /* Columns lie in chunks as wide as the swizzle; where they end inside of one, the rest of it stays poisoned. */
    constexpr int CHUNK = SWIZZLE_B ? SWIZZLE_B / 2 : 8, COLUMNS = (N + CHUNK - 1) / CHUNK * CHUNK;
    LAUNCH((wgmma_registers_kernel<N, T, TRANS_B, SWIZZLE_B>), 1, 128, (TRANS_B ? COLUMNS : N) * K * 2, 0,
           (float *)out.data, device_a.data, device_b.data);
    std::vector<float> want = product(a, b, 0, K / 2, 2.0f), second = product(a, b, K / 2, K, 2.0f);
    want.insert(want.end(), second.begin(), second.end());
    char name[120];
    snprintf(name, sizeof name, "wgmma_registers n%d %s, B %s-major swizzle %d", N, type_name(T()),
             TRANS_B ? "n" : "k", SWIZZLE_B);
    expect_words(run, name, out, words_of(want));
}

/* Every swizzle for either operand, either way round. */
template <class T, bool TRANS_A, bool TRANS_B> void probe_swizzles(conformance *run) {
    probe_wgmma<64, T, TRANS_A, 0, TRANS_B, 128>(run);
    probe_wgmma<64, T, TRANS_A, 32, TRANS_B, 64>(run);
    probe_wgmma<64, T, TRANS_A, 64, TRANS_B, 32>(run);
    probe_wgmma<64, T, TRANS_A, 128, TRANS_B, 0>(run);
    probe_wgmma<128, T, TRANS_A, 128, TRANS_B, 128>(run);
}

template <int N> void probe_width(conformance *run) {
    probe_wgmma<N, bf16_t, false, 128, false, 128>(run);
}

void probe_products(conformance *run) {
    probe_swizzles<bf16_t, false, false>(run);
    probe_swizzles<bf16_t, false, true>(run);
    probe_swizzles<bf16_t, true, false>(run);
    probe_swizzles<bf16_t, true, true>(run);
    probe_swizzles<f16_t, false, true>(run);
    probe_width<8>(run);
    probe_width<24>(run);
    probe_width<80>(run);
    probe_width<96>(run);
    probe_width<160>(run);
    probe_width<176>(run);
    probe_width<192>(run);
    probe_width<256>(run);
    probe_wgmma_registers<64, bf16_t, false, 128>(run);
    probe_wgmma_registers<128, bf16_t, true, 128>(run);
    probe_wgmma_registers<32, f16_t, true, 64>(run);
    probe_wgmma_registers<80, f16_t, false, 32>(run);
    /* What attention asks of head widths that end inside of a chunk of 64 columns; CuTe has no such layout. */
    probe_wgmma_registers<80, bf16_t, true, 128>(run);
    probe_wgmma_registers<96, bf16_t, true, 128>(run);
    /* And of wide heads. */
    probe_wgmma_registers<192, bf16_t, true, 128>(run);
}

/* --- Registers, election. */

__global__ void __launch_bounds__(384, 1) registers_kernel(uint32_t *out) {
    if (threadIdx.x < 128)
        registers_lower<24>();
    else
        registers_raise<240>();
    bool elected = elect_one(), again = elect_one();
    uint32_t votes = ballot(elected);
    out[threadIdx.x] = (uint32_t)(elected == again) | (uint32_t)(votes != 0 && (votes & (votes - 1)) == 0)
                                                          << 1;
}

void probe_registers(conformance *run) {
    words out(384);
    LAUNCH(registers_kernel, 1, 384, 0, 0, out.data);
    expect_words(run, "registers_lower registers_raise elect_one", out, std::vector<uint32_t>(384, 3));
}

/* --- Clusters of two: each block writes to, reads from and arrives at the other. */

__global__ void cluster_kernel(uint32_t *out) {
    DYN_SHARED(memory);
    uint32_t base = shared_address(memory), bar = base + 2048, i = threadIdx.x, rank = cluster_rank();
    uint32_t other = map_shared_rank(base, rank ^ 1);
    if (i == 0) {
        mbarrier_init(bar, 64);
        mbarrier_init_fence();
    }
    shared_store4(base + 4 * i, 1000 * blockIdx.x + i);
    cluster_barrier_arrive();
    cluster_barrier_wait();
    cluster_store16(other + 512 + 16 * i, {{rank, i, i + 1, i + 2}});
    cluster_store4(other + 256 + 4 * i, i * i + rank);
    mbarrier_arrive_cluster(map_shared_rank(bar, rank ^ 1));
    out += 64 * 4 * blockIdx.x;
    out[4 * i] = cluster_load4(other + 4 * (63 - i));
    mbarrier_wait(bar, 0);
    out[4 * i + 1] = shared_load4(base + 256 + 4 * i);
    out[4 * i + 2] = shared_load16(base + 512 + 16 * i).w[0] * 10 + shared_load4(base + 512 + 16 * i + 12);
    out[4 * i + 3] = cluster_load16(map_shared_rank(base, rank) + 16 * (i / 4)).w[i % 4];
    cluster_barrier_arrive();
    cluster_barrier_wait();
}

void probe_clusters(conformance *run) {
    words out(4 * 64 * 4);
    LAUNCH_CLUSTER(cluster_kernel, 2, 4, 64, 4096, 0, out.data);
    std::vector<uint32_t> want;
    for (uint32_t block = 0; block < 4; block++)
        for (uint32_t i = 0; i < 64; i++) {
            uint32_t rank = block % 2, other = rank ^ 1;
            want.push_back(1000 * (block ^ 1) + 63 - i);
            want.push_back(i * i + other);
            want.push_back(other * 10 + i + 2);
            want.push_back(1000 * block + i);
        }
    expect_words(run, "LAUNCH_CLUSTER cluster_ map_shared_rank mbarrier_arrive_cluster", out, want);
}

} // namespace

void probe_sm90(conformance *run) {
    probe_mbarrier(run);
    probe_tma(run);
    probe_products(run);
    probe_registers(run);
    probe_clusters(run);
}
