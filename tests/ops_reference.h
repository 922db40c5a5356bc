/* ops_reference.h - the ops of a layer but attention, plainly in f64: what tests/test_ops.c compares with.  That file
 * also holds these gradients against central differences. */
#pragma once

#include "tests/ops_data.h"

static const double EPS = 1e-5; /* of the norms */

static inline double *doubles(int64_t count) {
    return xcalloc((size_t)count, sizeof(double));
}

/* A norm over rows of a width, as struct norm. */
struct exact_norm {
    enum norm_kind kind;
    double offset;
    int64_t width;
    const double *w, *bias; /* bias NULL: none */
};

struct exact_stats {
    double rstd, mean;
};

static inline struct exact_stats norm_stats_of(const struct exact_norm *n, const double *x) {
    double mean = 0, sum = 0;
    for (int64_t c = 0; c < n->width && n->kind == NORM_LAYER; c++)
        mean += x[c] / (double)n->width;
    for (int64_t c = 0; c < n->width; c++)
        sum += (x[c] - mean) * (x[c] - mean);
    return (struct exact_stats){1 / sqrt(sum / (double)n->width + EPS), mean};
}

/* norm_row - y of one row; where the kind says so the normalised value is rounded to a type before the product with the
 * weight, as the op promises (f32: not at all, for the differences). */
static inline struct exact_stats norm_row(double *y, const double *x, const struct exact_norm *n,
                                          enum dtype rounded) {
    struct exact_stats stats = norm_stats_of(n, x);
    for (int64_t c = 0; c < n->width; c++) {
        double value = (x[c] - stats.mean) * stats.rstd;
        if (rounded != DTYPE_F32 && n->kind == NORM_RMS)
            value = round_to(rounded, value);
        y[c] = (n->w[c] + n->offset) * value + (n->bias ? n->bias[c] : 0);
    }
    return stats;
}

/* norm_loss - sum of dy * y for one row with element c of x moved. */
static inline double norm_loss(const struct exact_norm *n, const double *x, const double *dy, int64_t c,
                               double move) {
    double *moved = doubles(n->width), *y = doubles(n->width), loss = 0;
    memcpy(moved, x, (size_t)n->width * sizeof(double));
    moved[c] += move;
    norm_row(y, moved, n, DTYPE_F32);
    for (int64_t i = 0; i < n->width; i++)
        loss += dy[i] * y[i];
    free(moved), free(y);
    return loss;
}

/* norm_gradient - of sum(dy * y) for one row: into dx, which holds something already, and onto dw. */
static inline struct exact_stats norm_gradient(double *dx, double *dw, const double *dy, const double *x,
                                               const struct exact_norm *n) {
    struct exact_stats stats = norm_stats_of(n, x);
    double mean_g = 0, mean_gn = 0;
    for (int64_t c = 0; c < n->width; c++) {
        double g = dy[c] * (n->w[c] + n->offset);
        mean_g += n->kind == NORM_LAYER ? g / (double)n->width : 0;
        mean_gn += g * (x[c] - stats.mean) * stats.rstd / (double)n->width;
    }
    for (int64_t c = 0; c < n->width; c++) {
        double normalised = (x[c] - stats.mean) * stats.rstd;
        dx[c] += stats.rstd * (dy[c] * (n->w[c] + n->offset) - mean_g - normalised * mean_gn);
        dw[c] += dy[c] * normalised;
    }
    return stats;
}

/* product - c += a b in f64, a [m, k] and b [k, n] given by strides. */
static inline void product(double *c, const double *a, const int64_t a_strides[2], const double *b,
                           const int64_t b_strides[2], const int64_t sizes[3]) {
    for (int64_t i = 0; i < sizes[0]; i++)
        for (int64_t p = 0; p < sizes[2]; p++) {
            double factor = a[i * a_strides[0] + p * a_strides[1]];
            for (int64_t j = 0; j < sizes[1]; j++)
                c[i * sizes[1] + j] += factor * b[p * b_strides[0] + j * b_strides[1]];
        }
}

enum { ROPE_HEADS = 5, ROPE_ROTATED = 3, ROPE_POSITIONS = 40 };

/* rotate_exact - what `layout` makes of the first heads of every row, in f64. */
static inline void rotate_exact(double *qkv, struct data like, const struct data tables[2],
                                struct data positions, enum rope_layout layout) {
    int64_t rows = like.t.dims[0], width = like.t.dims[2], half = tables[0].t.dims[1];
    for (int64_t i = 0; i < rows * ROPE_ROTATED * half; i++) {
        int64_t row = i / (ROPE_ROTATED * half), head = i / half % ROPE_ROTATED, pair = i % half;
        double *at = qkv + (row * ROPE_HEADS + head) * width;
        double *first = at + (layout == ROPE_HALVES ? pair : 2 * pair);
        double *second = layout == ROPE_HALVES ? first + half : first + 1;
        int64_t angle = (int64_t)positions.exact[row] * half + pair;
        double a = *first, b = *second, c = tables[0].exact[angle], s = tables[1].exact[angle];
        *first = a * c - b * s;
        *second = b * c + a * s;
    }
}

static inline double gated(enum gate gate, double x, double up) {
    if (gate == GATE_SILU)
        return x / (1 + exp(-x)) * up;
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))) * up;
}

/* log_sum_exp - of a row in f64, with one element moved. */
static inline double log_sum_exp(const double *row, int64_t count, int64_t moved, double move) {
    double sum = 0, max = -INFINITY;
    for (int64_t v = 0; v < count; v++)
        max = fmax(max, row[v]);
    for (int64_t v = 0; v < count; v++)
        sum += exp(row[v] + (v == moved ? move : 0) - max);
    return max + log(sum);
}

/* loss_gradient - of log_sum_exp - row[target]: softmax - onehot. */
static inline void loss_gradient(double *gradient, const double *row, int64_t count, int64_t target,
                                 double factor) {
    double total = log_sum_exp(row, count, -1, 0);
    for (int64_t v = 0; v < count; v++)
        gradient[v] = factor * (exp(row[v] - total) - (v == target ? 1 : 0));
}
