/* largest.c - the largest magnitude of a tensor of bf16 (struct fp8_magnitude). */
#include "kernels/cpu/cpu.h"

/* Values that a thread takes at a time. */
enum { CHUNK = 4096 };

/* largest_of - the bits of the largest magnitude: without their signs the bits of bf16 are in the order of magnitudes, and a NaN's are
 * above infinity's. */
CPU_CLONES
static uint16_t largest_of(const uint16_t *values, int64_t count) {
    uint16_t largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < count; i++) {
        uint16_t magnitude = values[i] & 0x7fffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

uint16_t cpu_largest(struct device *dev, struct tensor t) {
    const uint16_t *values = t.data;
    int64_t total = tensor_count(t);
    uint16_t largest = 0;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) reduction(max : largest)
    for (int64_t first = 0; first < total; first += CHUNK) {
        uint16_t own = largest_of(values + first, total - first < CHUNK ? total - first : CHUNK);
        largest = own > largest ? own : largest;
    }
    return largest;
}

void cpu_put_largest(struct device *dev, uint32_t *largest, struct tensor t) {
    if (largest)
        *largest = cpu_largest(dev, t);
}
