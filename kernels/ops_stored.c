/* ops_stored.c - the front door of the ops that read matrices as files hold them, which host memory alone has. */
#include "kernels/ops_check.h"

/* expect_stored - a matrix whose parts are of one width; the device's table has the op. */
static void expect_stored(struct device *dev, const char *op, const struct stored *w) {
    CHECK(dev->ops->linear_stored, "%s: the device '%s' does not read matrices as files hold them", op,
          dev->ops->name);
    CHECK(w->num_parts > 0, "%s: a matrix of no part", op);
    for (int i = 0; i < w->num_parts; i++) {
        const struct stored_rows *part = &w->parts[i];
        int64_t head = part->pair_rows;
        CHECK(part->kind >= 0 && part->kind < STORED_KINDS && part->width == w->parts[0].width &&
                  part->width % STORED_GROUP == 0 && part->rows,
              "%s: part %d of kind %d has rows of %lld values", op, i, (int)part->kind,
              (long long)part->width);
        CHECK(head == 0 || (head % 2 == 0 && part->num_rows % head == 0),
              "%s: %lld rows in pairs of heads of %lld", op, (long long)part->num_rows, (long long)head);
    }
}

void op_linear_stored(struct device *dev, struct tensor y, struct tensor x, const struct stored *w) {
    const char *op = "linear_stored";
    expect_stored(dev, op, w);
    op_expect(op, "x", x, (struct expected){F32, 2, {ANY, w->parts[0].width}});
    op_expect(op, "y", y, (struct expected){F32, 2, {x.dims[0], stored_count(w)}});
    double flops = 2.0 * (double)tensor_count(x) * (double)y.dims[1];
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, flops);
    if (x.dims[0])
        dev->ops->linear_stored(dev, y, x, w);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_embedding_stored(struct device *dev, struct tensor x, const struct stored *w, struct tensor tokens) {
    const char *op = "embedding_stored";
    expect_stored(dev, op, w);
    CHECK(w->num_parts == 1 && w->parts[0].pair_rows == 0, "%s: rows in parts, or in another order", op);
    op_expect(op, "tokens", tokens, (struct expected){I32, 1, {ANY}});
    op_expect(op, "x", x, (struct expected){F32, 2, {tokens.dims[0], w->parts[0].width}});
    op_expect_ids(dev, op, "tokens", tokens, w->parts[0].num_rows);
    struct op_call call = op_call_begin(dev, OP_EMBEDDING, op, 0);
    dev->ops->embedding_stored(dev, x, w, tokens);
    op_call_end(call);
    op_scan(dev, op, "x", x);
}
