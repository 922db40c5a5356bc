/* fp8.c - products in 8 bits on the CPU, the definition of what a GPU computes: operands become what 8 bits leave of them, in bf16,
 * where every such value has a place (fp8.h), and the products of linear.c follow.  Each term of a sum is then the GPU's.  Casts with a
 * scale for each block are in fp8_blocks.c. */
#include "kernels/cpu/cpu.h"

enum { CHUNK = 4096 };

/* magnitude_bits - of a tensor, as those of an f32: known, or found now and kept where it is wanted. */
static uint32_t magnitude_bits(struct device *dev, struct tensor t, struct fp8_magnitude magnitude) {
    uint32_t largest = magnitude.is_known ? *magnitude.at : cpu_largest(dev, t);
    if (magnitude.at)
        *magnitude.at = largest;
    return largest << 16;
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

/* A tensor to be cast: where to, to what, its largest magnitude, and which blocks it has if it has some. */
struct cast {
    void *to;
    enum fp8_format format;
    enum fp8_grain grain;
    struct fp8_magnitude magnitude;
};

/* cast_whole - what 8 bits leave of a tensor with one scale. */
static struct tensor cast_whole(struct device *dev, struct tensor t, const struct cast *cast,
                                enum fp8_scaling scaling) {
    enum fp8_format format = cast->format;
    void *to = cast->to;
    float scale = scaling == FP8_UNSCALED ? 1 : fp8_scale(magnitude_bits(dev, t, cast->magnitude), format);
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

static struct tensor fp8_cast(struct device *dev, struct tensor t, struct cast cast,
                              const struct fp8_args *args) {
    if (args->scaling == FP8_BLOCKS)
        return cpu_fp8_cast_blocks(dev, cast.to, t, cast.format, cast.grain);
    return cast_whole(dev, t, &cast, args->scaling);
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
    const struct cast of_x = {room, FP8_E4M3, FP8_ALONG_ROWS, args->x},
                      of_w = {room + tensor_count(x), FP8_E4M3, FP8_SQUARES, args->w};
    struct tensor x8 = fp8_cast(dev, x, of_x, args);
    cpu_linear_forward(dev, y, x8, fp8_cast(dev, w, of_w, args));
}

void cpu_fp8_backward(struct device *dev, const struct fp8_backward *at, const struct fp8_args *args) {
    int64_t dy_count = tensor_count(at->dy), w_count = tensor_count(at->w),
            x_count = at->dw.data ? tensor_count(at->x) : 0;
    uint16_t *room = room_for(dev, dy_count + (w_count > x_count ? w_count : x_count));
    struct cast of_dy = {room, args->gradients, FP8_ALONG_ROWS, args->dy};
    const struct cast of_w = {room + dy_count, FP8_E4M3, FP8_SQUARES, args->w},
                      of_x = {room + dy_count, FP8_E4M3, FP8_ALONG_COLUMNS, args->x};
    struct tensor dy8 = fp8_cast(dev, at->dy, of_dy, args);
    cpu_linear_backward_input(dev, at->dx, dy8, fp8_cast(dev, at->w, of_w, args), at->dx_write);
    if (!at->dw.data)
        return;
    of_dy.grain = FP8_ALONG_COLUMNS;
    if (args->scaling == FP8_BLOCKS) /* the sum of this product runs over the rows */
        dy8 = fp8_cast(dev, at->dy, of_dy, args);
    cpu_linear_backward_weight(dev, at->dw, dy8, fp8_cast(dev, at->x, of_x, args), at->dw_write);
}
