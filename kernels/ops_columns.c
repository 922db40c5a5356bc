/* ops_columns.c - the front door of what works on columns of a matrix, or row by row on its outputs.  See ops.c. */
#include "kernels/ops_check.h"

/* expect_part - as many columns of the wide matrix. */
static void expect_part(const char *op, struct tensor wide, int64_t num_columns,
                        const struct column_args *args) {
    CHECK(args->first >= 0 && args->first <= wide.dims[1] - num_columns,
          "%s: columns %lld to %lld of a matrix that has %lld", op, (long long)args->first,
          (long long)(args->first + num_columns - 1), (long long)wide.dims[1]);
}

void op_take_columns(struct device *dev, struct tensor y, struct tensor x, const struct column_args *args) {
    const char *op = "take_columns";
    op_expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "y", y, (struct expected){op_type_of(x), 2, {x.dims[0], ANY}});
    expect_part(op, x, y.dims[1], args);
    struct op_call call = op_call_begin(dev, OP_COLUMNS, op, 0);
    if (x.dims[0])
        dev->ops->take_columns(dev, y, x, args);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

/* A row of one dimension goes to every row of y: a bias. */
void op_put_columns(struct device *dev, struct tensor y, struct tensor x, const struct column_args *args) {
    const char *op = "put_columns";
    op_expect(op, "y", y, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    if (x.ndim == 1)
        op_expect(op, "x", x, (struct expected){op_type_of(y), 1, {ANY}});
    else
        op_expect(op, "x", x, (struct expected){op_type_of(y), 2, {y.dims[0], ANY}});
    expect_part(op, y, x.dims[x.ndim - 1], args);
    struct op_call call = op_call_begin(dev, OP_COLUMNS, op, 0);
    if (y.dims[0])
        dev->ops->put_columns(dev, y, x, args);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_linear_part_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                            const struct column_args *args) {
    const char *op = "linear_part_forward";
    op_expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "w", w, (struct expected){op_type_of(x), 2, {ANY, x.dims[1]}});
    op_expect(op, "y", y, (struct expected){op_type_of(x), 2, {x.dims[0], ANY}});
    expect_part(op, y, w.dims[0], args);
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, product_flops(x.dims[0], w));
    if (x.dims[0])
        dev->ops->linear_part_forward(dev, y, x, w, args);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_linear_part_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                                   const struct column_args *args) {
    const char *op = "linear_part_backward_input";
    op_expect(op, "w", w, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "dy", dy, (struct expected){op_type_of(w), 2, {ANY, ANY}});
    op_expect(op, "dx", dx, (struct expected){op_type_of(w), 2, {dy.dims[0], w.dims[1]}});
    expect_part(op, dy, w.dims[0], args);
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, product_flops(dy.dims[0], w));
    if (dy.dims[0])
        dev->ops->linear_part_backward_input(dev, dx, dy, w, args);
    op_call_end(call);
    op_scan(dev, op, "dx", dx);
}

void op_linear_part_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                                    const struct column_args *args) {
    const char *op = "linear_part_backward_weight";
    op_expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "dy", dy, (struct expected){op_type_of(x), 2, {x.dims[0], ANY}});
    op_expect(op, "dw", dw, (struct expected){F32, 2, {ANY, x.dims[1]}});
    expect_part(op, dy, dw.dims[0], args);
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, product_flops(x.dims[0], dw));
    if (x.dims[0])
        dev->ops->linear_part_backward_weight(dev, dw, dy, x, args);
    else if (args->write == OP_OVERWRITE)
        device_zero(dev, dw);
    op_call_end(call);
    op_scan(dev, op, "dw", dw);
}

void op_column_sums(struct device *dev, struct tensor dw, struct tensor dy) {
    const char *op = "column_sums";
    op_expect(op, "dy", dy, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "dw", dw, (struct expected){F32, 1, {dy.dims[1]}});
    struct op_call call = op_call_begin(dev, OP_COLUMNS, op, 0);
    if (dy.dims[0])
        dev->ops->column_sums(dev, dw, dy);
    op_call_end(call);
    op_scan(dev, op, "dw", dw);
}

void op_dropout(struct device *dev, struct tensor y, struct tensor x, const struct dropout_args *args,
                enum op_write write) {
    const char *op = "dropout";
    op_expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "y", y, (struct expected){op_type_of(x), 2, {x.dims[0], x.dims[1]}});
    op_expect(op, "places", args->places, (struct expected){I32, 1, {x.dims[0]}});
    op_expect_ids(dev, op, "places", args->places, INT32_MAX);
    CHECK(args->share >= 0 && args->share < 1, "%s: a share of %g", op, args->share);
    CHECK(write == OP_OVERWRITE || y.data != x.data, "%s: adds to its input", op);
    struct op_call call = op_call_begin(dev, OP_COLUMNS, op, 0);
    if (x.dims[0])
        dev->ops->dropout(dev, y, x, args, write);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_row_norms(struct device *dev, struct tensor norms, struct tensor w, struct tensor delta,
                  float scale) {
    const char *op = "row_norms";
    op_expect(op, "w", w, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "norms", norms, (struct expected){F32, 1, {w.dims[0]}});
    op_expect(op, "delta", delta, (struct expected){F32, 2, {w.dims[0], w.dims[1]}});
    struct op_call call = op_call_begin(dev, OP_COLUMNS, op, 0);
    if (w.dims[0])
        dev->ops->row_norms(dev, norms, w, delta, scale);
    op_call_end(call);
    op_scan(dev, op, "norms", norms);
}

/* expect_magnitude - beside outputs y. */
static void expect_magnitude(const char *op, struct tensor y, const struct magnitude *magnitude) {
    op_expect(op, "y", y, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "lengths", magnitude->lengths, (struct expected){op_type_of(y), 1, {ANY}});
    op_expect(op, "norms", magnitude->norms, (struct expected){F32, 1, {magnitude->lengths.dims[0]}});
    CHECK(magnitude->first >= 0 && magnitude->first + magnitude->norms.dims[0] <= y.dims[1],
          "%s: columns from %lld on of a matrix that has %lld", op, (long long)magnitude->first,
          (long long)y.dims[1]);
}

void op_magnitude_forward(struct device *dev, struct tensor y, const struct magnitude *magnitude) {
    const char *op = "magnitude_forward";
    expect_magnitude(op, y, magnitude);
    struct op_call call = op_call_begin(dev, OP_COLUMNS, op, 0);
    if (y.dims[0])
        dev->ops->magnitude_forward(dev, y, magnitude);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_magnitude_backward(struct device *dev, struct tensor dlengths, struct tensor dy, struct tensor z,
                           const struct magnitude *magnitude) {
    const char *op = "magnitude_backward";
    expect_magnitude(op, dy, magnitude);
    op_expect(op, "z", z, (struct expected){op_type_of(dy), 2, {dy.dims[0], dy.dims[1]}});
    if (dlengths.data)
        op_expect(op, "dlengths", dlengths, (struct expected){F32, 1, {magnitude->norms.dims[0]}});
    struct op_call call = op_call_begin(dev, OP_COLUMNS, op, 0);
    if (dy.dims[0])
        dev->ops->magnitude_backward(dev, dlengths, dy, z, magnitude);
    op_call_end(call);
    op_scan(dev, op, "dy", dy);
}
