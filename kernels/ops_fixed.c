/* ops_fixed.c - the front door of the ops that add gradients as integers. */
#include "kernels/ops_check.h"

/* A factor that is a power of two of f64, and far from where it ends. */
enum { EXPONENT_LIMIT = 512 };

static void expect_fixed(const char *op, struct tensor x, int exponent) {
    op_expect(op, "values", x, (struct expected){F32, 1, {ANY}});
    CHECK(exponent > -EXPONENT_LIMIT && exponent < EXPONENT_LIMIT, "%s: a unit of 2^%d", op, exponent);
}

float op_fixed_add(struct device *dev, int64_t *sums, struct tensor x, int exponent, enum op_write write) {
    const char *op = "fixed_add";
    expect_fixed(op, x, exponent);
    struct op_call call = op_call_begin(dev, OP_UPDATE, op, 0);
    float largest = dev->ops->fixed_add(dev, sums, x, exponent, write);
    op_call_end(call);
    return largest;
}

void op_fixed_join(struct device *dev, int64_t *sums, const int64_t *others, int64_t count) {
    const char *op = "fixed_join";
    struct op_call call = op_call_begin(dev, OP_UPDATE, op, 0);
    dev->ops->fixed_join(dev, sums, others, count);
    op_call_end(call);
}

void op_fixed_read(struct device *dev, struct tensor y, const int64_t *sums, int exponent) {
    const char *op = "fixed_read";
    expect_fixed(op, y, exponent);
    struct op_call call = op_call_begin(dev, OP_UPDATE, op, 0);
    dev->ops->fixed_read(dev, y, sums, exponent);
    op_call_end(call);
}

void op_exact_squares(struct device *dev, struct exact_sum *sum, struct tensor x) {
    const char *op = "exact_squares";
    expect_fixed(op, x, 0);
    struct op_call call = op_call_begin(dev, OP_UPDATE, op, 0);
    dev->ops->exact_squares(dev, sum, x);
    op_call_end(call);
}
