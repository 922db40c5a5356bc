/* simt_sm90.h - host side of kernels/cuda/dev_sm90.h, where each function is documented; here and in
 * simt_sm90.cpp, simt_tma.cpp and simt_wgmma.cpp, what is checked.  Included by dev_sm90.h only. */
#pragma once

/* The host's tensor map: as many bytes as the real one; its alignment does not matter here. */
struct tensor_map {
    char *base;
    int64_t dims[4], strides_bytes[3];
    int box[4];
    int ndim, element_bytes, swizzle_bytes;
    uint32_t magic;
    char unused[32];
};
static_assert(sizeof(tensor_map) == 128, "a CUtensorMap has 128 bytes");

namespace simt {

/* wgmma of one warp's 16 rows; a register operand replaces descriptor a when registers is not NULL. */
struct product {
    int n;
    bool is_bf16, trans_a, trans_b, accumulate;
    uint64_t a, b;
    const uint32_t *registers;
};
void wgmma(float *accumulators, const product &p);
void wgmma_wait(int num_in_flight);
void tma_load(uint32_t address, const tensor_map *map, uint32_t mbarrier, int ndim, const int *at);
void tma_store(const tensor_map *map, uint32_t address, int ndim, const int *at);
void tma_store_wait(int num_in_flight, bool until_written);
void registers_change(int num_registers, bool raise);

} // namespace simt

void mbarrier_init(uint32_t address, int count);
void mbarrier_init_fence();
void mbarrier_invalidate(uint32_t address);
void mbarrier_expect_bytes(uint32_t address, uint32_t bytes);
void mbarrier_arrive(uint32_t address);
void mbarrier_arrive_expect_bytes(uint32_t address, uint32_t bytes);
void mbarrier_arrive_cluster(uint32_t address);
void mbarrier_wait(uint32_t address, uint32_t parity);

int tensor_map_encode(struct tensor_map *map, enum dtype dtype, int ndim, const void *base,
                      const int64_t *dims, const int64_t *strides_bytes, const int *box, int swizzle_bytes);
static inline void tensor_map_prefetch(const tensor_map *) {
}
static inline void tma_load_2d(uint32_t address, const tensor_map *map, uint32_t mbarrier, int c0, int c1) {
    const int at[] = {c0, c1};
    simt::tma_load(address, map, mbarrier, 2, at);
}
static inline void tma_load_3d(uint32_t address, const tensor_map *map, uint32_t mbarrier, int c0, int c1,
                               int c2) {
    const int at[] = {c0, c1, c2};
    simt::tma_load(address, map, mbarrier, 3, at);
}
static inline void tma_load_4d(uint32_t address, const tensor_map *map, uint32_t mbarrier, int c0, int c1,
                               int c2, int c3) {
    const int at[] = {c0, c1, c2, c3};
    simt::tma_load(address, map, mbarrier, 4, at);
}
static inline void tma_store_2d(const tensor_map *map, uint32_t address, int c0, int c1) {
    const int at[] = {c0, c1};
    simt::tma_store(map, address, 2, at);
}
static inline void tma_store_3d(const tensor_map *map, uint32_t address, int c0, int c1, int c2) {
    const int at[] = {c0, c1, c2};
    simt::tma_store(map, address, 3, at);
}
static inline void tma_store_4d(const tensor_map *map, uint32_t address, int c0, int c1, int c2, int c3) {
    const int at[] = {c0, c1, c2, c3};
    simt::tma_store(map, address, 4, at);
}
void bulk_store(void *global, uint32_t address, uint32_t bytes);
void bulk_add_f32(float *global, uint32_t address, uint32_t bytes);
void counter_store(uint32_t *counter, uint32_t value);
uint32_t counter_load(const uint32_t *counter);
static inline void fence_async_global() {
}
void tma_store_commit();
template <int N> void tma_store_wait_read() {
    simt::tma_store_wait(N, false);
}
template <int N> void tma_store_wait() {
    simt::tma_store_wait(N, true);
}
void fence_async_shared();

void wgmma_fence();
void wgmma_commit();
template <int N> void wgmma_wait() {
    simt::wgmma_wait(N);
}
template <int COUNT> void wgmma_pin(float *) {
}
template <class T> static constexpr bool is_bf16_v = false;
template <> constexpr bool is_bf16_v<bf16_t> = true;
template <int N, class T, bool TransA, bool TransB>
void wgmma(float *accumulators, uint64_t a, uint64_t b, bool accumulate) {
    static_assert(N % 8 == 0 && N >= 8 && N <= 256, "wgmma has 8, 16, ... 256 columns");
    simt::wgmma(accumulators, {N, is_bf16_v<T>, TransA, TransB, accumulate, a, b, nullptr});
}
template <int N, class T, bool TransB>
void wgmma_registers(float *accumulators, const uint32_t *a, uint64_t b, bool accumulate) {
    static_assert(N % 8 == 0 && N >= 8 && N <= 256, "wgmma has 8, 16, ... 256 columns");
    simt::wgmma(accumulators, {N, is_bf16_v<T>, false, TransB, accumulate, 0, b, a});
}

template <int N> void registers_raise() {
    static_assert(N % 8 == 0 && N >= 24 && N <= 256, "setmaxnreg takes multiples of 8 from 24 to 256");
    simt::registers_change(N, true);
}
template <int N> void registers_lower() {
    static_assert(N % 8 == 0 && N >= 24 && N <= 256, "setmaxnreg takes multiples of 8 from 24 to 256");
    simt::registers_change(N, false);
}
bool elect_one();

uint32_t cluster_rank();
void cluster_barrier_arrive();
void cluster_barrier_wait();
uint32_t map_shared_rank(uint32_t address, uint32_t rank);
vec16 cluster_load16(uint32_t mapped);
uint32_t cluster_load4(uint32_t mapped);
void cluster_store16(uint32_t mapped, vec16 v);
void cluster_store4(uint32_t mapped, uint32_t v);
