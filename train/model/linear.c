/* linear.c - a product with its bias and low-rank pairs.  A pair costs two products of its rank's width in each
 * direction, and x A^T once more in the backward: it is not kept, and neither is what a dropout leaves of x. */
#include "train/model/linear.h"

/* The places of a pair in the scratch memory, each with room for f32. */
struct pair_scratch {
    struct tensor rows;       /* [N, num_rows] in y's type */
    struct tensor down, back; /* [N, R] in x's type: x A^T, and its gradient */
    struct tensor
        dropped; /* [N, I] in x's type, of a pair with a dropout: what A reads, then the gradient of that */
};

static bool has_dropout(const struct low_rank *part) {
    return part->dropout.share > 0;
}

static int64_t pair_count(const struct low_rank *part, int64_t num_rows) {
    struct tensor a = part->a.value;
    return num_rows * (part->num_rows + 2 * a.dims[0] + (has_dropout(part) ? a.dims[1] : 0));
}

size_t linear_scratch_bytes(const struct linear *linear, int64_t num_rows) {
    int64_t most = 0;
    for (int i = 0; i < linear->num_parts; i++) {
        int64_t count = pair_count(&linear->parts[i], num_rows);
        most = count > most ? count : most;
    }
    return (size_t)most * sizeof(float);
}

static struct pair_scratch pair_scratch(const struct linear *linear, const struct low_rank *part,
                                        struct tensor y, struct tensor x) {
    int64_t n = x.dims[0], rank = part->a.value.dims[0];
    float *rows = linear->scratch, *down = rows + n * part->num_rows, *back = down + n * rank,
          *dropped = back + n * rank;
    CHECK(linear->scratch, "a low-rank pair of %lld rows without scratch memory", (long long)part->num_rows);
    return (struct pair_scratch){tensor_2d(rows, y.dtype, n, part->num_rows),
                                 tensor_2d(down, x.dtype, n, rank), tensor_2d(back, x.dtype, n, rank),
                                 has_dropout(part) ? tensor_2d(dropped, x.dtype, n, x.dims[1]) : x};
}

/* read_pair - x A^T of what the pair reads of x, which is then in `dropped`. */
static void read_pair(struct device *dev, const struct pair_scratch *at, struct tensor x,
                      const struct low_rank *part) {
    if (has_dropout(part))
        op_dropout(dev, at->dropped, x, &part->dropout, OP_OVERWRITE);
    op_linear_forward(dev, at->down, at->dropped, part->a.value);
}

static void pair_forward(struct device *dev, struct tensor y, struct tensor x, const struct linear *linear,
                         const struct low_rank *part) {
    struct pair_scratch at = pair_scratch(linear, part, y, x);
    struct column_args columns = {.first = part->first_row, .scale = part->scale, .write = OP_ACCUMULATE};
    read_pair(dev, &at, x, part);
    op_linear_forward(dev, at.rows, at.down, part->b.value);
    op_put_columns(dev, y, at.rows, &columns);
}

void linear_forward(struct device *dev, struct tensor y, struct tensor x, const struct linear *linear) {
    const struct column_args all = {.first = 0, .scale = 1, .write = OP_ACCUMULATE};
    op_linear_forward(dev, y, x, linear->w.value);
    if (linear->bias.value.data)
        op_put_columns(dev, y, linear->bias.value, &all);
    for (int i = 0; i < linear->num_parts; i++)
        pair_forward(dev, y, x, linear, &linear->parts[i]);
}

static void weight_backward(struct device *dev, const struct weight *w, struct tensor dy, struct tensor x) {
    if (w->grad.data)
        op_linear_backward_weight(dev, w->grad, dy, x, w->write);
}

/* read_backward - what the pair adds to dx, from the gradient of what A computed.  Where x is read through a mask, the same
 * mask is on its gradient. */
static void read_backward(struct device *dev, struct tensor dx, const struct pair_scratch *at,
                          const struct low_rank *part) {
    if (!has_dropout(part)) {
        op_linear_backward_input(dev, dx, at->back, part->a.value, OP_ACCUMULATE);
        return;
    }
    op_linear_backward_input(dev, at->dropped, at->back, part->a.value, OP_OVERWRITE);
    op_dropout(dev, dx, at->dropped, &part->dropout, OP_ACCUMULATE);
}

/* pair_backward - with the scaled part of dy in `rows`, both gradients and what the pair adds to dx. */
static void pair_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x,
                          const struct linear *linear, const struct low_rank *part) {
    struct pair_scratch at = pair_scratch(linear, part, dy, x);
    struct column_args columns = {.first = part->first_row, .scale = part->scale};
    op_take_columns(dev, at.rows, dy, &columns);
    read_pair(dev, &at, x, part);
    weight_backward(dev, &part->b, at.rows, at.down);
    op_linear_backward_input(dev, at.back, at.rows, part->b.value, OP_OVERWRITE);
    weight_backward(dev, &part->a, at.back, at.dropped);
    read_backward(dev, dx, &at, part);
}

void linear_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x,
                     const struct linear *linear, enum op_write write) {
    weight_backward(dev, &linear->w, dy, x);
    op_linear_backward_input(dev, dx, dy, linear->w.value, write);
    if (linear->bias.grad.data)
        op_column_sums(dev, linear->bias.grad, dy);
    for (int i = 0; i < linear->num_parts; i++)
        pair_backward(dev, dx, dy, x, linear, &linear->parts[i]);
}
