/* quantise.c - values into codes of 8 bits on the CPU, a block at a time, with what rounding lost before. */
#include "kernels/cpu/cpu.h"
#include "kernels/half.h"

/* A number of less than 2^22 plus this one is rounded to the nearest integer, ties to even. */
#define TO_INTEGER 0x1.8p23f

#define LARGEST_CODE 127.0f

enum { INFINITY_BITS = 0x7f800000 };

/* largest_bits - of |v|; infinity and NaN are above all numbers. */
static inline __attribute__((always_inline)) uint32_t largest_bits(const float *v) {
    uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
    for (int i = 0; i < PACKED_BYTE_BLOCK; i++) {
        uint32_t size = bits_from_f32(v[i]) & 0x7fffffffu;
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* One block; lost NULL: none is kept.  A quotient may exceed the largest code by its rounding, never to the next integer. */
CPU_CLONES
static float quantise_block(int8_t *codes, const float *x, float *lost) {
    float v[PACKED_BYTE_BLOCK];
    for (int i = 0; i < PACKED_BYTE_BLOCK; i++)
        v[i] = lost ? x[i] + lost[i] : x[i];
    uint32_t largest = largest_bits(v);
    if (largest >= INFINITY_BITS) {
        for (int i = 0; i < PACKED_BYTE_BLOCK; i++)
            codes[i] = 0;
        for (int i = 0; lost && i < PACKED_BYTE_BLOCK; i++)
            lost[i] = 0;
        return f32_from_bits(INFINITY_BITS | 0x00400000u);
    }
    float scale = f32_from_bits(largest) / LARGEST_CODE;
    scale = scale > 0x1p-126f ? scale : 0x1p-126f;
    for (int i = 0; i < PACKED_BYTE_BLOCK; i++) {
        float code = v[i] / scale + TO_INTEGER;
        code -= TO_INTEGER;
        codes[i] = (int8_t)(int)code;
        v[i] -= code * scale;
    }
    for (int i = 0; lost && i < PACKED_BYTE_BLOCK; i++)
        lost[i] = v[i];
    return scale;
}

void cpu_quantise(struct device *dev, void *blobs, struct tensor x, struct tensor lost) {
    int64_t cols = x.dims[1], total = tensor_count(x);
    struct packed_places places = packed_places_of(PACKED_INT8, cols);
    const float *from = x.data;
    float *kept = lost.data;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t i = 0; i < total; i += PACKED_BYTE_BLOCK) {
        char *blob = (char *)blobs + (size_t)(i / cols) * places.total;
        int64_t at = i % cols;
        float *scales = (float *)(void *)(blob + places.scales);
        scales[at / PACKED_BYTE_BLOCK] =
            quantise_block((int8_t *)blob + at, from + i, kept ? kept + i : NULL);
    }
}
