/* attention_reference.h - attention and its gradient, plainly in f64: what tests/test_attention.c compares with. */
#pragma once

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/ops.h"
#include "tests/check.h"

/* The last key of a row.  ITSELF leaves last_key out, SAID says the same in it; BLOCKS: the end of its block of 48 rows of
 * its document; BEHIND: keys before the row alone, AHEAD: rows after it alone, where there are any; then some keys
 * are seen by nobody. */
enum sight { ITSELF, SAID, DOCUMENT, BLOCKS, BEHIND, AHEAD };

/* One problem: sizes and which keys a row may see. */
struct problem {
    int64_t num_rows;
    struct attention_args args;
    const int64_t *lengths; /* of the documents, 0 at the end (-1: an empty document); NULL: one document */
    int64_t window;         /* keys up to its own that a row may see at most; 0: no limit */
    enum sight sight;
};

/* The first and the last key of every row. */
struct seen {
    const double *first, *last;
};

static inline double dot(const double *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Offsets of the query, key and value of a row, for query head h. */
struct offsets {
    int64_t q, k, v;
};

static inline struct offsets offsets_of(const struct attention_args *a, int64_t row, int64_t h) {
    int64_t first = row * (a->num_heads + 2 * a->num_kv_heads), kv = h * a->num_kv_heads / a->num_heads;
    return (struct offsets){(first + h) * a->head_dim, (first + a->num_heads + kv) * a->head_dim,
                            (first + a->num_heads + a->num_kv_heads + kv) * a->head_dim};
}

/* reference_score - of row i and key j; *slope: its derivative with respect to scale q k. */
static inline double reference_score(const double *qkv, const struct attention_args *a, int64_t i, int64_t j,
                                     int64_t h, double *slope) {
    double s = (double)a->scale * dot(qkv + offsets_of(a, i, h).q, qkv + offsets_of(a, j, h).k, a->head_dim);
    double t = a->softcap > 0 ? tanh(s / (double)a->softcap) : 0;
    *slope = 1 - t * t;
    return a->softcap > 0 ? (double)a->softcap * t : s;
}

/* reference_row - probabilities of row i of head h over the keys that it sees; returns the log-sum-exp. */
static inline double reference_row(double *p, const double *qkv, const struct attention_args *a, int64_t i,
                                   int64_t h, struct seen seen) {
    int64_t start = (int64_t)seen.first[i], last = (int64_t)seen.last[i];
    double max = -INFINITY, sum = 0, slope;
    for (int64_t j = start; j <= last; j++) {
        p[j] = reference_score(qkv, a, i, j, h, &slope);
        max = fmax(max, p[j]);
    }
    for (int64_t j = start; j <= last; j++) {
        p[j] = exp(p[j] - max);
        sum += p[j];
    }
    for (int64_t j = start; j <= last; j++)
        p[j] /= sum;
    return max + log(sum);
}

static inline void reference_forward(double *out, double *lse, const double *qkv, struct seen seen,
                                     const struct problem *problem) {
    const struct attention_args *a = &problem->args;
    double *p = xcalloc((size_t)problem->num_rows, sizeof *p);
    for (int64_t i = 0; i < problem->num_rows; i++)
        for (int64_t h = 0; h < a->num_heads; h++) {
            double *row = out + (i * a->num_heads + h) * a->head_dim;
            lse[i * a->num_heads + h] = reference_row(p, qkv, a, i, h, seen);
            memset(row, 0, (size_t)a->head_dim * sizeof *row);
            for (int64_t j = (int64_t)seen.first[i]; j <= (int64_t)seen.last[i]; j++)
                for (int64_t d = 0; d < a->head_dim; d++)
                    row[d] += p[j] * qkv[offsets_of(a, j, h).v + d];
        }
    free(p);
}

/* reference_backward - from the output that the forward stored, as the op: rounded to bf16 it shifts delta.
 */
static inline void reference_backward(double *dqkv, const double *dout, const double *out, const double *qkv,
                                      struct seen seen, const struct problem *problem) {
    const struct attention_args *a = &problem->args;
    double *p = xcalloc((size_t)problem->num_rows, sizeof *p);
    for (int64_t i = 0; i < problem->num_rows; i++)
        for (int64_t h = 0; h < a->num_heads; h++) {
            const double *dout_row = dout + (i * a->num_heads + h) * a->head_dim;
            struct offsets own = offsets_of(a, i, h);
            double delta = dot(dout_row, out + (i * a->num_heads + h) * a->head_dim, a->head_dim);
            reference_row(p, qkv, a, i, h, seen);
            for (int64_t j = (int64_t)seen.first[i]; j <= (int64_t)seen.last[i]; j++) {
                struct offsets other = offsets_of(a, j, h);
                double dp = dot(dout_row, qkv + other.v, a->head_dim), slope;
                reference_score(qkv, a, i, j, h, &slope);
                double ds = (double)a->scale * p[j] * (dp - delta) * slope;
                for (int64_t d = 0; d < a->head_dim; d++) {
                    dqkv[own.q + d] += ds * qkv[other.k + d];
                    dqkv[other.k + d] += ds * qkv[own.q + d];
                    dqkv[other.v + d] += p[j] * dout_row[d];
                }
            }
        }
    free(p);
}
