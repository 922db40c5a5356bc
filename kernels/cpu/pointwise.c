/* pointwise.c - rotary positions, gated activations, sums and casts on the CPU: one pass over memory each.
 * Ops that may write over their input say "omp simd": element i depends on element i alone, which the
 * compiler cannot know when two pointers may be the same. */
#include <string.h>

#include "kernels/cpu/cpu.h"

/* Elements that a thread works on at once in ops without rows; buffers of this size live on the stack. */
enum { CHUNK = 2048 };

/* The heads of one row that turn. */
struct turning {
    float *heads;                   /* [num_heads, width] */
    int64_t num_heads, width, half; /* pairs of a head */
    const float *cos, *sin;         /* [half], of the row's position */
    float sign;                     /* -1: the inverse rotation */
};

/* rotate_halves - (a, b) -> (a cos - b sin, b cos + a sin) for the pairs (i, i + half) of each head.  rotate_pairs - the
 * same for the pairs (2i, 2i + 1). */
CPU_CLONES
static void rotate_halves(const struct turning *turning) {
    const float *restrict cos = turning->cos, *restrict sin = turning->sin;
    int64_t half = turning->half;
    float sign = turning->sign;
    for (int64_t h = 0; h < turning->num_heads; h++) {
        float *low = turning->heads + h * turning->width, *high = low + half;
#pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            float a = low[i], b = high[i], s = sign * sin[i];
            low[i] = a * cos[i] - b * s;
            high[i] = b * cos[i] + a * s;
        }
    }
}

CPU_CLONES
static void rotate_pairs(const struct turning *turning) {
    const float *restrict cos = turning->cos, *restrict sin = turning->sin;
    int64_t half = turning->half;
    float sign = turning->sign;
    for (int64_t h = 0; h < turning->num_heads; h++) {
        float *head = turning->heads + h * turning->width;
#pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            float a = head[2 * i], b = head[2 * i + 1], s = sign * sin[i];
            head[2 * i] = a * cos[i] - b * s;
            head[2 * i + 1] = b * cos[i] + a * s;
        }
    }
}

void rotate_row(struct tensor qkv, int64_t row, const struct rotation *rotation, float sign, float *buffer) {
    int64_t half = rotation->cos.dims[1], first = row * qkv.dims[1] * qkv.dims[2];
    int64_t count = rotation->num_rotated * qkv.dims[2];
    int64_t angles = ((const int32_t *)rotation->positions.data)[row] * half;
    const struct turning turning = {.heads = row_open(qkv, first, count, buffer),
                                    .num_heads = rotation->num_rotated,
                                    .width = qkv.dims[2],
                                    .half = half,
                                    .cos = (const float *)rotation->cos.data + angles,
                                    .sin = (const float *)rotation->sin.data + angles,
                                    .sign = sign};
    (rotation->layout == ROPE_HALVES ? rotate_halves : rotate_pairs)(&turning);
    row_commit(qkv, first, count, turning.heads);
}

void cpu_rope_forward(struct device *dev, struct tensor qkv, const struct rotation *rotation) {
    int64_t rotated_count = rotation->num_rotated * qkv.dims[2];
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * rotated_count) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (qkv.dims[0] > 1)
    for (int64_t i = 0; i < qkv.dims[0]; i++)
        rotate_row(qkv, i, rotation, 1.0f, scratch + cpu_thread() * rotated_count);
}

/* silu_row - silu(g) = g / (1 + e^-g): for g far below zero e^-g is infinite and the result -0, as it should.
 */
CPU_CLONES_FUSED
static void silu_row(float *restrict y, const float *restrict gate, const float *restrict up, int64_t width) {
    for (int64_t f = 0; f < width; f++)
        y[f] = gate[f] / (1.0f + exp_f32(-gate[f])) * up[f];
}

/* The tanh formula of gelu, g (1 + tanh(z)) / 2 with z = sqrt(2 / pi) (g + 0.044715 g^3), is g sigmoid(2 z):
 * one exponential, and no cancellation where tanh nears -1. */
static const float TWO_ROOT = 1.59576912f; /* 2 sqrt(2 / pi) */
static const float CUBIC = 0.044715f;

CPU_CLONES_FUSED
static void gelu_row(float *restrict y, const float *restrict gate, const float *restrict up, int64_t width) {
    for (int64_t f = 0; f < width; f++) {
        float g = gate[f], twice_z = TWO_ROOT * (g + CUBIC * g * g * g);
        y[f] = g / (1.0f + exp_f32(-twice_z)) * up[f];
    }
}

void cpu_glu_forward(struct device *dev, struct tensor y, struct tensor gate_up, enum gate gate,
                     uint32_t *largest) {
    int64_t width = y.dims[1];
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * 3 * width) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (y.dims[0] > 1)
    for (int64_t i = 0; i < y.dims[0]; i++) {
        float *buffers = scratch + cpu_thread() * 3 * width;
        const float *gate_row = row_open(gate_up, i * 2 * width, 2 * width, buffers);
        float *y_row = row_target(y, i * width, buffers + 2 * width);
        (gate == GATE_SILU ? silu_row : gelu_row)(y_row, gate_row, gate_row + width, width);
        row_commit(y, i * width, width, y_row);
    }
    cpu_put_largest(dev, largest, y);
}

/* A gate as the slopes take it, no farther from zero than where they are 0 or 1 already: the square of one beyond
 * 4e19 is infinite, and that times 1 - s, which is 0, no number.  NaN stays. */
static inline float slope_gate(float g) {
    return select_f32(g > 128.0f, 128.0f, select_f32(g < -128.0f, -128.0f, g));
}

/* With s = sigmoid(g): silu'(g) = s (1 + g (1 - s)). */
CPU_CLONES_FUSED
static void silu_backward_row(float *dgate, float *dup, const float *restrict dy, const float *gate,
                              const float *up, int64_t width) {
#pragma omp simd
    for (int64_t f = 0; f < width; f++) {
        float g = gate[f], u = up[f], d = dy[f], near = slope_gate(g);
        float s = 1.0f / (1.0f + exp_f32(-g));
        dgate[f] = d * u * (s * (1.0f + near * (1.0f - s)));
        dup[f] = d * (g * s);
    }
}

/* With s = sigmoid(2 z): gelu'(g) = s (1 + g (1 - s) 2 z'). */
CPU_CLONES_FUSED
static void gelu_backward_row(float *dgate, float *dup, const float *restrict dy, const float *gate,
                              const float *up, int64_t width) {
#pragma omp simd
    for (int64_t f = 0; f < width; f++) {
        float g = gate[f], u = up[f], d = dy[f], near = slope_gate(g);
        float s = 1.0f / (1.0f + exp_f32(-TWO_ROOT * (g + CUBIC * g * g * g)));
        float slope = TWO_ROOT * (1.0f + 3.0f * CUBIC * near * near);
        dgate[f] = d * u * (s * (1.0f + near * (1.0f - s) * slope));
        dup[f] = d * (g * s);
    }
}

void cpu_glu_backward(struct device *dev, struct tensor dgate_up, struct tensor dy, struct tensor gate_up,
                      enum gate gate, uint32_t *largest) {
    int64_t width = dy.dims[1];
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * 5 * width) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (dy.dims[0] > 1)
    for (int64_t i = 0; i < dy.dims[0]; i++) {
        float *buffers = scratch + cpu_thread() * 5 * width;
        const float *gate_row = row_open(gate_up, i * 2 * width, 2 * width, buffers);
        const float *dy_row = row_open(dy, i * width, width, buffers + 2 * width);
        float *dgate = row_target(dgate_up, i * 2 * width, buffers + 3 * width);
        (gate == GATE_SILU ? silu_backward_row : gelu_backward_row)(dgate, dgate + width, dy_row, gate_row,
                                                                    gate_row + width, width);
        row_commit(dgate_up, i * 2 * width, 2 * width, dgate);
    }
    cpu_put_largest(dev, largest, dgate_up);
}

/* The activations without a gate, and their slopes times dy: a row of the tables below for each. */
typedef void act_row_fn(float *y, const float *x, int64_t count);
typedef void act_backward_row_fn(float *dx, const float *dy, const float *x, int64_t count);

/* A NaN is not below zero: it stays. */
CPU_CLONES
static void relu2_row(float *y, const float *x, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float positive = select_f32(x[i] < 0, 0, x[i]);
        y[i] = positive * positive;
    }
}

CPU_CLONES
static void relu2_backward_row(float *dx, const float *dy, const float *x, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        dx[i] = dy[i] * 2 * select_f32(x[i] < 0, 0, x[i]);
}

static act_row_fn *const act_rows[] = {[ACT_RELU2] = relu2_row};
static act_backward_row_fn *const act_backward_rows[] = {[ACT_RELU2] = relu2_backward_row};

void cpu_act_forward(struct device *dev, struct tensor y, struct tensor x, enum act act) {
    int64_t total = tensor_count(y);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (total > CHUNK)
    for (int64_t first = 0; first < total; first += CHUNK) {
        float buffers[2][CHUNK];
        int64_t count = total - first < CHUNK ? total - first : CHUNK;
        float *y_row = row_target(y, first, buffers[1]);
        act_rows[act](y_row, row_open(x, first, count, buffers[0]), count);
        row_commit(y, first, count, y_row);
    }
}

void cpu_act_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x, enum act act) {
    int64_t total = tensor_count(dx);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (total > CHUNK)
    for (int64_t first = 0; first < total; first += CHUNK) {
        float buffers[3][CHUNK];
        int64_t count = total - first < CHUNK ? total - first : CHUNK;
        const float *x_row = row_open(x, first, count, buffers[0]);
        const float *dy_row = row_open(dy, first, count, buffers[1]);
        float *dx_row = row_target(dx, first, buffers[2]);
        act_backward_rows[act](dx_row, dy_row, x_row, count);
        row_commit(dx, first, count, dx_row);
    }
}

CPU_CLONES
static void add_row(float *y, const float *a, const float *b, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] = a[i] + b[i];
}

/* Chunks and not rows: any shape will do, and a chunk of three buffers stays in the first cache. */
void cpu_add(struct device *dev, struct tensor y, struct tensor a, struct tensor b) {
    int64_t total = tensor_count(y);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (total > CHUNK)
    for (int64_t first = 0; first < total; first += CHUNK) {
        float buffers[3][CHUNK];
        int64_t count = total - first < CHUNK ? total - first : CHUNK;
        const float *a_row = row_open(a, first, count, buffers[0]);
        const float *b_row = row_open(b, first, count, buffers[1]);
        float *y_row = row_target(y, first, buffers[2]);
        add_row(y_row, a_row, b_row, count);
        row_commit(y, first, count, y_row);
    }
}

CPU_CLONES
static void axpby_row(float *y, const float *x, float a, float b, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] = a * x[i] + b * y[i];
}

void cpu_axpby(struct device *dev, struct tensor y, struct tensor x, float a, float b) {
    int64_t total = tensor_count(y);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (total > CHUNK)
    for (int64_t first = 0; first < total; first += CHUNK) {
        float buffers[2][CHUNK];
        int64_t count = total - first < CHUNK ? total - first : CHUNK;
        const float *x_row = row_open(x, first, count, buffers[0]);
        float *y_row = b == 0 ? row_target(y, first, buffers[1]) : row_open(y, first, count, buffers[1]);
        if (b == 0) /* what y holds may be no number */
            memset(y_row, 0, (size_t)count * sizeof(float));
        axpby_row(y_row, x_row, a, b, count);
        row_commit(y, first, count, y_row);
    }
}

void cpu_cast(struct device *dev, struct tensor y, struct tensor x) {
    int64_t total = tensor_count(y);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (total > CHUNK)
    for (int64_t first = 0; first < total; first += CHUNK) {
        float buffer[CHUNK];
        int64_t count = total - first < CHUNK ? total - first : CHUNK;
        float *target = row_target(y, first, buffer);
        const float *values = row_open(x, first, count, target); /* 16 bits to f32: already in place */
        if (y.dtype == DTYPE_F32 && values != target)
            memcpy(target, values, (size_t)count * sizeof(float));
        row_commit(y, first, count, values);
    }
}
