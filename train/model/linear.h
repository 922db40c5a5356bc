/* linear.h - the one seam through which every matrix product of the model goes.  What hangs on a product (a gradient
 * that is not wanted, a bias, low-rank pairs) is here alone. */
#pragma once

#include "train/model/params.h"

/* A pair whose product is added to a matrix: rows [first_row, first_row + num_rows) of W become W + scale B A, which is
 * never made.  A fused matrix has a pair for each of its parts.  With a dropout the pair reads what that leaves of x, each pair
 * by a mask of its own. */
struct low_rank {
    struct weight a, b; /* [R, I], [num_rows, R] */
    float scale;
    int64_t first_row, num_rows;
    struct dropout_args dropout; /* share 0: none */
    struct tensor
        down; /* [N, R] of x's type: x A^T, which the forward leaves for the backward; data NULL: it is computed again */
    /* [num_rows] of DoRA: the length of each of these rows of W + scale B A, whatever it would be; value.data NULL: as it is. */
    struct weight lengths;
};

enum { LINEAR_MAX_PARTS = 3 }; /* queries, keys and values */

/* Words of the device's memory for the largest magnitudes of what a product in 8 bits reads (struct fp8_magnitude), from its forward to its
 * backward: there x and W are known.  NULL: the product finds its own.  by_producer: whoever writes x, or dy, leaves its magnitude there
 * each time; without that x's is found by the forward, and dy's is not kept. */
struct linear_word {
    uint32_t *at;
    bool by_producer;
};

/* linear_word_of - where a producer leaves the magnitude of what it writes; NULL: nowhere. */
static inline uint32_t *linear_word_of(const struct linear_word *word) {
    return word->by_producer ? word->at : NULL;
}

/* One product: y = x W^T + bias, with the pairs.  A weight whose grad.data is NULL is frozen, or no backward is under
 * way. */
struct linear {
    struct weight w;    /* [O, I] */
    struct weight bias; /* [O]; value.data NULL: none */
    struct low_rank parts[LINEAR_MAX_PARTS];
    int num_parts;
    /* W's products are in 8 bits, and what they read and write in bf16; NULL: in the type of what they read. */
    const struct fp8_args *fp8;
    struct linear_word x_word, w_word, dy_word;
    void *scratch; /* linear_scratch_bytes of the device, where there are parts */
};

/* linear_scratch_bytes - what N rows need; 0 without parts. */
size_t linear_scratch_bytes(const struct linear *linear, int64_t num_rows);

/* linear_forward - y [N, O] from x [N, I]. */
void linear_forward(struct device *dev, struct tensor y, struct tensor x, const struct linear *linear);

/* linear_backward - from dy [N, O] the gradients of the weights that want one, matrices as their `write` says, the bias
 * added; and dx [N, I], overwritten or added to.  x is what the forward read; x.data NULL: it was not kept, and dies where
 * some weight learns from it. */
void linear_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x,
                     const struct linear *linear, enum op_write write);
