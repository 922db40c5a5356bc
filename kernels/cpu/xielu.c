/* xielu.c - the activation xIELU and its gradients on the CPU: one pass over memory each.  The sums of the two learnt values
 * are taken in a fixed number of blocks, added in order: their bits do not depend on the threads. */
#include <math.h>

#include "kernels/cpu/cpu.h"

/* Elements worked on at once, and blocks of such chunks: enough to occupy 32 threads. */
enum { CHUNK = 2048, SUM_BLOCKS = 32 };

/* The four values as the formula takes them. */
struct constants {
    float positive, negative; /* softplus(alpha_p), beta + softplus(alpha_n) */
    float beta, eps;
};

/* value_of - the one value of a tensor. */
static float value_of(struct tensor t) {
    float buffer;
    return *row_open(t, 0, 1, &buffer);
}

/* softplus - log(1 + e^a), of any size. */
static float softplus(float a) {
    return (a < 0 ? 0 : a) + log1pf(expf(-fabsf(a)));
}

static struct constants constants_of(const struct xielu *xielu) {
    float beta = value_of(xielu->beta);
    return (struct constants){softplus(value_of(xielu->alpha_p)), beta + softplus(value_of(xielu->alpha_n)),
                              beta, value_of(xielu->eps)};
}

/* excess_f32 - e^x - 1 - x for x <= 0, relative error below 3e-7 near zero, where the difference would cancel: there it is
 * x^2 q(x) with the polynomial of exp_f32. */
static inline __attribute__((always_inline)) float excess_f32(float x) {
    float q = 1.3814560e-3f;
    q = q * x + 8.3687356e-3f;
    q = q * x + 4.1668390e-2f;
    q = q * x + 1.66665205e-1f;
    q = q * x + 4.9999993e-1f;
    return select_f32(x > -0.34f, x * x * q, (exp_f32(x) - 1.0f) - x);
}

/* A NaN is neither above zero nor above eps: it stays. */
CPU_CLONES_FUSED
static void forward_row(float *y, const float *x, int64_t count, const struct constants *c) {
    float positive = c->positive, negative = c->negative, beta = c->beta, eps = c->eps;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float v = x[i], least = select_f32(v > eps, eps, v);
        float below = negative * (excess_f32(least) + (least - v));
        y[i] = select_f32(v > 0, positive * v * v, below) + beta * v;
    }
}

/* What the gradients of the two learnt values are made of: sums of dy x^2 above zero, and of dy (e^min(x, eps) - 1 - x)
 * below. */
struct sums {
    double above, below;
};

CPU_CLONES_FUSED
static struct sums backward_row(float *dx, const float *dy, const float *x, int64_t count,
                                const struct constants *c) {
    float positive = c->positive, negative = c->negative, beta = c->beta, eps = c->eps;
    float above = 0, below = 0;
#pragma omp simd reduction(+ : above, below)
    for (int64_t i = 0; i < count; i++) {
        float v = x[i], d = dy[i], least = select_f32(v > eps, eps, v), excess = excess_f32(least);
        float slope = negative * select_f32(v >= eps, -1.0f, excess + least);
        above += select_f32(v > 0, d * v * v, 0);
        below += select_f32(v > 0, 0, d * (excess + (least - v)));
        dx[i] = d * (select_f32(v > 0, 2.0f * positive * v, slope) + beta);
    }
    return (struct sums){(double)above, (double)below};
}

void cpu_xielu_forward(struct device *dev, struct tensor y, struct tensor x, const struct xielu *xielu) {
    int64_t total = tensor_count(y);
    const struct constants constants = constants_of(xielu);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (total > CHUNK)
    for (int64_t first = 0; first < total; first += CHUNK) {
        float buffers[2][CHUNK];
        int64_t count = total - first < CHUNK ? total - first : CHUNK;
        float *y_row = row_target(y, first, buffers[1]);
        forward_row(y_row, row_open(x, first, count, buffers[0]), count, &constants);
        row_commit(y, first, count, y_row);
    }
}

/* backward_chunk - dx of one chunk, and its part of the sums. */
static struct sums backward_chunk(struct tensor dx, struct tensor dy, struct tensor x, int64_t first,
                                  const struct constants *constants) {
    float buffers[3][CHUNK];
    int64_t left = tensor_count(dx) - first, count = left < CHUNK ? left : CHUNK;
    const float *x_row = row_open(x, first, count, buffers[0]);
    const float *dy_row = row_open(dy, first, count, buffers[1]);
    float *dx_row = row_target(dx, first, buffers[2]);
    struct sums sums = backward_row(dx_row, dy_row, x_row, count, constants);
    row_commit(dx, first, count, dx_row);
    return sums;
}

/* add_gradient - dalpha += sum softplus'(alpha), which is the logistic function. */
static void add_gradient(struct tensor dalpha, double sum, struct tensor alpha) {
    if (dalpha.data)
        *(float *)dalpha.data += (float)(sum / (1 + exp(-(double)value_of(alpha))));
}

void cpu_xielu_backward(struct device *dev, struct tensor dx, struct xielu_grad d, struct tensor dy,
                        struct tensor x, const struct xielu *xielu) {
    int64_t num_chunks = (tensor_count(dx) + CHUNK - 1) / CHUNK;
    const struct constants constants = constants_of(xielu);
    struct sums blocks[SUM_BLOCKS], all = {0, 0};
#pragma omp parallel for num_threads(dev->num_threads) schedule(static) if (num_chunks > 1)
    for (int block = 0; block < SUM_BLOCKS; block++) {
        blocks[block] = (struct sums){0, 0};
        for (int64_t chunk = block * num_chunks / SUM_BLOCKS; chunk < (block + 1) * num_chunks / SUM_BLOCKS;
             chunk++) {
            struct sums part = backward_chunk(dx, dy, x, chunk * CHUNK, &constants);
            blocks[block].above += part.above;
            blocks[block].below += part.below;
        }
    }
    for (int block = 0; block < SUM_BLOCKS; block++) {
        all.above += blocks[block].above;
        all.below += blocks[block].below;
    }
    add_gradient(d.alpha_p, all.above, xielu->alpha_p);
    add_gradient(d.alpha_n, all.below, xielu->alpha_n);
}
