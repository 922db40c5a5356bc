/* dev.h - the only place, with dev_sm89.h and dev_sm90.h, where PTX and launch syntax live.
 *
 * Kernels are written in plain C++ over these wrappers.  nvcc compiles the left half of this file; any other
 * C++17 compiler includes tests/simt/simt.h instead, which executes the same names on the host, one fiber per
 * CUDA thread, and checks what a GPU would let pass.  Rules that make this work:
 *   - launch with LAUNCH or LAUNCH_CLUSTER only, shared memory with DYN_SHARED only;
 *   - shared memory is read and written through 32-bit addresses and the functions below, never through a
 *     pointer: these are checked for bounds and alignment and may be reordered by the host;
 *   - every function marked "warp" is called by all 32 lanes together;
 *   - no thread returns before a barrier that others still reach.
 * Instructions that sm_80 has (sm_70: all but asynchronous copies, ldmatrix and mma_16x8x16); those of sm_90a are in
 * dev_sm90.h.  Source: the PTX ISA, section 9.7. */
#pragma once

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

/* Storage of 16-bit numbers, and 16 bytes that move as one. */
struct bf16_t {
    uint16_t bits;
};
struct f16_t {
    uint16_t bits;
};
struct alignas(16) vec16 {
    uint32_t w[4];
};

/* Where a failed launch is told; kernels/cuda/cuda.h documents it. */
extern "C" void cuda_die(const char *file, int line, const char *what, cudaError_t status)
    __attribute__((noreturn));

/* LAUNCH - start a kernel; arguments are copied at the call.  Write (kernel<A, B>) in parentheses where the
 * name holds a comma.  Dies naming the kernel when the launch is refused.  shared_bytes may exceed 48 KiB.
 * LAUNCH_CLUSTER - the same (sm_90), with cluster_blocks consecutive blocks of the grid's x axis together. */
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                               \
    launch_kernel(__FILE__, __LINE__, #kernel, kernel, 1, grid, block, shared_bytes, stream, __VA_ARGS__)
#define LAUNCH_CLUSTER(kernel, cluster_blocks, grid, block, shared_bytes, stream, ...)                       \
    launch_kernel(__FILE__, __LINE__, #kernel, kernel, cluster_blocks, grid, block, shared_bytes, stream,    \
                  __VA_ARGS__)

#ifdef __CUDACC__

#define DEV __device__ __forceinline__

/* DYN_SHARED - declare char *name: the block's dynamic shared memory, 1024-byte aligned. */
#define DYN_SHARED(name)                                                                                     \
    extern __shared__ __align__(1024) char dynamic_shared_memory[];                                          \
    char *name = dynamic_shared_memory

template <class... Params, class... Args>
inline void launch_kernel(const char *file, int line, const char *name, void (*kernel)(Params...),
                          int cluster_blocks, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                          Args... args) {
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = (unsigned)cluster_blocks;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &cluster;
    config.numAttrs = cluster_blocks > 1 ? 1 : 0;
    cudaError_t status = cudaSuccess;
    if (shared_bytes > 48 * 1024) /* more than the default limit must be asked for, kernel by kernel */
        status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
    if (status == cudaSuccess)
        status = cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
    if (status != cudaSuccess)
        cuda_die(file, line, name, status);
}

/* shared_address - the 32-bit address of a byte of DYN_SHARED memory. */
DEV uint32_t shared_address(const void *pointer) {
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

DEV uint32_t float_bits(float x) {
    return __float_as_uint(x);
}
DEV float bits_float(uint32_t bits) {
    return __uint_as_float(bits);
}

/* --- Conversions.  Round to nearest even; NaN stays NaN (0x7fff). */
DEV float to_f32(float x) {
    return x;
}
DEV float to_f32(bf16_t x) {
    return __uint_as_float((uint32_t)x.bits << 16);
}
DEV float to_f32(f16_t x) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
    return wide;
}
template <class T> DEV T from_f32(float x);
template <> DEV float from_f32<float>(float x) {
    return x;
}
template <> DEV f16_t from_f32<f16_t>(float x) {
    f16_t narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
    return narrow;
}

/* pack2 - two numbers rounded into one word, lo in the low half. */
template <class T> DEV uint32_t pack2(float lo, float hi);

/* --- Arithmetic that C has no name for. */

/* Subnormal arguments and results of the first three are 0.
 *
 * exp2_approx - 2^x, relative error below 2^-22.  rsqrt_approx - 1 / sqrt(x), likewise.
 * reciprocal_approx - 1 / x within 1 ulp: no subroutine for rare cases, as a division has.
 * max_nan - the larger of two; NaN when either is (fmaxf would drop it).
 * mul_rounded - the product, rounded before anything is added to it: never part of a fused multiply-add. */
DEV float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEV float rsqrt_approx(float x) {
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEV float reciprocal_approx(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEV float mul_rounded(float a, float b) {
    return __fmul_rn(a, b);
}

/* --- Those of the above that GPUs before sm_80 have no instruction for. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#include "kernels/cuda/dev_sm70.h"
template <> DEV bf16_t from_f32<bf16_t>(float x) {
    return {bf16_of_bits(float_bits(x))};
}
template <> DEV uint32_t pack2<bf16_t>(float lo, float hi) {
    return pair_of_halves(bf16_of_bits(float_bits(lo)), bf16_of_bits(float_bits(hi)));
}
template <> DEV uint32_t pack2<f16_t>(float lo, float hi) {
    return pair_of_halves(from_f32<f16_t>(lo).bits, from_f32<f16_t>(hi).bits);
}
DEV float max_nan(float a, float b) {
    return max_or_nan(a, b);
}
#else
template <> DEV bf16_t from_f32<bf16_t>(float x) {
    bf16_t narrow;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
    return narrow;
}
template <> DEV uint32_t pack2<bf16_t>(float lo, float hi) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(hi), "f"(lo));
    return pair;
}
template <> DEV uint32_t pack2<f16_t>(float lo, float hi) {
    uint32_t pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(hi), "f"(lo));
    return pair;
}
DEV float max_nan(float a, float b) {
    float larger;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(a), "f"(b));
    return larger;
}
#endif

/* --- Global memory: 16 or 8 bytes, aligned to as many.  _stream: touched once, first to leave the caches.
 *
 * Stores are asm: the compiler takes a plain store of a vector apart where it knows the words one by one, and
 * often does not join them again (four stores of 4 bytes instead of one of 16).  Not __stwb, which is asm, too:
 * its .wb makes a store that is ordered for the multiprocessor (STRONG.SM), which nobody here needs. */

DEV vec16 vec16_of(uint4 v) {
    return {{v.x, v.y, v.z, v.w}};
}
DEV vec16 load16(const void *global) {
    return vec16_of(*(const uint4 *)global);
}
DEV vec16 load16_stream(const void *global) {
    return vec16_of(__ldcs((const uint4 *)global));
}
DEV void store16(void *global, vec16 v) {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(global), "r"(v.w[0]), "r"(v.w[1]),
                 "r"(v.w[2]), "r"(v.w[3])
                 : "memory");
}
DEV void store16_stream(void *global, vec16 v) {
    __stcs((uint4 *)global, make_uint4(v.w[0], v.w[1], v.w[2], v.w[3]));
}
/* prefetch - to L2, of memory that may be read: a hint, for which nobody waits. */
DEV void prefetch(const void *global) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}
DEV uint2 load8(const void *global) {
    return *(const uint2 *)global;
}
DEV void store8(void *global, uint2 v) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(global), "r"(v.x), "r"(v.y) : "memory");
}

/* atomic_add - add to a counter shared by all blocks; returns the old value.  Integers only: sums of floats
 * in arrival order would differ from run to run.  atomic_max - raise a word shared by all blocks, to the same
 * value in any order.  global_fence - earlier writes are seen before later ones.
 */
DEV uint32_t atomic_add(uint32_t *counter, uint32_t add) {
    return atomicAdd(counter, add);
}
DEV void atomic_max(uint32_t *word, uint32_t value) {
    (void)atomicMax(word, value);
}
DEV void global_fence() {
    __threadfence();
}

/* --- Shared memory, by 32-bit address, aligned to the size of the access. */
DEV vec16 shared_load16(uint32_t address) {
    vec16 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
                 : "r"(address)
                 : "memory");
    return v;
}
DEV uint2 shared_load8(uint32_t address) {
    uint2 v;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(address) : "memory");
    return v;
}
DEV uint32_t shared_load4(uint32_t address) {
    uint32_t v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
    return v;
}
DEV uint16_t shared_load2(uint32_t address) {
    uint16_t v;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(address) : "memory");
    return v;
}
DEV void shared_store16(uint32_t address, vec16 v) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.w[0]), "r"(v.w[1]),
                 "r"(v.w[2]), "r"(v.w[3])
                 : "memory");
}
DEV void shared_store8(uint32_t address, uint2 v) {
    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(address), "r"(v.x), "r"(v.y) : "memory");
}
DEV void shared_store4(uint32_t address, uint32_t v) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(v) : "memory");
}
DEV void shared_store2(uint32_t address, uint16_t v) {
    asm volatile("st.shared.u16 [%0], %1;" ::"r"(address), "h"(v) : "memory");
}

/* --- Warp: shuffles (a lane reads v of another), votes, barrier. */
DEV float shfl(float v, int lane) {
    return __shfl_sync(0xffffffffu, v, lane);
}
DEV uint32_t shfl(uint32_t v, int lane) {
    return __shfl_sync(0xffffffffu, v, lane);
}
DEV float shfl_xor(float v, int mask) {
    return __shfl_xor_sync(0xffffffffu, v, mask);
}
DEV uint32_t shfl_xor(uint32_t v, int mask) {
    return __shfl_xor_sync(0xffffffffu, v, mask);
}
DEV float shfl_down(float v, int distance) {
    return __shfl_down_sync(0xffffffffu, v, (unsigned)distance);
}
DEV uint32_t shfl_down(uint32_t v, int distance) {
    return __shfl_down_sync(0xffffffffu, v, (unsigned)distance);
}
DEV float shfl_up(float v, int distance) {
    return __shfl_up_sync(0xffffffffu, v, (unsigned)distance);
}
DEV uint32_t shfl_up(uint32_t v, int distance) {
    return __shfl_up_sync(0xffffffffu, v, (unsigned)distance);
}
DEV uint32_t warp_ballot(bool vote) {
    return __ballot_sync(0xffffffffu, vote);
}
DEV void warp_barrier() {
    __syncwarp();
}

/* --- Block: all threads, or num_threads of them (a multiple of 32) at one of the barriers 1..15.
 * named_barrier_arrive counts without waiting. */
DEV void block_barrier() {
    __syncthreads();
}
DEV void named_barrier(int id, int num_threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(num_threads) : "memory");
}
DEV void named_barrier_arrive(int id, int num_threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(num_threads) : "memory");
}

/* --- Asynchronous copies of 16 bytes, global to shared.  valid false: zeros, and global is not read.
 * commit closes a group of this thread's copies; cp_async_wait<N> waits until at most N newer groups are in
 * flight.  Only the thread that waits may then read; others after a barrier. */
DEV void cp_async16(uint32_t address, const void *global, bool valid) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(address), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}
DEV void cp_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> DEV void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* --- Warp: 8x8 matrices of 16-bit elements.  Lane 8 i + r gives the address of row r of matrix i (16 bytes,
 * aligned); lane l receives elements 2 (l % 4) and the next of row l / 4 in r[i]; _trans: of the transposed
 * matrix. */
DEV void ldmatrix4(uint32_t r[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
DEV void ldmatrix4_trans(uint32_t r[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
DEV void ldmatrix2(uint32_t r[2], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
}
DEV void ldmatrix2_trans(uint32_t r[2], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
}

/* mma_16x8x16 - warp: c += a b, a 16x16, b 16x8 of T, c 16x8 in f32.  With g = lane / 4, t = 2 (lane % 4):
 * a = rows g, g+8, g, g+8 at columns t, t, t+8, t+8 (a pair each); b = column g at rows t, t+8;
 * c = rows g, g, g+8, g+8 at columns t, t+1, t, t+1. */
#define DEV_MMA(type)                                                                                        \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                              \
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                           \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                            \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
template <class T> DEV void mma_16x8x16(float c[4], const uint32_t a[4], const uint32_t b[2]);
template <> DEV void mma_16x8x16<bf16_t>(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    DEV_MMA("bf16");
}
template <> DEV void mma_16x8x16<f16_t>(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    DEV_MMA("f16");
}

/* mma_8x8x4_columns, mma_8x8x4_rows - warp: each of its quarters, lanes q and q + 16 of q = 4 i .. 4 i + 3, for itself:
 * c += a b, a 8x4, b 4x8 of f16, c 8x8 in f32.  With r = lane % 4 + 4 (lane / 16): a = row r, all columns;
 * b = _columns: column r, all rows; _rows: row lane % 4 at columns 4 (lane / 16) and the next three;
 * lo, hi = c at columns (lane & 2) and the next one, of rows r & ~2 (elements 0, 1) and that + 2; hi: 4 columns further.
 * Made for sm_70; later GPUs have it and are slow at it. */
#define DEV_MMA_8X8X4(layout)                                                                                \
    asm volatile("mma.sync.aligned.m8n8k4.row." layout ".f32.f16.f16.f32 "                                   \
                 "{%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9}, {%10, %11}, {%0, %1, %2, %3, %4, %5, %6, %7};" \
                 : "+f"(lo[0]), "+f"(lo[1]), "+f"(lo[2]), "+f"(lo[3]), "+f"(hi[0]), "+f"(hi[1]),             \
                   "+f"(hi[2]), "+f"(hi[3])                                                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]), "r"(b[1]))
DEV void mma_8x8x4_columns(float lo[4], float hi[4], const uint32_t a[2], const uint32_t b[2]) {
    DEV_MMA_8X8X4("col");
}
DEV void mma_8x8x4_rows(float lo[4], float hi[4], const uint32_t a[2], const uint32_t b[2]) {
    DEV_MMA_8X8X4("row");
}

#else
#include "simt.h"
#endif

/* --- What both halves share. */

/* ballot - bit l: the vote of lane l.  A macro, because cuda_runtime.h still declares an older ballot. */
#define ballot(vote) warp_ballot(vote)

/* unpack2 - the two numbers of a word, exactly. */
template <class T> DEV void unpack2(uint32_t pair, float *lo, float *hi) {
    *lo = to_f32(T{(uint16_t)pair});
    *hi = to_f32(T{(uint16_t)(pair >> 16)});
}

DEV float shared_load_f32(uint32_t address) {
    return bits_float(shared_load4(address));
}
DEV void shared_store_f32(uint32_t address, float v) {
    shared_store4(address, float_bits(v));
}

/* warp_sum, warp_max - over the 32 lanes, the same bits in each lane, in a fixed order; NaN reaches all. */
DEV float warp_sum(float v) {
    for (int mask = 16; mask; mask /= 2)
        v += shfl_xor(v, mask);
    return v;
}
DEV float warp_max(float v) {
    for (int mask = 16; mask; mask /= 2)
        v = max_nan(v, shfl_xor(v, mask));
    return v;
}
DEV bool warp_any(bool vote) {
    return warp_ballot(vote) != 0;
}
DEV bool warp_all(bool vote) {
    return warp_ballot(vote) == 0xffffffffu;
}
