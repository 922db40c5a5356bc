/* fixed.c - sums of gradients as integers, which have the same bits in whatever order they are added. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/exact_sum.h"

enum { FIXED_BLOCK = 16384 }; /* below 2^16: block_squares */

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

/* x^2 is m^2 2^(2 e), m a whole number of 24 bits: for each exponent that f32 has, its m^2 are added in a word of 64 bits, which holds
 * 2^16 of them.  Several words take turns, so that an addition need not wait for the one before it. */
enum {
    EXPONENTS = 256,
    NOT_FINITE = EXPONENTS - 1, /* exponent of infinity and NaN */
    FRACTION_BITS = 23,
    EXPONENT_OF_ONE_UNIT = 150, /* 127 + FRACTION_BITS: x = m 2^(exponent - this) */
    TURNS = 4,
    HALF_BITS = 32
};

/* add_square - to the word of its exponent. */
static inline __attribute__((always_inline)) void add_square(uint64_t *words, float x) {
    uint32_t bits = bits_from_f32(x) & 0x7fffffffu, exponent = bits >> FRACTION_BITS;
    uint64_t m = (bits & ((1u << FRACTION_BITS) - 1)) | (uint32_t)(exponent > 0) << FRACTION_BITS;
    words[exponent] += m * m;
}

/* put_together - what was added of each exponent.  Numbers below 2^-126 have the exponent 0, and the unit of 1. */
static void put_together(struct exact_sum *sum, uint64_t words[TURNS][EXPONENTS]) {
    for (int exponent = 0; exponent < EXPONENTS; exponent++) {
        uint64_t all = 0;
        int unit = 2 * ((exponent ? exponent : 1) - EXPONENT_OF_ONE_UNIT);
        for (int turn = 0; turn < TURNS; turn++)
            all += words[turn][exponent];
        if (all == 0)
            continue;
        if (exponent == NOT_FINITE) {
            exact_sum_add(sum, INFINITY);
            continue;
        }
        exact_sum_add(sum, ldexp((double)(all & UINT32_MAX), unit));
        exact_sum_add(sum, ldexp((double)(all >> HALF_BITS), unit + HALF_BITS));
    }
}

static void block_squares(struct exact_sum *sum, const float *x, int64_t count) {
    uint64_t words[TURNS][EXPONENTS] = {{0}};
    int64_t i = 0;
    for (; i + TURNS <= count; i += TURNS)
        for (int turn = 0; turn < TURNS; turn++)
            add_square(words[turn], x[i + turn]);
    for (; i < count; i++)
        add_square(words[0], x[i]);
    put_together(sum, words);
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
