/* fixed.cu - gradients as whole numbers of a unit, and their squares without rounding: what has the same bits in whatever order it is
 * added, so that neither blocks nor atomics of integers change any.
 *
 *                       bytes per element                            bound
 *   add                 read x 4, read and write sums 16             memory
 *   join                read others 8, read and write sums 16        memory
 *   read                read sums 8, write y 4                       memory
 *   squares             read x 4                                     shared memory
 *
 * Squares.  x^2 is m^2 2^(2 e), m a whole number of 24 bits: for each exponent that f32 has, its m^2 are added, in three parts of 16
 * bits each in a word of shared memory, which holds 65536 of them; then a thread adds its exponent's words to its own sums of 64
 * bits.  The host puts the exponents together (exact_sum.h). */
#include <math.h>

#include "kernels/cuda/vector.cuh"
#include "kernels/exact_sum.h"

enum {
    FIXED_THREADS = 256,
    FIXED_BLOCKS = 1024,  /* at most */
    SQUARES_BLOCKS = 264, /* at most: of these, sums go through scratch memory */
    EXPONENTS = 256,      /* one for each thread of a block */
    SQUARE_PARTS = 3,
    SQUARE_WORDS = EXPONENTS * SQUARE_PARTS,
    SQUARES_CHUNK = 65536, /* terms of less than 2^16 in a word */
    NOT_FINITE = 255,      /* exponent of infinity and NaN */
    FRACTION_BITS = 23,
    EXPONENT_OF_ONE_UNIT = 150 /* 127 + FRACTION_BITS: x = m 2^(exponent - this) */
};

DEV int64_t fixed_first() {
    return (int64_t)blockIdx.x * FIXED_THREADS + threadIdx.x;
}

DEV int64_t fixed_stride() {
    return (int64_t)gridDim.x * FIXED_THREADS;
}

/* largest_of_block - of its threads, by thread 0.  Shared memory: FIXED_THREADS words. */
DEV uint32_t largest_of_block(uint32_t shared, uint32_t own) {
    const uint32_t thread = threadIdx.x;
    shared_store4(shared + thread * 4, own);
    for (uint32_t half = FIXED_THREADS / 2; half; half /= 2) {
        block_barrier();
        if (thread < half) {
            uint32_t other = shared_load4(shared + (thread + half) * 4);
            own = other > own ? other : own;
            shared_store4(shared + thread * 4, own);
        }
    }
    return own;
}

/* The bits of |x|, without their sign, are in the order of its values; infinity and NaN are above all numbers. */
static __global__ void __launch_bounds__(FIXED_THREADS)
    fixed_add_kernel(uint32_t *largest, int64_t *sums, const float *x, int64_t count, double factor,
                     bool adds) {
    DYN_SHARED(memory);
    uint32_t own = 0;
    for (int64_t i = fixed_first(); i < count; i += fixed_stride()) {
        uint32_t size = float_bits(x[i]) & 0x7fffffffu;
        uint64_t units = size < 0x7f800000u ? (uint64_t)(int64_t)rint((double)x[i] * factor) : 0;
        own = size > own ? size : own;
        sums[i] = (int64_t)((adds ? (uint64_t)sums[i] : 0) + units);
    }
    own = largest_of_block(shared_address(memory), own);
    if (threadIdx.x == 0)
        largest[blockIdx.x] = own;
}

static __global__ void __launch_bounds__(FIXED_THREADS)
    fixed_join_kernel(int64_t *sums, const int64_t *others, int64_t count) {
    for (int64_t i = fixed_first(); i < count; i += fixed_stride())
        sums[i] = (int64_t)((uint64_t)sums[i] + (uint64_t)others[i]);
}

static __global__ void __launch_bounds__(FIXED_THREADS)
    fixed_read_kernel(float *y, const int64_t *sums, int64_t count, double unit) {
    for (int64_t i = fixed_first(); i < count; i += fixed_stride())
        y[i] = (float)((double)sums[i] * unit);
}

/* add_square - of one number, into the words of its exponent; of one that is not finite, that there is one. */
DEV void add_square(uint32_t *words, float x) {
    const uint32_t bits = float_bits(x) & 0x7fffffffu, exponent = bits >> FRACTION_BITS;
    const uint32_t m = (bits & ((1u << FRACTION_BITS) - 1)) | (exponent ? 1u << FRACTION_BITS : 0);
    const uint64_t square = (uint64_t)m * m;
    if (exponent == NOT_FINITE) {
        atomic_add(words + SQUARE_PARTS * NOT_FINITE, 1);
        return;
    }
    for (int part = 0; part < SQUARE_PARTS && m; part++)
        atomic_add(words + SQUARE_PARTS * exponent + part, (uint32_t)(square >> 16 * part) & 0xffffu);
}

/* Block b adds the chunks b, b + gridDim.x, ...  Shared memory: SQUARE_WORDS words. */
static __global__ void __launch_bounds__(FIXED_THREADS)
    exact_squares_kernel(uint64_t *sums, const float *x, int64_t count) {
    DYN_SHARED(memory);
    uint32_t *words = (uint32_t *)memory, *own = words + SQUARE_PARTS * threadIdx.x;
    uint64_t parts[SQUARE_PARTS] = {};
    for (int part = 0; part < SQUARE_PARTS; part++)
        own[part] = 0;
    for (int64_t first = (int64_t)blockIdx.x * SQUARES_CHUNK; first < count;
         first += (int64_t)gridDim.x * SQUARES_CHUNK) {
        block_barrier();
        for (int64_t i = first + threadIdx.x; i < first + SQUARES_CHUNK && i < count; i += FIXED_THREADS)
            add_square(words, x[i]);
        block_barrier();
        for (int part = 0; part < SQUARE_PARTS; part++) {
            parts[part] += own[part];
            own[part] = 0;
        }
    }
    for (int part = 0; part < SQUARE_PARTS; part++)
        sums[(int64_t)blockIdx.x * SQUARE_WORDS + SQUARE_PARTS * threadIdx.x + part] = parts[part];
}

/* Of the blocks' sums [num_blocks, SQUARE_WORDS] the first row becomes that of all. */
static __global__ void __launch_bounds__(FIXED_THREADS) exact_join_kernel(uint64_t *sums, int num_blocks) {
    const int64_t at = fixed_first();
    uint64_t sum = 0;
    for (int b = 0; b < num_blocks; b++)
        sum += sums[(int64_t)b * SQUARE_WORDS + at];
    sums[at] = sum;
}

static int fixed_blocks(int64_t count) {
    int64_t blocks = divide_up(count, FIXED_THREADS);
    return blocks < FIXED_BLOCKS ? (int)blocks : FIXED_BLOCKS;
}

extern "C" float cuda_fixed_add(struct device *dev, int64_t *sums, struct tensor x, int exponent,
                                enum op_write write) {
    const int64_t count = tensor_count(x);
    uint32_t *largest = (uint32_t *)cuda_scratch(dev, FIXED_BLOCKS * sizeof(uint32_t)), host[FIXED_BLOCKS];
    const int blocks = fixed_blocks(count);
    uint32_t all = 0;
    float value;
    if (count == 0)
        return 0;
    LAUNCH(fixed_add_kernel, dim3((unsigned)blocks), dim3(FIXED_THREADS), FIXED_THREADS * sizeof(uint32_t),
           cuda_stream(dev), largest, sums, (const float *)x.data, count, ldexp(1.0, -exponent),
           write == OP_ACCUMULATE);
    dev->ops->download(dev, host, largest, (size_t)blocks * sizeof(uint32_t));
    for (int b = 0; b < blocks; b++)
        all = host[b] > all ? host[b] : all;
    memcpy(&value, &all, sizeof value);
    return value;
}

extern "C" void cuda_fixed_join(struct device *dev, int64_t *sums, const int64_t *others, int64_t count) {
    if (count)
        LAUNCH(fixed_join_kernel, dim3((unsigned)fixed_blocks(count)), dim3(FIXED_THREADS), 0,
               cuda_stream(dev), sums, others, count);
}

extern "C" void cuda_fixed_read(struct device *dev, struct tensor y, const int64_t *sums, int exponent) {
    const int64_t count = tensor_count(y);
    if (count)
        LAUNCH(fixed_read_kernel, dim3((unsigned)fixed_blocks(count)), dim3(FIXED_THREADS), 0,
               cuda_stream(dev), (float *)y.data, sums, count, ldexp(1.0, exponent));
}

/* put_together - what was added of each exponent. */
static void put_together(struct exact_sum *sum, const uint64_t *parts) {
    for (int exponent = 0; exponent < NOT_FINITE; exponent++)
        for (int part = 0; part < SQUARE_PARTS;
             part++) { /* numbers below 2^-126 have the exponent 0, and the unit of 1 */
            int unit = 2 * ((exponent ? exponent : 1) - EXPONENT_OF_ONE_UNIT) + 16 * part;
            exact_sum_add(sum, ldexp((double)parts[SQUARE_PARTS * exponent + part], unit));
        }
    if (parts[SQUARE_PARTS * NOT_FINITE])
        exact_sum_add(sum, INFINITY);
}

extern "C" void cuda_exact_squares(struct device *dev, struct exact_sum *sum, struct tensor x) {
    const int64_t count = tensor_count(x), chunks = divide_up(count, SQUARES_CHUNK);
    const int blocks = chunks < SQUARES_BLOCKS ? (int)chunks : SQUARES_BLOCKS;
    uint64_t *sums = (uint64_t *)cuda_scratch(dev, SQUARES_BLOCKS * SQUARE_WORDS * sizeof(uint64_t)),
             host[SQUARE_WORDS];
    if (count == 0)
        return;
    LAUNCH(exact_squares_kernel, dim3((unsigned)blocks), dim3(FIXED_THREADS), SQUARE_WORDS * sizeof(uint32_t),
           cuda_stream(dev), sums, (const float *)x.data, count);
    LAUNCH(exact_join_kernel, dim3(SQUARE_PARTS), dim3(FIXED_THREADS), 0, cuda_stream(dev), sums, blocks);
    dev->ops->download(dev, host, sums, sizeof host);
    put_together(sum, host);
}

extern "C" size_t cuda_fixed_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    (void)dev, (void)limits;
    return SQUARES_BLOCKS * SQUARE_WORDS * sizeof(uint64_t);
}
