/* update.c - the optimizer's arithmetic on the CPU: AdamW and the sum of squares for clipping. */
#include <math.h>

#include "kernels/adamw.h"
#include "kernels/cpu/cpu.h"
#include "kernels/philox.h"
#include "kernels/rng.h"

/* Elements per task.  Fixed: the sum of squares adds block by block, in order. */
enum { UPDATE_BLOCK = 16384 };

/* Elements that are rounded at random at once: their buffers live on the stack and in the cache. */
enum { ROUND_CHUNK = 1024, PHILOX_WORDS = 4 };

struct adamw_tensors {
    struct tensor w, m, v, dw;
};

/* adamw_block - seven streams of memory, which is the limit: the arithmetic hides behind them, provided that
 * sqrtf vectorises, which takes -fno-math-errno (four times slower without). */
CPU_CLONES
static void adamw_block(float *restrict w, float *restrict m, float *restrict v, const float *restrict dw,
                        int64_t count, const struct adamw_factors *factors) {
    struct adamw_factors f = *factors;
    for (int64_t i = 0; i < count; i++) {
        float g = f.grad_scale * dw[i];
        float mean = f.beta1 * m[i] + (1.0f - f.beta1) * g;
        float square = f.beta2 * v[i] + (1.0f - f.beta2) * g * g;
        m[i] = mean;
        v[i] = square;
        w[i] = w[i] * f.keep - f.step_size * mean / (sqrtf(square) * f.inv_root + f.eps);
    }
}

/* draw_bits - the random bits of elements [first, first + count) of a tensor: word i % 4 of block i / 4. */
CPU_CLONES
static void draw_bits(uint32_t *restrict bits, uint64_t seed, uint64_t stream, int64_t first, int64_t count) {
    int64_t skipped = first % PHILOX_WORDS;
    for (int64_t block = 0; block * PHILOX_WORDS < skipped + count; block++) {
        struct philox p = philox_block(seed, stream, (uint64_t)(first / PHILOX_WORDS + block));
        for (int64_t word = 0; word < PHILOX_WORDS; word++)
            bits[block * PHILOX_WORDS + word] = p.words[word];
    }
}

/* round_row - f32 to bf16 at random, by 16 bits of each word from `shift` on. */
CPU_CLONES
static void round_row(uint16_t *restrict out, const float *restrict in, const uint32_t *restrict bits,
                      int shift, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        out[i] = bf16_at_random(bits_from_f32(in[i]), bits[i] >> shift);
}

/* adamw_rounded - elements [first, first + count) with moments of bf16: m takes the low half of an element's
 * random word, v the high half. */
static void adamw_rounded(const struct adamw_tensors *t, int64_t first, int64_t count,
                          const struct adamw_factors *factors, const struct adamw_args *args) {
    float m_row[ROUND_CHUNK], v_row[ROUND_CHUNK];
    uint32_t bits[ROUND_CHUNK + 2 * PHILOX_WORDS];
    for (int64_t end = first + count; first < end; first += ROUND_CHUNK) {
        int64_t part = end - first < ROUND_CHUNK ? end - first : ROUND_CHUNK, place = args->first + first;
        row_open(t->m, first, part, m_row);
        row_open(t->v, first, part, v_row);
        adamw_block((float *)t->w.data + first, m_row, v_row, (const float *)t->dw.data + first, part,
                    factors);
        draw_bits(bits, args->seed, args->stream, place, part);
        const uint32_t *own = bits + place % PHILOX_WORDS;
        round_row((uint16_t *)t->m.data + first, m_row, own, 0, part);
        round_row((uint16_t *)t->v.data + first, v_row, own, 16, part);
    }
}

void cpu_adamw(struct device *dev, struct tensor w, struct tensor m, struct tensor v, struct tensor copy,
               struct tensor dw, const struct adamw_args *args) {
    struct adamw_factors factors = adamw_factors_of(args);
    struct adamw_tensors tensors = {w, m, v, dw};
    int64_t total = w.dims[0];
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t first = 0; first < total; first += UPDATE_BLOCK) {
        int64_t count = total - first < UPDATE_BLOCK ? total - first : UPDATE_BLOCK;
        if (m.dtype == DTYPE_F32)
            adamw_block((float *)w.data + first, (float *)m.data + first, (float *)v.data + first,
                        (const float *)dw.data + first, count, &factors);
        else
            adamw_rounded(&tensors, first, count, &factors, args);
        if (copy.data) /* while the block is in the cache */
            row_commit(copy, first, count, (const float *)w.data + first);
    }
}

/* block_sum_squares - f64 lanes added at the end: the order depends on the vector width, not on threads. */
CPU_CLONES
static double block_sum_squares(const float *x, int64_t count) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

double cpu_sum_squares(struct device *dev, struct tensor x) {
    int64_t total = tensor_count(x), num_blocks = (total + UPDATE_BLOCK - 1) / UPDATE_BLOCK;
    size_t sums_bytes = (size_t)num_blocks * sizeof(double);
    size_t buffers_bytes = (size_t)dev->num_threads * UPDATE_BLOCK * sizeof(float);
    /* One sum per block, then a row buffer per thread for 16-bit input. */
    double *sums = cpu_scratch(dev, sums_bytes + buffers_bytes);
    float *buffers = (float *)(sums + num_blocks);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t block = 0; block < num_blocks; block++) {
        int64_t first = block * UPDATE_BLOCK;
        int64_t count = total - first < UPDATE_BLOCK ? total - first : UPDATE_BLOCK;
        const float *values = row_open(x, first, count, buffers + cpu_thread() * UPDATE_BLOCK);
        sums[block] = block_sum_squares(values, count);
    }
    double sum = 0;
    for (int64_t block = 0; block < num_blocks; block++)
        sum += sums[block];
    return sum;
}
