/* ops_fp8.c - the front door of the products in 8 bits. */
#include "kernels/ops_check.h"

bool device_has_fp8(const struct device *dev, enum fp8_scaling scaling) {
    return !dev->ops->has_fp8 || dev->ops->has_fp8(dev, scaling);
}

static void expect_fp8(struct device *dev, const char *op, const struct fp8_args *args) {
    CHECK(device_has_fp8(dev, args->scaling), "%s: the device '%s' has no products in 8 bits%s", op,
          dev->ops->name, args->scaling == FP8_BLOCKS ? " with scales of blocks" : "");
    CHECK((args->gradients == FP8_E4M3 || args->gradients == FP8_E5M2) && args->scaling >= FP8_CURRENT &&
              args->scaling <= FP8_BLOCKS,
          "%s: gradients in format %d, scaled by %d", op, (int)args->gradients, (int)args->scaling);
}

void op_fp8_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                    const struct fp8_args *args) {
    const char *op = "fp8_forward";
    expect_fp8(dev, op, args);
    op_expect(op, "x", x, (struct expected){BF16, 2, {ANY, ANY}});
    op_expect(op, "w", w, (struct expected){BF16, 2, {ANY, x.dims[1]}});
    op_expect(op, "y", y, (struct expected){BF16, 2, {x.dims[0], w.dims[0]}});
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, product_flops(x.dims[0], w));
    if (x.dims[0])
        dev->ops->fp8_forward(dev, y, x, w, args);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

/* expect_backward - shapes of both gradients. */
static void expect_backward(const char *op, const struct fp8_backward *at) {
    int64_t rows = at->dy.dims[0], in = at->w.dims[1];
    op_expect(op, "w", at->w, (struct expected){BF16, 2, {ANY, ANY}});
    op_expect(op, "dy", at->dy, (struct expected){BF16, 2, {ANY, at->w.dims[0]}});
    op_expect(op, "dx", at->dx, (struct expected){BF16, 2, {rows, in}});
    if (!at->dw.data)
        return;
    op_expect(op, "x", at->x, (struct expected){BF16, 2, {rows, in}});
    op_expect(op, "dw", at->dw, (struct expected){F32, 2, {at->w.dims[0], in}});
}

/* Without rows there is no product, but a gradient that is to be overwritten must become 0 all the same. */
void op_fp8_backward(struct device *dev, const struct fp8_backward *at, const struct fp8_args *args) {
    const char *op = "fp8_backward";
    expect_fp8(dev, op, args);
    expect_backward(op, at);
    double flops = product_flops(at->dy.dims[0], at->w) * (at->dw.data ? 2 : 1);
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, flops);
    if (at->dy.dims[0])
        dev->ops->fp8_backward(dev, at, args);
    else if (at->dw.data && at->dw_write == OP_OVERWRITE)
        device_zero(dev, at->dw);
    op_call_end(call);
    op_scan(dev, op, "dx", at->dx);
    if (at->dw.data)
        op_scan(dev, op, "dw", at->dw);
}
