/* dropout.c - elements that are left out on the CPU: the words of a row are drawn into a buffer, then compared. */
#include "kernels/dropout.h"

#include "kernels/cpu/cpu.h"

enum { PHILOX_WORDS = 4 };

/* draw_row - one word for each column, rounded up to whole blocks. */
CPU_CLONES
static void draw_row(uint32_t *restrict words, const struct dropout_args *args, int32_t place,
                     int64_t num_blocks) {
    for (int64_t block = 0; block < num_blocks; block++) {
        struct philox p = dropout_block(args->seed, args->stream, place, block);
        for (int word = 0; word < PHILOX_WORDS; word++)
            words[block * PHILOX_WORDS + word] = p.words[word];
    }
}

/* drop_row, add_dropped_row - y = what stays of x, or += that.  y may be x. */
CPU_CLONES
static void drop_row(float *y, const float *x, const uint32_t *restrict words, int64_t count,
                     struct dropout_factors f) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] = words[i] < f.below ? 0.0f : f.scale * x[i];
}

CPU_CLONES
static void add_dropped_row(float *y, const float *x, const uint32_t *restrict words, int64_t count,
                            struct dropout_factors f) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] += words[i] < f.below ? 0.0f : f.scale * x[i];
}

void cpu_dropout(struct device *dev, struct tensor y, struct tensor x, const struct dropout_args *args,
                 enum op_write write) {
    struct dropout_factors factors = dropout_factors_of(args->share);
    int64_t width = x.dims[1], num_blocks = (width + PHILOX_WORDS - 1) / PHILOX_WORDS;
    int64_t room = 2 * width + num_blocks * PHILOX_WORDS;
    const int32_t *places = args->places.data;
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * room) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (x.dims[0] > 1)
    for (int64_t i = 0; i < x.dims[0]; i++) {
        float *buffers = scratch + cpu_thread() * room;
        uint32_t *words = (uint32_t *)(void *)(buffers + 2 * width);
        const float *from = row_open(x, i * width, width, buffers);
        bool adds = write == OP_ACCUMULATE;
        float *to =
            adds ? row_open(y, i * width, width, buffers + width) : row_target(y, i * width, buffers + width);
        draw_row(words, args, places[i], num_blocks);
        (adds ? add_dropped_row : drop_row)(to, from, words, width, factors);
        row_commit(y, i * width, width, to);
    }
}
