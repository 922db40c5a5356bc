/* ops.c - the front door: each op checks shapes, types and ids, counts, and calls the device's table.  Flops are those of
 * the matrix products, two per multiply-add, and of attention (ops_attention.c): the convention behind "model flops
 * utilisation".  Other ops count none. */
#include "kernels/ops_check.h"

void op_embedding_forward(struct device *dev, struct tensor x, struct tensor w, struct tensor tokens) {
    const char *op = "embedding_forward";
    op_expect(op, "w", w, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "tokens", tokens, (struct expected){I32, 1, {ANY}});
    op_expect(op, "x", x, (struct expected){op_type_of(w), 2, {tokens.dims[0], w.dims[1]}});
    op_expect_ids(dev, op, "tokens", tokens, w.dims[0]);
    struct op_call call = op_call_begin(dev, OP_EMBEDDING, op, 0);
    dev->ops->embedding_forward(dev, x, w, tokens);
    op_call_end(call);
    op_scan(dev, op, "x", x);
}

void op_embedding_backward(struct device *dev, struct tensor dw, struct tensor dx, struct tensor tokens) {
    const char *op = "embedding_backward";
    op_expect(op, "dw", dw, (struct expected){F32, 2, {ANY, ANY}});
    op_expect(op, "tokens", tokens, (struct expected){I32, 1, {ANY}});
    op_expect(op, "dx", dx, (struct expected){ACTIVATION, 2, {tokens.dims[0], dw.dims[1]}});
    op_expect_ids(dev, op, "tokens", tokens, dw.dims[0]);
    struct op_call call = op_call_begin(dev, OP_EMBEDDING, op, 0);
    dev->ops->embedding_backward(dev, dw, dx, tokens);
    op_call_end(call);
    op_scan(dev, op, "dw", dw);
}

/* expect_norm - of rows like x: the weights, and the statistics of the kind. */
static void expect_norm(const char *op, struct tensor x, struct norm_stats stats, const struct norm *norm) {
    CHECK(norm->kind >= NORM_RMS && norm->kind <= NORM_LAYER, "%s: kind %d", op, (int)norm->kind);
    op_expect(op, "w", norm->w, (struct expected){ACTIVATION, 1, {x.dims[1]}});
    CHECK(norm->kind != NORM_RMS || norm->offset == 0,
          "%s: an offset of %g, which rows rounded before it do not take", op, (double)norm->offset);
    CHECK(!norm->bias.data || norm->kind == NORM_LAYER, "%s: a bias, which is LayerNorm's alone", op);
    if (norm->bias.data)
        op_expect(op, "bias", norm->bias, (struct expected){op_type_of(norm->w), 1, {x.dims[1]}});
    op_expect(op, "rstd", stats.rstd, (struct expected){F32, 1, {x.dims[0]}});
    if (norm->kind == NORM_LAYER)
        op_expect(op, "mean", stats.mean, (struct expected){F32, 1, {x.dims[0]}});
}

/* expect_largest - only of bf16, which is what products in 8 bits read. */
static void expect_largest(const char *op, struct tensor of, const uint32_t *largest) {
    CHECK(!largest || of.dtype == DTYPE_BF16, "%s: the largest magnitude of %s, which is known of bf16 alone",
          op, dtype_name(of.dtype));
}

void op_norm_forward(struct device *dev, struct tensor y, struct norm_stats stats, struct tensor x,
                     const struct norm *norm) {
    const char *op = "norm_forward";
    op_expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "y", y, (struct expected){op_type_of(x), 2, {x.dims[0], x.dims[1]}});
    expect_norm(op, x, stats, norm);
    expect_largest(op, y, norm->largest);
    CHECK(y.data != x.data || x.dims[0] == 0, "%s: y is x; the backward pass needs x", op);
    struct op_call call = op_call_begin(dev, OP_NORM, op, 0);
    dev->ops->norm_forward(dev, y, stats, x, norm);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_add_norm_forward(struct device *dev, struct tensor y, struct tensor sum, struct norm_stats stats,
                         struct tensor a, struct tensor b, const struct norm *norm) {
    const char *op = "add_norm_forward";
    op_expect(op, "a", a, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    struct expected same = {op_type_of(a), 2, {a.dims[0], a.dims[1]}};
    op_expect(op, "b", b, same);
    op_expect(op, "sum", sum, same);
    op_expect(op, "y", y, same);
    expect_norm(op, a, stats, norm);
    expect_largest(op, y, norm->largest);
    CHECK((y.data != a.data && y.data != b.data && y.data != sum.data) || a.dims[0] == 0,
          "%s: y is one of the others; the backward pass needs the sum", op);
    struct op_call call = op_call_begin(dev, OP_NORM, op, 0);
    dev->ops->add_norm_forward(dev, y, sum, stats, a, b, norm);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_norm_backward(struct device *dev, struct tensor dx, struct tensor dw, struct tensor dy,
                      struct tensor x, struct norm_stats stats, const struct norm *norm) {
    const char *op = "norm_backward";
    op_expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "dx", dx, (struct expected){ACTIVATION, 2, {x.dims[0], x.dims[1]}});
    if (dw.data)
        op_expect(op, "dw", dw, (struct expected){F32, 1, {x.dims[1]}});
    op_expect(op, "dy", dy, (struct expected){ACTIVATION, 2, {x.dims[0], x.dims[1]}});
    expect_norm(op, x, stats, norm);
    expect_largest(op, dx, norm->largest);
    struct op_call call = op_call_begin(dev, OP_NORM, op, 0);
    dev->ops->norm_backward(dev, dx, dw, dy, x, stats, norm);
    op_call_end(call);
    op_scan(dev, op, "dx", dx);
    if (dw.data)
        op_scan(dev, op, "dw", dw);
}

void op_linear_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w) {
    const char *op = "linear_forward";
    op_expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "w", w, (struct expected){op_type_of(x), 2, {ANY, x.dims[1]}});
    op_expect(op, "y", y, (struct expected){F32 | op_type_of(x), 2, {x.dims[0], w.dims[0]}});
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, product_flops(x.dims[0], w));
    if (x.dims[0]) /* a rank may have no token in a chunk, and libraries dislike empty products */
        dev->ops->linear_forward(dev, y, x, w);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_linear_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                              enum op_write write) {
    const char *op = "linear_backward_input";
    op_expect(op, "w", w, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "dy", dy, (struct expected){F32 | op_type_of(w), 2, {ANY, w.dims[0]}});
    op_expect(op, "dx", dx, (struct expected){F32 | op_type_of(w), 2, {dy.dims[0], w.dims[1]}});
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, product_flops(dy.dims[0], w));
    if (dy.dims[0])
        dev->ops->linear_backward_input(dev, dx, dy, w, write);
    op_call_end(call);
    op_scan(dev, op, "dx", dx);
}

/* Without rows there is no product, but a gradient that is to be overwritten must become 0 all the same. */
void op_linear_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                               enum op_write write) {
    const char *op = "linear_backward_weight";
    op_expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "dy", dy, (struct expected){F32 | op_type_of(x), 2, {x.dims[0], ANY}});
    op_expect(op, "dw", dw, (struct expected){F32, 2, {dy.dims[1], x.dims[1]}});
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, product_flops(x.dims[0], dw));
    if (x.dims[0])
        dev->ops->linear_backward_weight(dev, dw, dy, x, write);
    else if (write == OP_OVERWRITE)
        device_zero(dev, dw);
    op_call_end(call);
    op_scan(dev, op, "dw", dw);
}

void op_glu_forward(struct device *dev, struct tensor y, struct tensor gate_up, enum gate gate,
                    uint32_t *largest) {
    const char *op = "glu_forward";
    op_expect(op, "y", y, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "gate_up", gate_up, (struct expected){op_type_of(y), 2, {y.dims[0], 2 * y.dims[1]}});
    expect_largest(op, y, largest);
    struct op_call call = op_call_begin(dev, OP_GLU, op, 0);
    if (y.dims[0] > 0) /* experts without rows */
        dev->ops->glu_forward(dev, y, gate_up, gate, largest);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_glu_backward(struct device *dev, struct tensor dgate_up, struct tensor dy, struct tensor gate_up,
                     enum gate gate, uint32_t *largest) {
    const char *op = "glu_backward";
    op_expect(op, "dy", dy, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "gate_up", gate_up, (struct expected){op_type_of(dy), 2, {dy.dims[0], 2 * dy.dims[1]}});
    op_expect(op, "dgate_up", dgate_up, (struct expected){op_type_of(dy), 2, {dy.dims[0], 2 * dy.dims[1]}});
    expect_largest(op, dgate_up, largest);
    struct op_call call = op_call_begin(dev, OP_GLU, op, 0);
    if (dy.dims[0] > 0)
        dev->ops->glu_backward(dev, dgate_up, dy, gate_up, gate, largest);
    op_call_end(call);
    op_scan(dev, op, "dgate_up", dgate_up);
}

/* expect_count - two tensors of any shape that must hold the same number of elements. */
static void expect_count(const char *op, const char *argument, struct tensor t, struct tensor like) {
    char got_text[128], like_text[128];
    CHECK(tensor_count(t) == tensor_count(like), "%s: %s is %s, expected as many elements as %s", op,
          argument, tensor_shape_text(t, got_text, sizeof got_text),
          tensor_shape_text(like, like_text, sizeof like_text));
}

/* expect_type - for tensors of any shape. */
static void expect_type(const char *op, const char *argument, struct tensor t, int types) {
    struct expected want = {types, t.ndim < 3 ? t.ndim : 3, {ANY, ANY, ANY}};
    char want_text[160];
    CHECK(types & 1 << t.dtype, "%s: %s is %s, expected %s", op, argument, dtype_name(t.dtype),
          op_expected_text(&want, want_text, sizeof want_text));
}

void op_act_forward(struct device *dev, struct tensor y, struct tensor x, enum act act) {
    const char *op = "act_forward";
    expect_type(op, "x", x, ACTIVATION);
    expect_type(op, "y", y, op_type_of(x));
    expect_count(op, "y", y, x);
    CHECK(act == ACT_RELU2, "%s: activation %d", op, (int)act);
    struct op_call call = op_call_begin(dev, OP_GLU, op, 0);
    dev->ops->act_forward(dev, y, x, act);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_act_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x, enum act act) {
    const char *op = "act_backward";
    expect_type(op, "x", x, ACTIVATION);
    expect_type(op, "dy", dy, op_type_of(x));
    expect_type(op, "dx", dx, op_type_of(x));
    expect_count(op, "dy", dy, x);
    expect_count(op, "dx", dx, x);
    CHECK(act == ACT_RELU2, "%s: activation %d", op, (int)act);
    struct op_call call = op_call_begin(dev, OP_GLU, op, 0);
    dev->ops->act_backward(dev, dx, dy, x, act);
    op_call_end(call);
    op_scan(dev, op, "dx", dx);
}

/* expect_xielu - its values, beside activations like x. */
static void expect_xielu(const char *op, struct tensor x, const struct xielu *xielu) {
    const struct {
        const char *name;
        struct tensor value;
    } values[] = {
        {"alpha_p", xielu->alpha_p}, {"alpha_n", xielu->alpha_n}, {"beta", xielu->beta}, {"eps", xielu->eps}};
    expect_type(op, "x", x, ACTIVATION);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        expect_type(op, values[i].name, values[i].value, op_type_of(x));
        expect_count(op, values[i].name, values[i].value, tensor_1d(NULL, x.dtype, 1));
    }
}

void op_xielu_forward(struct device *dev, struct tensor y, struct tensor x, const struct xielu *xielu) {
    const char *op = "xielu_forward";
    expect_xielu(op, x, xielu);
    expect_type(op, "y", y, op_type_of(x));
    expect_count(op, "y", y, x);
    struct op_call call = op_call_begin(dev, OP_GLU, op, 0);
    dev->ops->xielu_forward(dev, y, x, xielu);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_xielu_backward(struct device *dev, struct tensor dx, struct xielu_grad d, struct tensor dy,
                       struct tensor x, const struct xielu *xielu) {
    const char *op = "xielu_backward";
    expect_xielu(op, x, xielu);
    expect_type(op, "dy", dy, op_type_of(x));
    expect_type(op, "dx", dx, op_type_of(x));
    expect_count(op, "dy", dy, x);
    expect_count(op, "dx", dx, x);
    if (d.alpha_p.data)
        op_expect(op, "d.alpha_p", d.alpha_p, (struct expected){F32, 1, {1}});
    if (d.alpha_n.data)
        op_expect(op, "d.alpha_n", d.alpha_n, (struct expected){F32, 1, {1}});
    struct op_call call = op_call_begin(dev, OP_GLU, op, 0);
    dev->ops->xielu_backward(dev, dx, d, dy, x, xielu);
    op_call_end(call);
    op_scan(dev, op, "dx", dx);
}

void op_add(struct device *dev, struct tensor y, struct tensor a, struct tensor b) {
    const char *op = "add";
    expect_type(op, "y", y, ACTIVATION);
    expect_type(op, "a", a, ACTIVATION);
    expect_type(op, "b", b, ACTIVATION);
    expect_count(op, "a", a, y);
    expect_count(op, "b", b, y);
    struct op_call call = op_call_begin(dev, OP_ADD, op, 0);
    dev->ops->add(dev, y, a, b);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_axpby(struct device *dev, struct tensor y, struct tensor x, float a, float b) {
    const char *op = "axpby";
    expect_type(op, "y", y, ACTIVATION);
    expect_type(op, "x", x, y.dtype == DTYPE_F32 ? ACTIVATION : F32 | op_type_of(y));
    expect_count(op, "x", x, y);
    struct op_call call = op_call_begin(dev, OP_ADD, op, 0);
    dev->ops->axpby(dev, y, x, a, b);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

/* expect_loss - what becomes of a logit. */
static void expect_loss(const char *op, const struct loss_args *args) {
    CHECK(args->logit_scale > 0 && args->softcap >= 0,
          "%s: logit_scale is %g and softcap %g, expected > 0 and >= 0", op, (double)args->logit_scale,
          (double)args->softcap);
}

/* expect_targets - not op_expect_ids: a row without weight may carry any target (-100 by custom). */
static void expect_targets(struct device *dev, const char *op, struct tensor logits, struct tensor targets,
                           struct tensor weights) {
    op_expect(op, "targets", targets, (struct expected){I32, 1, {logits.dims[0]}});
    op_expect(op, "weights", weights, (struct expected){F32, 1, {logits.dims[0]}});
    for (int64_t i = 0; dev->ops->host_memory && i < logits.dims[0]; i++) {
        int32_t target = ((const int32_t *)targets.data)[i];
        CHECK(((const float *)weights.data)[i] == 0 || (target >= 0 && target < logits.dims[1]),
              "%s: targets[%lld] is %d, expected 0 to %lld", op, (long long)i, target,
              (long long)logits.dims[1] - 1);
    }
}

void op_cross_entropy(struct device *dev, struct tensor losses, struct tensor dlogits, struct tensor logits,
                      struct tensor targets, struct tensor weights, const struct loss_args *args) {
    const char *op = "cross_entropy";
    float grad_scale = args->grad_scale;
    expect_loss(op, args);
    op_expect(op, "logits", logits, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    if (grad_scale != 0)
        op_expect(op, "dlogits", dlogits, (struct expected){ACTIVATION, 2, {logits.dims[0], logits.dims[1]}});
    CHECK(grad_scale == 0 || dlogits.data != logits.data || dlogits.dtype == logits.dtype,
          "%s: a %s gradient in place of %s logits", op, dtype_name(dlogits.dtype), dtype_name(logits.dtype));
    op_expect(op, "losses", losses, (struct expected){F32, 1, {logits.dims[0]}});
    expect_targets(dev, op, logits, targets, weights);
    struct op_call call = op_call_begin(dev, OP_CROSS_ENTROPY, op, 0);
    dev->ops->cross_entropy(dev, losses, dlogits, logits, targets, weights, args);
    op_call_end(call);
    op_scan(dev, op, "losses", losses);
}

/* expect_teacher - ids that exist, and fewer than there are: the rest is never empty. */
static void expect_teacher(struct device *dev, const char *op, const struct distill_rows *rows) {
    int64_t num_rows = rows->logits.dims[0], vocabulary = rows->logits.dims[1], num_ids = rows->ids.dims[1];
    op_expect(op, "ids", rows->ids, (struct expected){I32, 2, {num_rows, ANY}});
    op_expect(op, "logps", rows->logps, (struct expected){F32, 2, {num_rows, num_ids}});
    CHECK(num_ids > 0 && num_ids < vocabulary && num_ids <= DISTILL_MOST_IDS,
          "%s: %lld ids of a row, expected 1 to %d and fewer than the vocabulary of %lld", op,
          (long long)num_ids, DISTILL_MOST_IDS, (long long)vocabulary);
    for (int64_t i = 0; dev->ops->host_memory && i < num_rows * num_ids; i++) {
        int32_t id = ((const int32_t *)rows->ids.data)[i];
        CHECK(((const float *)rows->weights.data)[i / num_ids] == 0 || (id >= 0 && id < vocabulary),
              "%s: ids[%lld] is %d, expected 0 to %lld", op, (long long)i, id, (long long)vocabulary - 1);
    }
}

void op_distill(struct device *dev, const struct distill_out *out, const struct distill_rows *rows,
                const struct distill_args *args) {
    const char *op = "distill";
    int64_t num_rows = rows->logits.dims[0], vocabulary = rows->logits.dims[1];
    op_expect(op, "logits", rows->logits, (struct expected){F32, 2, {ANY, ANY}});
    CHECK(args->temperature > 0 && args->share >= 0 && args->share <= 1,
          "%s: temperature %g and share %g, expected above 0, and 0 to 1", op, (double)args->temperature,
          (double)args->share);
    expect_loss(op, &args->loss);
    if (args->loss.grad_scale != 0)
        op_expect(op, "dlogits", out->dlogits, (struct expected){ACTIVATION, 2, {num_rows, vocabulary}});
    CHECK(args->loss.grad_scale == 0 || out->dlogits.data != rows->logits.data ||
              out->dlogits.dtype == DTYPE_F32,
          "%s: a %s gradient in place of f32 logits", op, dtype_name(out->dlogits.dtype));
    op_expect(op, "losses", out->losses, (struct expected){F32, 1, {num_rows}});
    op_expect(op, "divergences", out->divergences, (struct expected){F32, 1, {num_rows}});
    expect_targets(dev, op, rows->logits, rows->targets, rows->weights);
    expect_teacher(dev, op, rows);
    struct op_call call = op_call_begin(dev, OP_CROSS_ENTROPY, op, 0);
    if (num_rows)
        dev->ops->distill(dev, out, rows, args);
    op_call_end(call);
    op_scan(dev, op, "losses", out->losses);
    op_scan(dev, op, "divergences", out->divergences);
}

void op_adamw(struct device *dev, struct tensor w, struct tensor m, struct tensor v, struct tensor copy,
              struct tensor dw, const struct adamw_args *args) {
    const char *op = "adamw";
    struct expected flat = {F32, 1, {w.dims[0]}};
    op_expect(op, "w", w, flat);
    op_expect(op, "m", m, (struct expected){F32 | BF16, 1, {w.dims[0]}});
    op_expect(op, "v", v, (struct expected){op_type_of(m), 1, {w.dims[0]}});
    op_expect(op, "dw", dw, flat);
    if (copy.data)
        op_expect(op, "copy", copy, (struct expected){BF16 | F16, 1, {w.dims[0]}});
    CHECK(args->step >= 1, "adamw: step is %lld, expected 1 for the first update", (long long)args->step);
    struct op_call call = op_call_begin(dev, OP_UPDATE, op, 0);
    dev->ops->adamw(dev, w, m, v, copy, dw, args);
    op_call_end(call);
    op_scan(dev, op, "w", w);
}

/* Its result is not scanned: a gradient that overflowed is found by it, and the caller decides what that means. */
double op_sum_squares(struct device *dev, struct tensor x) {
    const char *op = "sum_squares";
    expect_type(op, "x", x, ACTIVATION);
    struct op_call call = op_call_begin(dev, OP_UPDATE, op, 0);
    double sum = dev->ops->sum_squares(dev, x);
    op_call_end(call);
    return sum;
}

void op_cast(struct device *dev, struct tensor y, struct tensor x) {
    const char *op = "cast";
    expect_type(op, "y", y, ACTIVATION);
    expect_type(op, "x", x, ACTIVATION);
    expect_count(op, "y", y, x);
    struct op_call call = op_call_begin(dev, OP_CAST, op, 0);
    dev->ops->cast(dev, y, x);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_quantise(struct device *dev, void *blobs, struct tensor x, struct tensor lost) {
    const char *op = "quantise";
    op_expect(op, "x", x, (struct expected){F32, 2, {ANY, ANY}});
    if (lost.data)
        op_expect(op, "lost", lost, (struct expected){F32, 2, {x.dims[0], x.dims[1]}});
    CHECK(x.dims[1] > 0 && x.dims[1] % packed_align(PACKED_INT8) == 0, "%s: rows of %lld values", op,
          (long long)x.dims[1]);
    struct op_call call = op_call_begin(dev, OP_CAST, op, 0);
    dev->ops->quantise(dev, blobs, x, lost);
    op_call_end(call);
}

void op_dequantise(struct device *dev, struct tensor y, const struct packed *x) {
    const char *op = "dequantise";
    op_expect(op, "y", y, (struct expected){ACTIVATION, 1, {y.dims[0]}});
    CHECK((unsigned)x->kind < PACKED_KINDS, "dequantise: form %d", (int)x->kind);
    CHECK(x->blob_count > 0 && x->blob_count % packed_align(x->kind) == 0 && x->first >= 0 &&
              x->first % packed_block(x->kind) == 0,
          "dequantise: values from %lld on, of blobs of %lld", (long long)x->first, (long long)x->blob_count);
    CHECK(x->blobs && (x->kind != PACKED_NF4_DOUBLE || x->nested_map),
          "dequantise: no codes, or no map for them");
    struct op_call call = op_call_begin(dev, OP_CAST, op, 0);
    dev->ops->dequantise(dev, y, x);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}
