/* dev_sm90.h - PTX of Hopper (sm_90a) behind wrappers: mbarrier, TMA, wgmma, register hand-over, clusters.
 *
 * As in dev.h, nvcc compiles the PTX and other compilers tests/simt/simt_sm90.h.  Discipline that the host
 * checks, because the hardware does not:
 *   - whoever writes shared memory with dev.h's functions, and has it read by wgmma or a TMA store (or
 *     overwritten by a TMA load), calls fence_async_shared() after the writes and before the barrier;
 *   - a batch of products is wgmma_fence, products, wgmma_commit; accumulators are touched only after the
 *     wgmma_wait that covers them, shared operands overwritten only after it too;
 *   - bytes are expected (mbarrier_expect_bytes) before the loads that bring them are issued.
 * Source: the PTX ISA; layouts of wgmma operands as in CUTLASS, include/cute/atom/mma_traits_sm90_gmma.hpp.
 */
#pragma once

#include "kernels/cuda/dev.h"
#include "kernels/tensor.h"

#ifdef __CUDACC__

#include <cudaTypedefs.h>

#include "kernels/cuda/dev_wgmma.h"

/* --- mbarrier: 8 bytes of shared memory, 8-byte aligned.  A phase completes when count threads have arrived
 * and all expected bytes have landed; then the next one begins.  Phases are numbered from 0. */

/* mbarrier_init - by one thread; mbarrier_init_fence by the same thread, then a block or cluster barrier,
 * before anyone uses it.  mbarrier_invalidate - the bytes may be used for something else. */
DEV void mbarrier_init(uint32_t address, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(count) : "memory");
}
DEV void mbarrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
DEV void mbarrier_invalidate(uint32_t address) {
    asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(address) : "memory");
}

/* mbarrier_expect_bytes - the current phase waits for bytes more; this is not an arrival.
 * mbarrier_arrive_expect_bytes - that, and one arrival: what a producer thread calls once per stage.
 * mbarrier_arrive_cluster - arrival at another block's mbarrier (an address from map_shared_rank). */
DEV void mbarrier_expect_bytes(uint32_t address, uint32_t bytes) {
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(bytes)
                 : "memory");
}
DEV void mbarrier_arrive(uint32_t address) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address) : "memory");
}
DEV void mbarrier_arrive_expect_bytes(uint32_t address, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address), "r"(bytes)
                 : "memory");
}
DEV void mbarrier_arrive_cluster(uint32_t address) {
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(address) : "memory");
}

/* mbarrier_wait - until the current phase of that parity (0, 1, 0, ...) has completed; returns at once when
 * the phase that runs has the other parity.  So the first wait for a free stage has parity 1. */
DEV void mbarrier_wait(uint32_t address, uint32_t parity) {
    asm volatile("{\n.reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n}\n" ::"r"(address),
                 "r"(parity)
                 : "memory");
}

/* --- TMA. */

/* A tensor in global memory as the copy engine sees it.  Passed to kernels by value, as
 * "const __grid_constant__ tensor_map map". */
struct alignas(64) tensor_map {
    unsigned char opaque[128];
};

/* The driver's encoder, found at run time: the program is not linked to libcuda. */
inline PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
    void *entry = nullptr;
    cudaDriverEntryPointQueryResult found;
#if CUDART_VERSION >= 12050
    cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found);
#else
    cudaError_t status = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &found);
#endif
    bool usable = status == cudaSuccess && found == cudaDriverEntryPointSuccess;
    return usable ? (PFN_cuTensorMapEncodeTiled_v12000)entry : nullptr;
}

/* tensor_map_encode - behind tensor_map_2d, 3d and 4d, which are documented below. */
inline int tensor_map_encode(struct tensor_map *map, enum dtype dtype, int ndim, const void *base,
                             const int64_t *dims, const int64_t *strides_bytes, const int *box,
                             int swizzle_bytes) {
    PFN_cuTensorMapEncodeTiled_v12000 encode = tensor_map_encoder();
    cuuint64_t sizes[5], strides[4] = {0};
    cuuint32_t boxes[5], steps[5];
    for (int i = 0; i < ndim; i++) {
        sizes[i] = (cuuint64_t)dims[i];
        boxes[i] = (cuuint32_t)box[i];
        steps[i] = 1;
        if (i + 1 < ndim)
            strides[i] = (cuuint64_t)strides_bytes[i];
    }
    CUtensorMapDataType type = dtype == DTYPE_BF16  ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                               : dtype == DTYPE_F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                    : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    CUtensorMapSwizzle swizzle = swizzle_bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                 : swizzle_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                 : swizzle_bytes == 32 ? CU_TENSOR_MAP_SWIZZLE_32B
                                                       : CU_TENSOR_MAP_SWIZZLE_NONE;
    if (!encode || (dtype != DTYPE_BF16 && dtype != DTYPE_F16 && dtype != DTYPE_F32))
        return -1;
    CUresult result = encode((CUtensorMap *)map, type, (cuuint32_t)ndim, (void *)base, sizes, strides, boxes,
                             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? 0 : -1;
}

/* tensor_map_prefetch - by one thread at the start of the kernel: the first load need not wait for the map.
 */
DEV void tensor_map_prefetch(const tensor_map *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* tma_load - by one thread: the box at coordinates c0 (contiguous axis), c1, ... to shared memory, row by row
 * without gaps, swizzled as the map says; its bytes count at the mbarrier when they land.  Elements outside
 * of the tensor are 0 and count too.  address is a multiple of 128, of 1024 for 128-byte swizzle. */
#define DEV_TMA_LOAD(ndim, coordinates, ...)                                                                 \
    asm volatile("cp.async.bulk.tensor." ndim ".shared::cluster.global.mbarrier::complete_tx::bytes "        \
                 "[%0], [%1, {" coordinates "}], [%2];" ::"r"(address),                                      \
                 "l"(map), "r"(mbarrier), __VA_ARGS__                                                        \
                 : "memory")
DEV void tma_load_2d(uint32_t address, const tensor_map *map, uint32_t mbarrier, int c0, int c1) {
    DEV_TMA_LOAD("2d", "%3, %4", "r"(c0), "r"(c1));
}
DEV void tma_load_3d(uint32_t address, const tensor_map *map, uint32_t mbarrier, int c0, int c1, int c2) {
    DEV_TMA_LOAD("3d", "%3, %4, %5", "r"(c0), "r"(c1), "r"(c2));
}
DEV void tma_load_4d(uint32_t address, const tensor_map *map, uint32_t mbarrier, int c0, int c1, int c2,
                     int c3) {
    DEV_TMA_LOAD("4d", "%3, %4, %5, %6", "r"(c0), "r"(c1), "r"(c2), "r"(c3));
}

/* tma_store - by one thread: the reverse; elements outside of the tensor are not written.  commit closes a
 * group of this thread's stores; tma_store_wait_read<N> waits until all but the N newest groups have read
 * shared memory (needed before it is reused, and before the block ends), tma_store_wait<N> until they are
 * written. */
#define DEV_TMA_STORE(ndim, coordinates, ...)                                                                \
    asm volatile("cp.async.bulk.tensor." ndim ".global.shared::cta.bulk_group [%0, {" coordinates            \
                 "}], [%1];" ::"l"(map),                                                                     \
                 "r"(address), __VA_ARGS__                                                                   \
                 : "memory")
DEV void tma_store_2d(const tensor_map *map, uint32_t address, int c0, int c1) {
    DEV_TMA_STORE("2d", "%2, %3", "r"(c0), "r"(c1));
}
DEV void tma_store_3d(const tensor_map *map, uint32_t address, int c0, int c1, int c2) {
    DEV_TMA_STORE("3d", "%2, %3, %4", "r"(c0), "r"(c1), "r"(c2));
}
DEV void tma_store_4d(const tensor_map *map, uint32_t address, int c0, int c1, int c2, int c3) {
    DEV_TMA_STORE("4d", "%2, %3, %4, %5", "r"(c0), "r"(c1), "r"(c2), "r"(c3));
}
DEV void tma_store_commit() {
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
template <int N> DEV void tma_store_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}
template <int N> DEV void tma_store_wait() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
}

/* bulk_store, bulk_add_f32 - by one thread: bytes of shared memory to global memory as they lie, or f32 values added to
 * those that are there; both multiples of 16, like the addresses.  Committed and waited for like tma_store.  Each value
 * is added by itself, but who adds first is nobody's choice: for the same bits every run, those who add to one place
 * take turns (counter_load, counter_store). */
DEV void bulk_store(void *global, uint32_t address, uint32_t bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global), "r"(address),
                 "r"(bytes)
                 : "memory");
}
DEV void bulk_add_f32(float *global, uint32_t address, uint32_t bytes) {
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(global),
                 "r"(address), "r"(bytes)
                 : "memory");
}

/* counter_store - after this thread's earlier accesses to global memory, also those of its bulk stores that it has waited
 * for (tma_store_wait), is a counter set.  counter_load - what the thread accesses after it comes after what a thread
 * had done whose counter_store it read; bulk stores after fence_async_global, too. */
DEV void counter_store(uint32_t *counter, uint32_t value) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(counter), "r"(value) : "memory");
}
DEV uint32_t counter_load(const uint32_t *counter) {
    uint32_t value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(counter) : "memory");
    return value;
}
DEV void fence_async_global() {
    asm volatile("fence.proxy.async.global;" ::: "memory");
}

/* fence_async_shared - this thread's earlier accesses to shared memory come before later ones of wgmma and
 * TMA. */
DEV void fence_async_shared() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* --- wgmma, by whole warpgroups (128 threads, first thread a multiple of 128). */

/* wgmma_fence - opens a batch: registers are as the code above left them.  wgmma_commit - closes it.
 * wgmma_wait<N> - until all but the N newest batches are done. */
DEV void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
DEV void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int N> DEV void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* wgmma_pin<COUNT> - tie registers to this point of the program: nothing the compiler makes of them moves
 * past. Where ptxas says that it serialises wgmma (C7514), pin the accumulators before wgmma_fence and after
 * wgmma_wait. */
template <int COUNT> DEV void wgmma_pin(float *registers) {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        asm volatile("" : "+f"(registers[i])::"memory");
}

template <int N, class T, bool TransA, bool TransB>
DEV void wgmma(float *accumulators, uint64_t a, uint64_t b, bool accumulate) {
    wgmma_width<N>::template shared<T, TransA, TransB>(accumulators, a, b, accumulate);
}
template <int N, class T, bool TransB>
DEV void wgmma_registers(float *accumulators, const uint32_t *a, uint64_t b, bool accumulate) {
    wgmma_width<N>::template registers<T, TransB>(accumulators, a, b, accumulate);
}

/* --- Registers and threads. */

/* registers_raise, registers_lower - by all warps of a warpgroup: from here on N registers a thread (a
 * multiple of 8, 24 to 256).  raise waits until others have given enough back. */
template <int N> DEV void registers_raise() {
    static_assert(N % 8 == 0 && N >= 24 && N <= 256, "setmaxnreg takes multiples of 8 from 24 to 256");
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> DEV void registers_lower() {
    static_assert(N % 8 == 0 && N >= 24 && N <= 256, "setmaxnreg takes multiples of 8 from 24 to 256");
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

/* elect_one - warp: true in one lane, the same at each call. */
DEV bool elect_one() {
    uint32_t elected;
    asm volatile("{\n.reg .pred one;\nelect.sync _|one, 0xffffffff;\nselp.u32 %0, 1, 0, one;\n}\n"
                 : "=r"(elected));
    return elected != 0;
}

/* --- Clusters.  A block's first look at another's shared memory, and its own end, come after a cluster
 * barrier: before the first one the other may not have started, after its end its memory is gone. */
DEV uint32_t cluster_rank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
DEV void cluster_barrier_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
DEV void cluster_barrier_wait() {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* map_shared_rank - the address, in the cluster, of the same byte of block rank; for the functions below and
 * mbarrier_arrive_cluster only. */
DEV uint32_t map_shared_rank(uint32_t address, uint32_t rank) {
    uint32_t mapped;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped) : "r"(address), "r"(rank));
    return mapped;
}
DEV vec16 cluster_load16(uint32_t mapped) {
    vec16 v;
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
                 : "r"(mapped)
                 : "memory");
    return v;
}
DEV uint32_t cluster_load4(uint32_t mapped) {
    uint32_t v;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(mapped) : "memory");
    return v;
}
DEV void cluster_store16(uint32_t mapped, vec16 v) {
    asm volatile("st.shared::cluster.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(mapped), "r"(v.w[0]), "r"(v.w[1]),
                 "r"(v.w[2]), "r"(v.w[3])
                 : "memory");
}
DEV void cluster_store4(uint32_t mapped, uint32_t v) {
    asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(mapped), "r"(v) : "memory");
}

#else
#include "simt_sm90.h"
#endif

/* --- What both halves share. */

/* tensor_map_4d - describe a tensor of bf16, f16 or f32: dims[0] contiguous elements, then dims[i] items that
 * lie strides_bytes[i - 1] apart.  box: what one load or store moves; box[0] elements of swizzle_bytes (32,
 * 64, 128), or any multiple of 16 bytes with swizzle_bytes 0.  _2d, _3d: fewer axes. Returns 0, or -1 where
 * the hardware cannot: base not a multiple of 16 bytes, strides neither, a box side above 256; and where the
 * driver knows no tensor maps. */
static inline int tensor_map_4d(struct tensor_map *map, enum dtype dtype, const void *base,
                                const int64_t dims[4], const int64_t strides_bytes[3], const int box[4],
                                int swizzle_bytes) {
    return tensor_map_encode(map, dtype, 4, base, dims, strides_bytes, box, swizzle_bytes);
}
static inline int tensor_map_3d(struct tensor_map *map, enum dtype dtype, const void *base,
                                const int64_t dims[3], const int64_t strides_bytes[2], const int box[3],
                                int swizzle_bytes) {
    return tensor_map_encode(map, dtype, 3, base, dims, strides_bytes, box, swizzle_bytes);
}
static inline int tensor_map_2d(struct tensor_map *map, enum dtype dtype, const void *base,
                                const int64_t dims[2], const int64_t strides_bytes[1], const int box[2],
                                int swizzle_bytes) {
    return tensor_map_encode(map, dtype, 2, base, dims, strides_bytes, box, swizzle_bytes);
}

/* matrix_descriptor - how an operand of wgmma lies in shared memory.  swizzle: 0, 32, 64 or 128 bytes, as
 * written by a TMA load of that swizzle; a row below is swizzle bytes of one line of the box (16 for 0).
 *   not Trans (k contiguous): 8 consecutive m (or n) are 8 consecutive rows; the next 8 lie stride_bytes on.
 *       With swizzle 0 the second 8 of the 16 k lie leading_bytes on; else leading_bytes is not used, and the
 *       next 16 k of the same rows are addressed by address + 32.
 *   Trans (m or n contiguous): 8 consecutive k are 8 consecutive rows; the next 8 k lie stride_bytes on, the
 *       next row's worth of m or n leading_bytes on.  With swizzle 0 the other way round.
 * Rows of swizzle 128 begin at a multiple of 1024 bytes (64: 512, 32: 256) every 8 rows. */
DEV uint64_t matrix_descriptor(uint32_t address, uint32_t leading_bytes, uint32_t stride_bytes, int swizzle) {
    uint64_t mode = swizzle == 128 ? 1 : swizzle == 64 ? 2 : swizzle == 32 ? 3 : 0;
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)((leading_bytes & 0x3ffff) >> 4) << 16 |
           (uint64_t)((stride_bytes & 0x3ffff) >> 4) << 32 | mode << 62;
}

/* wgmma<N, T, TransA, TransB>(accumulators, a, b, accumulate) - accumulators (+)= A B, A 64x16, B 16xN of T
 * (bf16_t, f16_t), N a multiple of 8 up to 256, a and b from matrix_descriptor; accumulate false: = A B.
 * Accumulator i of thread t (of 128): row 16 (t / 32) + t % 32 / 4 + 8 (i / 2 % 2), column 8 (i / 4) +
 * 2 (t % 4) + i % 2.  N / 2 of them.
 * wgmma_registers<N, T, TransB>(accumulators, a, b, accumulate) - A as 4 registers of pairs: rows as above,
 * a[i] holds row 8 (i % 2) on, columns 8 (i / 2) + 2 (t % 4) and the next: what pack2 makes of accumulators.
 */
