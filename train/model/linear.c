/* linear.c - a product with its bias and low-rank pairs.  A pair costs two products of its rank's width in each
 * direction, and x A^T once more in the backward where it is not kept; what a dropout leaves of x never is.
 * Rows of given lengths cost their norms in each direction (B A, a part at a time), and the outputs once more in the backward. */
#include "train/model/linear.h"

/* The places of a pair in the scratch memory, each with room for f32. */
struct pair_scratch {
    struct tensor down, back; /* [N, R] in x's type: x A^T, and its gradient */
    struct tensor
        dropped; /* [N, I] in x's type, of a pair with a dropout: what A reads, then the gradient of that */
};

static bool has_dropout(const struct low_rank *part) {
    return part->dropout.share > 0;
}

static int64_t pair_count(const struct low_rank *part, int64_t num_rows) {
    struct tensor a = part->a.value;
    return num_rows * (2 * a.dims[0] + (has_dropout(part) ? a.dims[1] : 0));
}

/* What rows of given lengths work in, after the largest pair's places. */
struct length_scratch {
    struct tensor norms; /* [num_rows] f32, of the part at hand */
    struct tensor delta; /* [chunk, I] f32: some rows of B A */
    struct tensor z, dz; /* [N, O]: the outputs before they are scaled, and their gradient */
};

/* Elements of B A that exist at one time. */
enum { DELTA_COUNT = 1 << 22 };

static bool has_lengths(const struct linear *linear) {
    return linear->num_parts > 0 && linear->parts[0].lengths.value.ndim > 0;
}

/* chunk_rows - of B A at one time. */
static int64_t chunk_rows(struct tensor w) {
    int64_t rows = DELTA_COUNT / w.dims[1] + 1;
    return rows < w.dims[0] ? rows : w.dims[0];
}

/* largest_pair - elements of the places of the part that needs most. */
static int64_t largest_pair(const struct linear *linear, int64_t num_rows) {
    int64_t most = 0;
    for (int i = 0; i < linear->num_parts; i++) {
        int64_t count = pair_count(&linear->parts[i], num_rows);
        most = count > most ? count : most;
    }
    return most;
}

size_t linear_scratch_bytes(const struct linear *linear, int64_t num_rows) {
    struct tensor w = linear->w.value;
    int64_t count = largest_pair(linear, num_rows);
    if (has_lengths(linear))
        count += w.dims[0] + chunk_rows(w) * w.dims[1] + 2 * num_rows * w.dims[0];
    return (size_t)count * sizeof(float);
}

static struct length_scratch length_scratch(const struct linear *linear, struct tensor y) {
    struct tensor w = linear->w.value;
    float *norms = (float *)linear->scratch + largest_pair(linear, y.dims[0]), *delta = norms + w.dims[0];
    float *z = delta + chunk_rows(w) * w.dims[1], *dz = z + y.dims[0] * w.dims[0];
    return (struct length_scratch){
        tensor_1d(norms, DTYPE_F32, w.dims[0]), tensor_2d(delta, DTYPE_F32, chunk_rows(w), w.dims[1]),
        tensor_2d(z, y.dtype, y.dims[0], w.dims[0]), tensor_2d(dz, y.dtype, y.dims[0], w.dims[0])};
}

/* magnitude_of - of a part, whose rows' norms are computed now: B A exists a few rows at a time. */
static struct magnitude magnitude_of(struct device *dev, const struct linear *linear,
                                     const struct low_rank *part, const struct length_scratch *at) {
    struct magnitude magnitude = {.lengths = part->lengths.value,
                                  .norms = tensor_rows(at->norms, 0, part->num_rows),
                                  .first = part->first_row};
    for (int64_t first = 0, count; first < part->num_rows; first += count) {
        count = part->num_rows - first < at->delta.dims[0] ? part->num_rows - first : at->delta.dims[0];
        struct tensor delta = tensor_rows(at->delta, 0, count);
        op_linear_backward_input(dev, delta, tensor_rows(part->b.value, first, count), part->a.value,
                                 OP_OVERWRITE);
        op_row_norms(dev, tensor_rows(magnitude.norms, first, count),
                     tensor_rows(linear->w.value, part->first_row + first, count), delta, part->scale);
    }
    return magnitude;
}

static struct pair_scratch pair_scratch(const struct linear *linear, const struct low_rank *part,
                                        struct tensor x) {
    int64_t n = x.dims[0], rank = part->a.value.dims[0];
    float *down = linear->scratch, *back = down + n * rank, *dropped = back + n * rank;
    CHECK(linear->scratch, "a low-rank pair of %lld rows without scratch memory", (long long)part->num_rows);
    return (struct pair_scratch){part->down.data ? part->down : tensor_2d(down, x.dtype, n, rank),
                                 tensor_2d(back, x.dtype, n, rank),
                                 has_dropout(part) ? tensor_2d(dropped, x.dtype, n, x.dims[1]) : x};
}

/* read_pair - x A^T of what the pair reads of x, which is then in `dropped`.  read_again - the same before the backward, which
 * finds the product where the forward left it. */
static void drop(struct device *dev, const struct pair_scratch *at, struct tensor x,
                 const struct low_rank *part) {
    if (has_dropout(part))
        op_dropout(dev, at->dropped, x, &part->dropout, OP_OVERWRITE);
}

static void read_pair(struct device *dev, const struct pair_scratch *at, struct tensor x,
                      const struct low_rank *part) {
    drop(dev, at, x, part);
    op_linear_forward(dev, at->down, at->dropped, part->a.value);
}

static void read_again(struct device *dev, const struct pair_scratch *at, struct tensor x,
                       const struct low_rank *part) {
    if (part->down.data)
        drop(dev, at, x, part);
    else
        read_pair(dev, at, x, part);
}

static void pair_forward(struct device *dev, struct tensor y, struct tensor x, const struct linear *linear,
                         const struct low_rank *part) {
    struct pair_scratch at = pair_scratch(linear, part, x);
    struct column_args columns = {.first = part->first_row, .scale = part->scale, .write = OP_ACCUMULATE};
    read_pair(dev, &at, x, part);
    op_linear_part_forward(dev, y, at.down, part->b.value, &columns);
}

static void bias_forward(struct device *dev, struct tensor y, const struct linear *linear) {
    const struct column_args all = {.first = 0, .scale = 1, .write = OP_ACCUMULATE};
    if (linear->bias.value.data)
        op_put_columns(dev, y, linear->bias.value, &all);
}

static void pairs_forward(struct device *dev, struct tensor y, struct tensor x, const struct linear *linear) {
    for (int i = 0; i < linear->num_parts; i++)
        pair_forward(dev, y, x, linear, &linear->parts[i]);
}

/* lengths_forward - a bias has no part in the lengths, and is added after them. */
static void lengths_forward(struct device *dev, struct tensor y, const struct linear *linear) {
    struct length_scratch at = length_scratch(linear, y);
    for (int i = 0; i < linear->num_parts; i++) {
        struct magnitude magnitude = magnitude_of(dev, linear, &linear->parts[i], &at);
        op_magnitude_forward(dev, y, &magnitude);
    }
}

/* fp8_forward_args - W's magnitude is found here, and x's where who wrote it did not. */
static struct fp8_args fp8_forward_args(const struct linear *linear) {
    struct fp8_args args = *linear->fp8;
    args.x = (struct fp8_magnitude){linear->x_word.at, linear->x_word.by_producer};
    args.w = (struct fp8_magnitude){linear->w_word.at, false};
    return args;
}

/* fp8_backward_args - the forward of this micro-batch left both.  Lengths make another gradient of the one that came. */
static struct fp8_args fp8_backward_args(const struct linear *linear) {
    struct fp8_args args = *linear->fp8;
    uint32_t *dy = has_lengths(linear) ? NULL : linear_word_of(&linear->dy_word);
    args.x = (struct fp8_magnitude){linear->x_word.at, linear->x_word.at};
    args.w = (struct fp8_magnitude){linear->w_word.at, linear->w_word.at};
    args.dy = (struct fp8_magnitude){dy, dy};
    return args;
}

/* matrix_forward - the product alone, with the matrix in memory or where its file has it. */
static void matrix_forward(struct device *dev, struct tensor y, struct tensor x,
                           const struct linear *linear) {
    const struct weight *w = &linear->w;
    if (w->stored.num_parts > 0) {
        op_linear_stored(dev, y, x, &w->stored);
    } else if (linear->fp8) {
        const struct fp8_args args = fp8_forward_args(linear);
        op_fp8_forward(dev, y, x, w->value, &args);
    } else {
        op_linear_forward(dev, y, x, w->value);
    }
}

void linear_forward(struct device *dev, struct tensor y, struct tensor x, const struct linear *linear) {
    matrix_forward(dev, y, x, linear);
    if (has_lengths(linear)) {
        pairs_forward(dev, y, x, linear);
        lengths_forward(dev, y, linear);
        bias_forward(dev, y, linear);
        return;
    }
    bias_forward(dev, y, linear);
    pairs_forward(dev, y, x, linear);
}

/* lengths_backward - the gradients of the lengths; returns that of the outputs before they were scaled, which are computed once
 * more: they are not kept. */
static struct tensor lengths_backward(struct device *dev, struct tensor dy, struct tensor x,
                                      const struct linear *linear) {
    struct length_scratch at = length_scratch(linear, dy);
    matrix_forward(dev, at.z, x, linear);
    pairs_forward(dev, at.z, x, linear);
    device_copy(dev, at.dz, dy);
    for (int i = 0; i < linear->num_parts; i++) {
        struct magnitude magnitude = magnitude_of(dev, linear, &linear->parts[i], &at);
        op_magnitude_backward(dev, linear->parts[i].lengths.grad, at.dz, at.z, &magnitude);
    }
    return at.dz;
}

static void expect_kept(const struct weight *w, struct tensor x) {
    CHECK(!w->grad.data || x.data, "a matrix of %lld rows learns, and what it read was not kept",
          (long long)w->grad.dims[0]);
}

static void weight_backward(struct device *dev, const struct weight *w, struct tensor dy, struct tensor x) {
    expect_kept(w, x);
    if (w->grad.data)
        op_linear_backward_weight(dev, w->grad, dy, x, w->write);
}

/* matrix_backward - of the product alone; in 8 bits both gradients are one operation, which casts dy once. */
static void matrix_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x,
                            const struct linear *linear, enum op_write write) {
    const struct weight *w = &linear->w;
    struct fp8_backward both = {dx, w->grad, write, w->write, dy, x, w->value};
    if (linear->fp8) {
        const struct fp8_args args = fp8_backward_args(linear);
        expect_kept(w, x);
        op_fp8_backward(dev, &both, &args);
        return;
    }
    weight_backward(dev, w, dy, x);
    op_linear_backward_input(dev, dx, dy, w->value, write);
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

/* pair_backward - both gradients and what the pair adds to dx, from its part of dy where that stands. */
static void pair_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x,
                          const struct linear *linear, const struct low_rank *part) {
    struct pair_scratch at = pair_scratch(linear, part, x);
    struct column_args columns = {.first = part->first_row, .scale = part->scale, .write = part->b.write};
    read_again(dev, &at, x, part);
    if (part->b.grad.data)
        op_linear_part_backward_weight(dev, part->b.grad, dy, at.down, &columns);
    op_linear_part_backward_input(dev, at.back, dy, part->b.value, &columns);
    weight_backward(dev, &part->a, at.back, at.dropped);
    read_backward(dev, dx, &at, part);
}

void linear_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x,
                     const struct linear *linear, enum op_write write) {
    if (linear->bias.grad.data)
        op_column_sums(dev, linear->bias.grad, dy);
    if (has_lengths(linear))
        dy = lengths_backward(dev, dy, x, linear);
    matrix_backward(dev, dx, dy, x, linear, write);
    for (int i = 0; i < linear->num_parts; i++)
        pair_backward(dev, dx, dy, x, linear, &linear->parts[i]);
}
