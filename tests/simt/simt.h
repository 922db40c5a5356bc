/* simt.h - host side of kernels/cuda/dev.h: the words of CUDA C++, and the same wrappers as functions that
 * run on fibers.  Included by dev.h only.  What each wrapper does is said there; here and in simt_sm80.cpp,
 * what is checked.  tests/simt/control.h is the interface for tests. */
#pragma once

#ifndef __x86_64__
#error "tests/simt switches stacks in x86-64 assembly: other processors are not supported"
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include "fibers.h"
#include "kernels/half.h"
#include "runtime.h"

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define DEV inline __attribute__((always_inline))

#define threadIdx (simt::current->index)
#define blockIdx (simt::current->block->index)
#define blockDim (simt::current->block->cluster->shape->block)
#define gridDim (simt::current->block->cluster->shape->grid)

#define DYN_SHARED(name) char *name = simt::current->block->shared

using std::max;
using std::min;
struct uint2 {
    uint32_t x, y;
};
static inline uint2 make_uint2(uint32_t x, uint32_t y) {
    return {x, y};
}

namespace simt {
void check_launch(const launch_shape &shape);
} // namespace simt

/* The arguments are converted to the kernel's parameter types at the call, as a launch does. */
template <class... Params, class... Args>
void launch_kernel(const char *file, int line, const char *name, void (*kernel)(Params...),
                   int cluster_blocks, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Args... args) {
    simt::launch_shape shape = {name, grid, block, cluster_blocks, shared_bytes};
    simt::check_launch(shape);
    std::tuple<Params...> params(static_cast<Params>(args)...);
    simt_submit(stream,
                [shape, kernel, params] { simt::run_grid(shape, [&] { std::apply(kernel, params); }); });
    cudaError_t status = cudaGetLastError();
    if (status != cudaSuccess)
        cuda_die(file, line, name, status);
}

uint32_t shared_address(const void *pointer);

/* --- Conversions.  A GPU turns every NaN into 0x7fff. */
static inline float bits_float(uint32_t bits) {
    return f32_from_bits(bits);
}
static inline uint32_t float_bits(float x) {
    return bits_from_f32(x);
}
static inline float to_f32(float x) {
    return x;
}
static inline float to_f32(bf16_t x) {
    return f32_from_bf16(x.bits);
}
static inline float to_f32(f16_t x) {
    return f32_from_f16(x.bits);
}
template <class T> T from_f32(float x);
template <> inline float from_f32<float>(float x) {
    return x;
}
template <> inline bf16_t from_f32<bf16_t>(float x) {
    return {std::isnan(x) ? (uint16_t)0x7fff : bf16_from_f32(x)};
}
template <> inline f16_t from_f32<f16_t>(float x) {
    return {std::isnan(x) ? (uint16_t)0x7fff : f16_from_f32(x)};
}
template <class T> uint32_t pack2(float lo, float hi) {
    return from_f32<T>(lo).bits | (uint32_t)from_f32<T>(hi).bits << 16;
}

/* --- Arithmetic.  Subnormals are flushed as .ftz does; the last bits are the host's own, unless a test has asked
 * for errors (control.h). */
namespace simt {
extern float exp2_error, reciprocal_error;
} // namespace simt

static inline float flush_subnormal(float x) {
    return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;
}
static inline float exp2_approx(float x) {
    return flush_subnormal(exp2f(flush_subnormal(x)) * (1.0f + simt::exp2_error));
}
static inline float rsqrt_approx(float x) {
    return (float)(1.0 / std::sqrt((double)flush_subnormal(x)));
}
static inline float reciprocal_approx(float x) {
    return flush_subnormal(1.0f / flush_subnormal(x) * (1.0f + simt::reciprocal_error));
}
static inline float mul_rounded(float a, float b) {
    return a * b; /* compiled without contraction */
}
static inline float max_nan(float a, float b) {
    return std::isnan(a) || std::isnan(b) ? f32_from_bits(0x7fffffff) : std::fmax(a, b);
}

/* --- Global memory. */
vec16 load16(const void *global);
void store16(void *global, vec16 v);
static inline vec16 load16_stream(const void *global) {
    return load16(global);
}
static inline void store16_stream(void *global, vec16 v) {
    store16(global, v);
}
void prefetch(const void *global);
uint2 load8(const void *global);
void store8(void *global, uint2 v);
static inline uint32_t atomic_add(uint32_t *counter, uint32_t add) {
    return __atomic_fetch_add(counter, add, __ATOMIC_SEQ_CST);
}
static inline void atomic_max(uint32_t *word, uint32_t value) {
    uint32_t old = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    while (old < value &&
           !__atomic_compare_exchange_n(word, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
}
static inline void global_fence() {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* --- Shared memory. */
vec16 shared_load16(uint32_t address);
uint2 shared_load8(uint32_t address);
uint32_t shared_load4(uint32_t address);
uint16_t shared_load2(uint32_t address);
void shared_store16(uint32_t address, vec16 v);
void shared_store8(uint32_t address, uint2 v);
void shared_store4(uint32_t address, uint32_t v);
void shared_store2(uint32_t address, uint16_t v);

/* --- Warp. */
uint32_t shfl(uint32_t v, int lane);
uint32_t shfl_xor(uint32_t v, int mask);
uint32_t shfl_down(uint32_t v, int distance);
uint32_t shfl_up(uint32_t v, int distance);
uint32_t warp_ballot(bool vote);
void warp_barrier();
static inline float shfl(float v, int lane) {
    return bits_float(shfl(float_bits(v), lane));
}
static inline float shfl_xor(float v, int mask) {
    return bits_float(shfl_xor(float_bits(v), mask));
}
static inline float shfl_down(float v, int distance) {
    return bits_float(shfl_down(float_bits(v), distance));
}
static inline float shfl_up(float v, int distance) {
    return bits_float(shfl_up(float_bits(v), distance));
}

/* --- Block. */
void block_barrier();
void named_barrier(int id, int num_threads);
void named_barrier_arrive(int id, int num_threads);

/* --- Asynchronous copies. */
namespace simt {
void cp_async_wait(int num_in_flight);
void mma(float c[4], const uint32_t a[4], const uint32_t b[2], bool is_bf16);
} // namespace simt
void cp_async16(uint32_t address, const void *global, bool valid);
void cp_async_commit();
template <int N> void cp_async_wait() {
    simt::cp_async_wait(N);
}

/* --- Matrices. */
void ldmatrix4(uint32_t r[4], uint32_t address);
void ldmatrix4_trans(uint32_t r[4], uint32_t address);
void ldmatrix2(uint32_t r[2], uint32_t address);
void ldmatrix2_trans(uint32_t r[2], uint32_t address);
template <class T> void mma_16x8x16(float c[4], const uint32_t a[4], const uint32_t b[2]);
template <> inline void mma_16x8x16<bf16_t>(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    simt::mma(c, a, b, true);
}
template <> inline void mma_16x8x16<f16_t>(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    simt::mma(c, a, b, false);
}
void mma_8x8x4_columns(float lo[4], float hi[4], const uint32_t a[2], const uint32_t b[2]);
void mma_8x8x4_rows(float lo[4], float hi[4], const uint32_t a[2], const uint32_t b[2]);
