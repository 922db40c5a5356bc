/* rows.c - what the ops of the CPU device work with: scratch memory, and rows of f32, bf16 or f16 as f32. */
#include <omp.h>
#include <stdlib.h>

#include "kernels/cpu/cpu.h"

/* One cache line, and one AVX-512 vector. */
enum { SCRATCH_ALIGNMENT_BYTES = 64 };

void *cpu_scratch(struct device *dev, size_t size_bytes) {
    struct cpu_state *state = dev->state;
    if (size_bytes > state->scratch_bytes) {
        size_t rounded = (size_bytes + SCRATCH_ALIGNMENT_BYTES - 1) / SCRATCH_ALIGNMENT_BYTES;
        free(state->scratch); /* not realloc: the old contents are of no use to anybody */
        state->scratch_bytes = rounded * SCRATCH_ALIGNMENT_BYTES;
        state->scratch = aligned_alloc(SCRATCH_ALIGNMENT_BYTES, state->scratch_bytes);
        CHECK(state->scratch, "out of memory: %zu bytes of scratch asked for", state->scratch_bytes);
    }
    return state->scratch;
}

int64_t cpu_thread(void) {
    return omp_get_thread_num();
}

/* bf16 is converted by vectors; f16 only passes through op_cast, when files are read or written, and stays
 * scalar. */
CPU_CLONES
static void f32_from_bf16_row(float *restrict out, const uint16_t *restrict in, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        out[i] = f32_from_bf16(in[i]);
}

CPU_CLONES
static void bf16_from_f32_row(uint16_t *restrict out, const float *restrict in, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        out[i] = bf16_from_f32(in[i]);
}

float *row_open(struct tensor t, int64_t first, int64_t count, float *buffer) {
    if (t.dtype == DTYPE_F32)
        return (float *)t.data + first;
    const uint16_t *half = (const uint16_t *)t.data + first;
    if (t.dtype == DTYPE_BF16)
        f32_from_bf16_row(buffer, half, count);
    else
        for (int64_t i = 0; i < count; i++)
            buffer[i] = f32_from_f16(half[i]);
    return buffer;
}

float *row_target(struct tensor t, int64_t first, float *buffer) {
    return t.dtype == DTYPE_F32 ? (float *)t.data + first : buffer;
}

CPU_CLONES
void row_scale(float *restrict y, const float *restrict x, int64_t count, float scale) {
    for (int64_t i = 0; i < count; i++)
        y[i] = scale * x[i];
}

CPU_CLONES
void row_add(float *restrict y, const float *restrict x, int64_t count, float scale) {
    for (int64_t i = 0; i < count; i++)
        y[i] += scale * x[i];
}

void row_commit(struct tensor t, int64_t first, int64_t count, const float *values) {
    uint16_t *half = (uint16_t *)t.data + first;
    if (t.dtype == DTYPE_BF16)
        bf16_from_f32_row(half, values, count);
    else if (t.dtype == DTYPE_F16)
        for (int64_t i = 0; i < count; i++)
            half[i] = f16_from_f32(values[i]);
}
