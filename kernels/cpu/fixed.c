/* fixed.c - sums of gradients as integers, which have the same bits in whatever order they are added. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/exact_sum.h"

enum { FIXED_BLOCK = 16384 };

/* A number of less than 2^51 units plus this one has its nearest integer in the lowest bits. */
#define TO_INTEGER 0x1.8p52
#define TO_INTEGER_BITS UINT64_C(0x4338000000000000)

/* units_of - the nearest integer to x factor, ties to even; of no use where that is 2^51 or more, which callers see by the
 * largest. */
static inline __attribute__((always_inline)) int64_t units_of(float x, double factor) {
    double shifted = (double)x * factor + TO_INTEGER;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (int64_t)(bits - TO_INTEGER_BITS);
}

/* block_round - the loop of both ways to write, each of which is a loop of its own after inlining.  The bits of |x|, without their
 * sign, are in the order of its values; infinity and NaN are above all numbers. */
static inline __attribute__((always_inline)) uint32_t
block_round(int64_t *sums, const float *x, int64_t count, double factor, enum op_write write) {
    uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < count; i++) {
        uint32_t size = bits_from_f32(x[i]) & 0x7fffffffu;
        uint64_t before = write == OP_OVERWRITE ? 0 : (uint64_t)sums[i];
        largest = size > largest ? size : largest;
        sums[i] = (int64_t)(before + (uint64_t)units_of(x[i], factor));
    }
    return largest;
}

CPU_CLONES
static uint32_t block_write(int64_t *sums, const float *x, int64_t count, double factor) {
    return block_round(sums, x, count, factor, OP_OVERWRITE);
}

CPU_CLONES
static uint32_t block_add(int64_t *sums, const float *x, int64_t count, double factor) {
    return block_round(sums, x, count, factor, OP_ACCUMULATE);
}

float cpu_fixed_add(struct device *dev, int64_t *sums, struct tensor x, int exponent, enum op_write write) {
    const float *values = x.data;
    int64_t total = tensor_count(x);
    double factor = ldexp(1, -exponent);
    uint32_t largest = 0;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) reduction(max : largest)
    for (int64_t first = 0; first < total; first += FIXED_BLOCK) {
        int64_t count = total - first < FIXED_BLOCK ? total - first : FIXED_BLOCK;
        uint32_t size = write == OP_OVERWRITE ? block_write(sums + first, values + first, count, factor)
                                              : block_add(sums + first, values + first, count, factor);
        largest = size > largest ? size : largest;
    }
    return f32_from_bits(largest);
}

CPU_CLONES
static void block_join(int64_t *sums, const int64_t *others, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        sums[i] = (int64_t)((uint64_t)sums[i] + (uint64_t)others[i]);
}

void cpu_fixed_join(struct device *dev, int64_t *sums, const int64_t *others, int64_t total) {
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t first = 0; first < total; first += FIXED_BLOCK)
        block_join(sums + first, others + first, total - first < FIXED_BLOCK ? total - first : FIXED_BLOCK);
}

CPU_CLONES
static void block_read(float *y, const int64_t *sums, int64_t count, double unit) {
    for (int64_t i = 0; i < count; i++)
        y[i] = (float)((double)sums[i] * unit);
}

void cpu_fixed_read(struct device *dev, struct tensor y, const int64_t *sums, int exponent) {
    float *values = y.data;
    int64_t total = tensor_count(y);
    double unit = ldexp(1, exponent);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t first = 0; first < total; first += FIXED_BLOCK)
        block_read(values + first, sums + first, total - first < FIXED_BLOCK ? total - first : FIXED_BLOCK,
                   unit);
}

/* block_squares - the square of an f32 number is exact in f64. */
static void block_squares(struct exact_sum *sum, const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        exact_sum_add(sum, (double)x[i] * (double)x[i]);
}

/* A sum for each thread, put together at the end. */
void cpu_exact_squares(struct device *dev, struct exact_sum *sum, struct tensor x) {
    const float *values = x.data;
    int64_t total = tensor_count(x);
    size_t parts_bytes = (size_t)dev->num_threads * sizeof(struct exact_sum);
    struct exact_sum *parts = cpu_scratch(dev, parts_bytes);
    memset(parts, 0, parts_bytes);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t first = 0; first < total; first += FIXED_BLOCK)
        block_squares(&parts[cpu_thread()], values + first,
                      total - first < FIXED_BLOCK ? total - first : FIXED_BLOCK);
    for (int t = 0; t < dev->num_threads; t++)
        exact_sum_join(sum, &parts[t]);
}
