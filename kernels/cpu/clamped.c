/* clamped.c - the gated activation whose gate and up are held within limits, and its gradient, on the CPU: one pass over memory each.
 * Gate and up alternate in a row. */
#include "kernels/cpu/cpu.h"

/* at_most, at_least - a NaN is neither above nor below: it stays. */
static inline __attribute__((always_inline)) float at_most(float x, float limit) {
    return select_f32(x > limit, limit, x);
}

static inline __attribute__((always_inline)) float at_least(float x, float limit) {
    return select_f32(x < limit, limit, x);
}

CPU_CLONES_FUSED
static void forward_row(float *restrict y, const float *restrict gate_up, int64_t width,
                        const struct clamp_args *args) {
    float alpha = args->alpha, limit = args->limit;
#pragma omp simd
    for (int64_t f = 0; f < width; f++) {
        float g = at_most(gate_up[2 * f], limit), u = at_least(at_most(gate_up[2 * f + 1], limit), -limit);
        y[f] = (u + 1.0f) * (g / (1.0f + exp_f32(-alpha * g)));
    }
}

/* Far below zero the slope of g sigmoid(alpha g) is 0 already; an infinite g times that would be no number. */
static const float FAR_BELOW = -1e4f;

/* With s = sigmoid(alpha g): the slope of g s is s (1 + alpha g (1 - s)).  Each pair is read before it is written. */
CPU_CLONES_FUSED
static void backward_row(float *dgate_up, const float *restrict dy, const float *gate_up, int64_t width,
                         const struct clamp_args *args) {
    float alpha = args->alpha, limit = args->limit;
#pragma omp simd
    for (int64_t f = 0; f < width; f++) {
        float gate = gate_up[2 * f], up = gate_up[2 * f + 1], d = dy[f];
        float g = at_most(gate, limit), u = at_least(at_most(up, limit), -limit);
        float s = 1.0f / (1.0f + exp_f32(-alpha * g)), near = at_least(g, FAR_BELOW);
        float slope = s * (1.0f + alpha * near * (1.0f - s));
        dgate_up[2 * f] = select_f32(gate > limit, 0.0f, d * (u + 1.0f) * slope);
        dgate_up[2 * f + 1] = select_f32((up > limit) | (up < -limit), 0.0f, d * (g * s));
    }
}

void cpu_clamped_glu_forward(struct device *dev, struct tensor y, struct tensor gate_up,
                             const struct clamp_args *args) {
    int64_t width = y.dims[1];
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * 3 * width) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (y.dims[0] > 1)
    for (int64_t i = 0; i < y.dims[0]; i++) {
        float *buffers = scratch + cpu_thread() * 3 * width;
        float *y_row = row_target(y, i * width, buffers + 2 * width);
        forward_row(y_row, row_open(gate_up, i * 2 * width, 2 * width, buffers), width, args);
        row_commit(y, i * width, width, y_row);
    }
}

void cpu_clamped_glu_backward(struct device *dev, struct tensor dgate_up, struct tensor dy,
                              struct tensor gate_up, const struct clamp_args *args) {
    int64_t width = dy.dims[1];
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * 5 * width) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (dy.dims[0] > 1)
    for (int64_t i = 0; i < dy.dims[0]; i++) {
        float *buffers = scratch + cpu_thread() * 5 * width;
        const float *from = row_open(gate_up, i * 2 * width, 2 * width, buffers);
        const float *dy_row = row_open(dy, i * width, width, buffers + 2 * width);
        float *to = row_target(dgate_up, i * 2 * width, buffers + 3 * width);
        backward_row(to, dy_row, from, width, args);
        row_commit(dgate_up, i * 2 * width, 2 * width, to);
    }
}
