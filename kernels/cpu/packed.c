/* packed.c - codes and scales into values on the CPU: one pass, a chunk of whole blocks at a time. */
#include "kernels/cpu/cpu.h"
#include "kernels/half.h"

enum { CHUNK = 2048 }; /* whole blocks of every form */

/* One block: where its codes are, and its scale. */
struct block {
    const uint8_t *codes;
    float scale;
};

/* block_at - of value i, through all blobs.  The steps of a nested scale are rounded one by one. */
static struct block block_at(const struct packed *x, const struct packed_places *places, int64_t i) {
    const uint8_t *blob = (const uint8_t *)x->blobs + (size_t)(i / x->blob_count) * places->total;
    int64_t at = i % x->blob_count, index = at / packed_block(x->kind);
    struct block block = {blob + packed_codes_bytes(x->kind, at), 0};
    if (x->kind != PACKED_NF4_DOUBLE) {
        block.scale = ((const float *)(const void *)(blob + places->scales))[index];
        return block;
    }
    const float *nested = (const float *)(const void *)(blob + places->nested);
    float scale = x->nested_map[blob[places->scales + (size_t)index]] * nested[index / PACKED_NESTED_BLOCK];
    block.scale = scale + x->nested_offset;
    return block;
}

static void nf4_values(float *y, struct block block, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        y[i] = packed_nf4_map[i % 2 ? block.codes[i / 2] & 15 : block.codes[i / 2] >> 4] * block.scale;
}

static void fp8_values(float *y, struct block block, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        y[i] = f32_from_e4m3(block.codes[i]) * block.scale;
}

static void int8_values(float *y, struct block block, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        y[i] = (float)(int8_t)block.codes[i] * block.scale;
}

void cpu_dequantise(struct device *dev, struct tensor y, const struct packed *x) {
    static void (*const values_of[PACKED_KINDS])(float *, struct block,
                                                 int64_t) = {[PACKED_NF4] = nf4_values,
                                                             [PACKED_NF4_DOUBLE] = nf4_values,
                                                             [PACKED_FP8] = fp8_values,
                                                             [PACKED_INT8] = int8_values};
    int64_t total = tensor_count(y), size = packed_block(x->kind);
    struct packed_places places = packed_places_of(x->kind, x->blob_count);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (total > CHUNK)
    for (int64_t first = 0; first < total; first += CHUNK) {
        float buffer[CHUNK];
        int64_t count = total - first < CHUNK ? total - first : CHUNK;
        float *target = row_target(y, first, buffer);
        for (int64_t i = 0; i < count; i += size)
            values_of[x->kind](target + i, block_at(x, &places, x->first + first + i),
                               count - i < size ? count - i : size);
        row_commit(y, first, count, target);
    }
}
