/* fp8.c - products in 8 bits on the CPU, the definition of what a GPU computes: operands become what 8 bits leave of them, in bf16,
 * where every such value has a place (fp8.h), and the products of linear.c follow.  Each term of a sum is then the GPU's. */
#include "kernels/cpu/cpu.h"

enum { CHUNK = 4096 };

/* largest_of - the bits of the largest magnitude: without their signs the bits of bf16 are in the order of magnitudes, and a NaN's are
 * above infinity's.  largest_bits - of a whole tensor, as those of an f32. */
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

static uint32_t largest_bits(struct device *dev, struct tensor t) {
    const uint16_t *values = t.data;
    int64_t total = tensor_count(t);
    uint16_t largest = 0;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) reduction(max : largest)
    for (int64_t first = 0; first < total; first += CHUNK) {
        uint16_t own = largest_of(values + first, total - first < CHUNK ? total - first : CHUNK);
        largest = own > largest ? own : largest;
    }
    return (uint32_t)largest << 16;
}

/* cast_e4m3, cast_e5m2 - a loop for each format, which is a constant there.  A NaN of a scale reaches every value. */
CPU_CLONES
static void cast_e4m3(uint16_t *restrict to, const uint16_t *restrict from, int64_t count, float scale) {
    const float back = 1 / scale;
    for (int64_t i = 0; i < count; i++)
        to[i] = bf16_from_f32(fp8_round(f32_from_bf16(from[i]) * scale, FP8_E4M3) * back);
}

CPU_CLONES
static void cast_e5m2(uint16_t *restrict to, const uint16_t *restrict from, int64_t count, float scale) {
    const float back = 1 / scale;
    for (int64_t i = 0; i < count; i++)
        to[i] = bf16_from_f32(fp8_round(f32_from_bf16(from[i]) * scale, FP8_E5M2) * back);
}

/* fp8_cast - what 8 bits leave of a tensor, in memory of `to`. */
static struct tensor fp8_cast(struct device *dev, void *to, struct tensor t, enum fp8_format format,
                              enum fp8_scaling scaling) {
    float scale = scaling == FP8_UNSCALED ? 1 : fp8_scale(largest_bits(dev, t), format);
    const uint16_t *values = t.data;
    int64_t total = tensor_count(t);
    t.data = to;
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t first = 0; first < total; first += CHUNK) {
        int64_t count = total - first < CHUNK ? total - first : CHUNK;
        if (format == FP8_E4M3)
            cast_e4m3((uint16_t *)to + first, values + first, count, scale);
        else
            cast_e5m2((uint16_t *)to + first, values + first, count, scale);
    }
    return t;
}

/* room_for - memory for casts of so many values: not the scratch, which the products need. */
static uint16_t *room_for(struct device *dev, int64_t count) {
    struct cpu_state *state = dev->state;
    if (count > state->casts_count) {
        state->casts = xrealloc(state->casts, (size_t)count * sizeof *state->casts);
        state->casts_count = count;
    }
    return state->casts;
}

void cpu_fp8_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                     const struct fp8_args *args) {
    uint16_t *room = room_for(dev, tensor_count(x) + tensor_count(w));
    struct tensor x8 = fp8_cast(dev, room, x, FP8_E4M3, args->scaling);
    cpu_linear_forward(dev, y, x8, fp8_cast(dev, room + tensor_count(x), w, FP8_E4M3, args->scaling));
}

void cpu_fp8_backward(struct device *dev, const struct fp8_backward *at, const struct fp8_args *args) {
    int64_t dy_count = tensor_count(at->dy), w_count = tensor_count(at->w),
            x_count = at->dw.data ? tensor_count(at->x) : 0;
    uint16_t *room = room_for(dev, dy_count + (w_count > x_count ? w_count : x_count));
    struct tensor dy8 = fp8_cast(dev, room, at->dy, args->gradients, args->scaling);
    cpu_linear_backward_input(dev, at->dx, dy8,
                              fp8_cast(dev, room + dy_count, at->w, FP8_E4M3, args->scaling), at->dx_write);
    if (at->dw.data)
        cpu_linear_backward_weight(
            dev, at->dw, dy8, fp8_cast(dev, room + dy_count, at->x, FP8_E4M3, args->scaling), at->dw_write);
}
