/* attention_data.h - the tensors of a problem of attention on a device, and the calls of the ops with them. */
#pragma once

#include "kernels/cpu/cpu.h"
#include "tests/attention_reference.h"
#include "tests/ops_data.h"

/* The tensors of one problem. */
struct attention_data {
    struct data qkv, first_key, last_key, out, lse, dout, dqkv;
    struct attention_mask mask;
    struct seen seen;
};

/* row_bounds - first and last row of the document of row i. */
static inline void row_bounds(const struct problem *p, int64_t i, int64_t *first, int64_t *last) {
    *first = 0;
    *last = p->num_rows - 1;
    for (const int64_t *length = p->lengths; length && *length; length++) {
        int64_t end = *first + (*length < 0 ? 0 : *length);
        if (i < end) {
            *last = end - 1;
            return;
        }
        *first = end;
    }
}

/* row_sees - the first and the last key that row i sees. */
static inline void row_sees(const struct problem *p, int64_t i, double *first, double *last) {
    enum { BLOCK_ROWS = 48, NEAR = 3, FAR = 90 };
    int64_t begin, end, seen;
    row_bounds(p, i, &begin, &end);
    seen = p->sight == DOCUMENT ? end
           : p->sight == BLOCKS ? begin + ((i - begin) / BLOCK_ROWS + 1) * BLOCK_ROWS - 1
                                : i;
    begin = p->window && i - p->window + 1 > begin ? i - p->window + 1 : begin;
    if (p->sight == BEHIND) {
        begin = i > FAR ? i - FAR : 0;
        seen = i > NEAR ? i - NEAR : 0;
    } else if (p->sight == AHEAD) {
        begin = i + NEAR < end ? i + NEAR : end;
        seen = i + FAR;
    }
    *first = (double)begin;
    *last = (double)(seen < end ? seen : end);
}

/* make_mask - the tensors of the mask, and the same for the reference. */
static inline void make_mask(struct device *dev, const struct problem *p, struct attention_data *d) {
    d->first_key = data_zero(dev, tensor_1d(NULL, DTYPE_I32, p->num_rows));
    d->last_key = data_zero(dev, d->first_key.t);
    for (int64_t i = 0; i < p->num_rows; i++)
        row_sees(p, i, &d->first_key.exact[i], &d->last_key.exact[i]);
    data_write(d->first_key);
    data_write(d->last_key);
    d->seen = (struct seen){d->first_key.exact, d->last_key.exact};
    d->mask = (struct attention_mask){.first_key = d->first_key.t};
    if (p->sight != ITSELF)
        d->mask.last_key = d->last_key.t;
}

static inline struct attention_data attention_make(struct setting s, const struct problem *p) {
    const struct attention_args *a = &p->args;
    int64_t num_heads = a->num_heads + 2 * a->num_kv_heads;
    struct attention_data d;
    d.qkv = data_random(s.dev, tensor_3d(NULL, s.dtype, p->num_rows, num_heads, a->head_dim), 1);
    make_mask(s.dev, p, &d);
    d.out = data_output(s.dev, tensor_3d(NULL, s.dtype, p->num_rows, a->num_heads, a->head_dim));
    d.lse = data_output(s.dev, tensor_2d(NULL, DTYPE_F32, p->num_rows, a->num_heads));
    d.dout = data_random(s.dev, d.out.t, 2);
    d.dqkv = data_output(s.dev, d.qkv.t);
    return d;
}

static inline void attention_free(struct attention_data d) {
    data_free(d.qkv), data_free(d.first_key), data_free(d.last_key), data_free(d.out);
    data_free(d.lse), data_free(d.dout), data_free(d.dqkv);
}

static inline void forward(struct setting s, const struct problem *p, struct attention_data d) {
    op_attention_forward(s.dev, d.out.t, d.lse.t, d.qkv.t, &d.mask, &p->args);
}

static inline void backward(struct setting s, const struct problem *p, struct attention_data d) {
    op_attention_backward(s.dev, d.dqkv.t, d.dout.t, d.out.t, d.lse.t, d.qkv.t, &d.mask, &p->args, NULL);
}

/* rounds_probabilities - a GPU multiplies probabilities and their gradients as 16-bit numbers, a processor that multiplies
 * pairs of bf16 as those. */
static inline bool rounds_probabilities(struct data d) {
    if (!d.dev->ops->host_memory)
        return d.t.dtype != DTYPE_F32;
    return d.t.dtype == DTYPE_BF16 && block_gemm_pairs();
}

/* gradient_tolerance - where probabilities are rounded, that adds their
 * rounding to the result's own: measured 1.5 times as much on average.  A single element can be off by more:
 * the first keys of a document have probabilities near 1, and half a unit of 2^-8 times a dout of 4 is 2.2
 * times its bound (computed in f64 with P alone rounded, too). */
static inline struct tolerance gradient_tolerance(struct data d, double f32_tolerance) {
    struct tolerance tolerance = tolerance_of(d, f32_tolerance);
    if (rounds_probabilities(d)) {
        tolerance.element *= 3;
        tolerance.mean *= 1.5;
    }
    return tolerance;
}

/* out_tolerance - there the rounding of the probabilities adds to that of the result, 1.4e-3 on average each in bf16. In
 * causal attention the first rows of a document, which see few keys, make up for it; rows that all see many do not. */
static inline struct tolerance out_tolerance(struct data d, const struct problem *p, double f32_tolerance) {
    struct tolerance tolerance = tolerance_of(d, f32_tolerance);
    if (rounds_probabilities(d) && p->sight != ITSELF)
        tolerance.mean *= 1.25;
    return tolerance;
}
