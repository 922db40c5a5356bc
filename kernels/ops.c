/* ops.c - the front door: each op checks shapes, types and ids, counts, and calls the device's table.
 * A disagreement is a bug of the caller (or a corrupt token file that slipped through), so it dies with the
 * numbers.  Flops are those of the matrix products, two per multiply-add, and of attention over the scores
 * that the mask lets through: the convention behind "model flops utilisation".  Other ops count none. */
#include "kernels/ops.h"

#include <math.h>
#include <stdio.h>

#include "kernels/clock.h"
#include "kernels/half.h"

enum { ANY = -1 }; /* a dimension that may be anything */

/* Sets of types that an argument may have. */
enum {
    F32 = 1 << DTYPE_F32,
    BF16 = 1 << DTYPE_BF16,
    F16 = 1 << DTYPE_F16,
    I32 = 1 << DTYPE_I32,
    ACTIVATION = F32 | BF16 | F16
};

/* What an argument must look like. */
struct expected {
    int types, ndim;
    int64_t dims[3];
};

/* One running op: what to count when it ends. */
struct call {
    struct device *dev;
    enum op_id id;
    const char *name;
    double flops, start_s;
};

/* expected_text - "[*, 1024] f32 or bf16". */
static const char *expected_text(const struct expected *want, char *text, size_t room_bytes) {
    size_t used = (size_t)snprintf(text, room_bytes, "[");
    for (int d = 0; d < want->ndim; d++) {
        const char *comma = d ? ", " : "";
        if (want->dims[d] == ANY)
            used += (size_t)snprintf(text + used, room_bytes - used, "%s*", comma);
        else
            used +=
                (size_t)snprintf(text + used, room_bytes - used, "%s%lld", comma, (long long)want->dims[d]);
    }
    used += (size_t)snprintf(text + used, room_bytes - used, "]");
    const char *between = " ";
    for (int type = 0; type < DTYPE_COUNT; type++)
        if (want->types & 1 << type) {
            used += (size_t)snprintf(text + used, room_bytes - used, "%s%s", between,
                                     dtype_name((enum dtype)type));
            between = " or ";
        }
    return text;
}

/* expect - die unless the argument has the expected types and dimensions. */
static void expect(const char *op, const char *argument, struct tensor t, struct expected want) {
    bool good = t.ndim == want.ndim && (want.types & 1 << t.dtype);
    for (int d = 0; good && d < want.ndim; d++)
        good = t.dims[d] >= 0 && (want.dims[d] == ANY || t.dims[d] == want.dims[d]);
    if (good)
        return;
    char got_text[128], want_text[160];
    die("%s: %s is %s, expected %s", op, argument, tensor_shape_text(t, got_text, sizeof got_text),
        expected_text(&want, want_text, sizeof want_text));
}

/* expect_ids - die unless every value is in [0, limit). */
static void expect_ids(struct device *dev, const char *op, const char *argument, struct tensor ids,
                       int64_t limit) {
    if (!dev->ops->host_memory)
        return;
    const int32_t *values = ids.data;
    for (int64_t i = 0; i < ids.dims[0]; i++)
        CHECK(values[i] >= 0 && values[i] < limit, "%s: %s[%lld] is %d, expected 0 to %lld", op, argument,
              (long long)i, values[i], (long long)limit - 1);
}

/* type_of - the set with the one type of another argument. */
static int type_of(struct tensor t) {
    return 1 << t.dtype;
}

/* begin, end - around the table call alone, so that checks are not timed as work. */
static struct call begin(struct device *dev, enum op_id id, const char *name, double flops) {
    if (dev->ops->op_begin)
        dev->ops->op_begin(dev, id);
    return (struct call){dev, id, name, flops, clock_s()};
}

static void end(struct call call) {
    struct op_counts *counts = &call.dev->counts;
    counts->calls[call.id]++;
    counts->flops[call.id] += call.flops;
    if (call.dev->ops->op_end) {
        call.dev->ops->op_end(call.dev, call.id);
        return;
    }
    double seconds = clock_s() - call.start_s;
    counts->seconds[call.id] += seconds;
    counts->section_seconds[call.dev->section] += seconds;
}

/* scan - with ATELIER_CHECK=1, die at the first value of an output that is not finite. */
static void scan(struct device *dev, const char *op, const char *argument, struct tensor t) {
    if (!dev->check_values || !dev->ops->host_memory)
        return;
    for (int64_t i = 0; i < tensor_count(t); i++) {
        float value = t.dtype == DTYPE_F32    ? ((const float *)t.data)[i]
                      : t.dtype == DTYPE_BF16 ? f32_from_bf16(((const uint16_t *)t.data)[i])
                                              : f32_from_f16(((const uint16_t *)t.data)[i]);
        CHECK(isfinite(value), "%s: %s[%lld] is %g", op, argument, (long long)i, (double)value);
    }
}

void op_embedding_forward(struct device *dev, struct tensor x, struct tensor w, struct tensor tokens) {
    const char *op = "embedding_forward";
    expect(op, "w", w, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    expect(op, "tokens", tokens, (struct expected){I32, 1, {ANY}});
    expect(op, "x", x, (struct expected){type_of(w), 2, {tokens.dims[0], w.dims[1]}});
    expect_ids(dev, op, "tokens", tokens, w.dims[0]);
    struct call call = begin(dev, OP_EMBEDDING, op, 0);
    dev->ops->embedding_forward(dev, x, w, tokens);
    end(call);
    scan(dev, op, "x", x);
}

void op_embedding_backward(struct device *dev, struct tensor dw, struct tensor dx, struct tensor tokens) {
    const char *op = "embedding_backward";
    expect(op, "dw", dw, (struct expected){F32, 2, {ANY, ANY}});
    expect(op, "tokens", tokens, (struct expected){I32, 1, {ANY}});
    expect(op, "dx", dx, (struct expected){ACTIVATION, 2, {tokens.dims[0], dw.dims[1]}});
    expect_ids(dev, op, "tokens", tokens, dw.dims[0]);
    struct call call = begin(dev, OP_EMBEDDING, op, 0);
    dev->ops->embedding_backward(dev, dw, dx, tokens);
    end(call);
    scan(dev, op, "dw", dw);
}

void op_rmsnorm_forward(struct device *dev, struct tensor y, struct tensor rstd, struct tensor x,
                        struct tensor w, float eps) {
    const char *op = "rmsnorm_forward";
    expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    expect(op, "y", y, (struct expected){type_of(x), 2, {x.dims[0], x.dims[1]}});
    expect(op, "rstd", rstd, (struct expected){F32, 1, {x.dims[0]}});
    expect(op, "w", w, (struct expected){ACTIVATION, 1, {x.dims[1]}});
    CHECK(y.data != x.data || x.dims[0] == 0, "rmsnorm_forward: y is x; the backward pass needs x");
    struct call call = begin(dev, OP_RMSNORM, op, 0);
    dev->ops->rmsnorm_forward(dev, y, rstd, x, w, eps);
    end(call);
    scan(dev, op, "y", y);
}

void op_add_rmsnorm_forward(struct device *dev, struct tensor y, struct tensor sum, struct tensor rstd,
                            struct tensor a, struct tensor b, struct tensor w, float eps) {
    const char *op = "add_rmsnorm_forward";
    expect(op, "a", a, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    struct expected same = {type_of(a), 2, {a.dims[0], a.dims[1]}};
    expect(op, "b", b, same);
    expect(op, "sum", sum, same);
    expect(op, "y", y, same);
    expect(op, "rstd", rstd, (struct expected){F32, 1, {a.dims[0]}});
    expect(op, "w", w, (struct expected){type_of(a), 1, {a.dims[1]}});
    CHECK((y.data != a.data && y.data != b.data && y.data != sum.data) || a.dims[0] == 0,
          "%s: y is one of the others; the backward pass needs the sum", op);
    struct call call = begin(dev, OP_RMSNORM, op, 0);
    dev->ops->add_rmsnorm_forward(dev, y, sum, rstd, a, b, w, eps);
    end(call);
    scan(dev, op, "y", y);
}

void op_rmsnorm_backward(struct device *dev, struct tensor dx, struct tensor dw, struct tensor dy,
                         struct tensor x, struct tensor w, struct tensor rstd) {
    const char *op = "rmsnorm_backward";
    expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    expect(op, "dx", dx, (struct expected){ACTIVATION, 2, {x.dims[0], x.dims[1]}});
    if (dw.data)
        expect(op, "dw", dw, (struct expected){F32, 1, {x.dims[1]}});
    expect(op, "dy", dy, (struct expected){ACTIVATION, 2, {x.dims[0], x.dims[1]}});
    expect(op, "w", w, (struct expected){ACTIVATION, 1, {x.dims[1]}});
    expect(op, "rstd", rstd, (struct expected){F32, 1, {x.dims[0]}});
    struct call call = begin(dev, OP_RMSNORM, op, 0);
    dev->ops->rmsnorm_backward(dev, dx, dw, dy, x, w, rstd);
    end(call);
    scan(dev, op, "dx", dx);
    if (dw.data)
        scan(dev, op, "dw", dw);
}

/* product_flops - two per multiply-add of a linear layer's product. */
static double product_flops(int64_t rows, struct tensor w) {
    return 2.0 * (double)rows * (double)w.dims[0] * (double)w.dims[1];
}

void op_linear_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w) {
    const char *op = "linear_forward";
    expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    expect(op, "w", w, (struct expected){type_of(x), 2, {ANY, x.dims[1]}});
    expect(op, "y", y, (struct expected){F32 | type_of(x), 2, {x.dims[0], w.dims[0]}});
    struct call call = begin(dev, OP_LINEAR, op, product_flops(x.dims[0], w));
    if (x.dims[0]) /* a rank may have no token in a chunk, and libraries dislike empty products */
        dev->ops->linear_forward(dev, y, x, w);
    end(call);
    scan(dev, op, "y", y);
}

void op_linear_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                              enum op_write write) {
    const char *op = "linear_backward_input";
    expect(op, "w", w, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    expect(op, "dy", dy, (struct expected){F32 | type_of(w), 2, {ANY, w.dims[0]}});
    expect(op, "dx", dx, (struct expected){F32 | type_of(w), 2, {dy.dims[0], w.dims[1]}});
    struct call call = begin(dev, OP_LINEAR, op, product_flops(dy.dims[0], w));
    if (dy.dims[0])
        dev->ops->linear_backward_input(dev, dx, dy, w, write);
    end(call);
    scan(dev, op, "dx", dx);
}

void op_linear_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                               enum op_write write) {
    const char *op = "linear_backward_weight";
    expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    expect(op, "dy", dy, (struct expected){F32 | type_of(x), 2, {x.dims[0], ANY}});
    expect(op, "dw", dw, (struct expected){F32, 2, {dy.dims[1], x.dims[1]}});
    struct call call = begin(dev, OP_LINEAR, op, product_flops(x.dims[0], dw));
    if (x.dims[0])
        dev->ops->linear_backward_weight(dev, dw, dy, x, write);
    else if (write == OP_OVERWRITE)
        device_zero(dev, dw);
    end(call);
    scan(dev, op, "dw", dw);
}

/* expect_rotation - of the rows of qkv (or of its gradient), whose shape was looked at. */
static void expect_rotation(struct device *dev, const char *op, struct tensor qkv,
                            const struct rotation *rotation) {
    int64_t half = qkv.dims[2] / 2;
    CHECK(qkv.dims[2] % 2 == 0, "%s: head width is %lld, expected an even number", op,
          (long long)qkv.dims[2]);
    CHECK(rotation->layout == ROPE_HALVES || rotation->layout == ROPE_PAIRS, "%s: layout %d", op,
          (int)rotation->layout);
    /* cos and sin cover the longest document, not the micro-batch: their rows are positions. */
    expect(op, "cos", rotation->cos, (struct expected){F32, 2, {ANY, half}});
    expect(op, "sin", rotation->sin, (struct expected){F32, 2, {rotation->cos.dims[0], half}});
    expect(op, "positions", rotation->positions, (struct expected){I32, 1, {qkv.dims[0]}});
    expect_ids(dev, op, "positions", rotation->positions, rotation->cos.dims[0]);
    CHECK(rotation->num_rotated >= 0 && rotation->num_rotated <= qkv.dims[1],
          "%s: %d heads to rotate of %lld", op, rotation->num_rotated, (long long)qkv.dims[1]);
}

void op_rope_forward(struct device *dev, struct tensor qkv, const struct rotation *rotation) {
    const char *op = "rope_forward";
    expect(op, "qkv", qkv, (struct expected){ACTIVATION, 3, {ANY, ANY, ANY}});
    expect_rotation(dev, op, qkv, rotation);
    struct call call = begin(dev, OP_ROPE, op, 0);
    dev->ops->rope_forward(dev, qkv, rotation);
    end(call);
    scan(dev, op, "qkv", qkv);
}

/* expect_heads - the sizes of an attention op and its fused input [N, H + 2 G, D]. */
static void expect_heads(const char *op, struct tensor qkv, const struct attention_args *args) {
    int heads = args->num_heads, kv_heads = args->num_kv_heads;
    CHECK(heads > 0 && kv_heads > 0 && heads % kv_heads == 0 && args->head_dim > 0,
          "%s: %d query heads and %d kv heads of width %d", op, heads, kv_heads, args->head_dim);
    expect(op, "qkv", qkv, (struct expected){ACTIVATION, 3, {ANY, heads + 2 * kv_heads, args->head_dim}});
}

/* attended - check row_start; how many (query, key) pairs it lets through.  Without access to the values:
 * what the caller says. */
static double attended(struct device *dev, const char *op, struct tensor row_start, int64_t num_rows,
                       const struct attention_args *args) {
    expect(op, "row_start", row_start, (struct expected){I32, 1, {num_rows}});
    if (!dev->ops->host_memory)
        return (double)args->num_pairs;
    const int32_t *start = row_start.data;
    double pairs = 0;
    for (int64_t i = 0; i < num_rows; i++) {
        CHECK(start[i] >= (i ? start[i - 1] : 0) && start[i] <= i,
              "%s: row_start[%lld] is %d, expected %d to %lld", op, (long long)i, start[i],
              i ? start[i - 1] : 0, (long long)i);
        pairs += (double)(i - start[i] + 1);
    }
    return pairs;
}

/* attention_flops - q k^T and p v of each head: 4 D per pair. */
static double attention_flops(double pairs, const struct attention_args *args) {
    return 4.0 * pairs * (double)args->head_dim * (double)args->num_heads;
}

void op_attention_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                          struct tensor row_start, const struct attention_args *args) {
    const char *op = "attention_forward";
    expect_heads(op, qkv, args);
    expect(op, "out", out,
           (struct expected){type_of(qkv), 3, {qkv.dims[0], args->num_heads, args->head_dim}});
    expect(op, "lse", lse, (struct expected){F32, 2, {qkv.dims[0], args->num_heads}});
    double pairs = attended(dev, op, row_start, qkv.dims[0], args);
    struct call call = begin(dev, OP_ATTENTION, op, attention_flops(pairs, args));
    if (qkv.dims[0])
        dev->ops->attention_forward(dev, out, lse, qkv, row_start, args);
    end(call);
    scan(dev, op, "out", out);
}

void op_attention_backward(struct device *dev, struct tensor dqkv, struct tensor dout, struct tensor out,
                           struct tensor lse, struct tensor qkv, struct tensor row_start,
                           const struct attention_args *args, const struct rotation *rotation) {
    const char *op = "attention_backward";
    struct expected heads = {type_of(qkv), 3, {qkv.dims[0], args->num_heads, args->head_dim}};
    expect_heads(op, qkv, args);
    expect(op, "dqkv", dqkv, (struct expected){type_of(qkv), 3, {qkv.dims[0], qkv.dims[1], qkv.dims[2]}});
    expect(op, "dout", dout, heads);
    expect(op, "out", out, heads);
    expect(op, "lse", lse, (struct expected){F32, 2, {qkv.dims[0], args->num_heads}});
    if (rotation) {
        expect_rotation(dev, op, qkv, rotation);
        CHECK(rotation->num_rotated == args->num_heads + args->num_kv_heads,
              "%s: %d heads to rotate, expected %d query and %d key heads", op, rotation->num_rotated,
              args->num_heads, args->num_kv_heads);
    }
    double pairs = attended(dev, op, row_start, qkv.dims[0], args);
    struct call call = begin(dev, OP_ATTENTION, op, 2.5 * attention_flops(pairs, args));
    if (qkv.dims[0])
        dev->ops->attention_backward(dev, dqkv, dout, out, lse, qkv, row_start, args, rotation);
    end(call);
    scan(dev, op, "dqkv", dqkv);
}

void op_attention_cached(struct device *dev, struct tensor out, struct tensor qkv, struct tensor k_cache,
                         struct tensor v_cache, int64_t past, const struct attention_args *args) {
    const char *op = "attention_cached";
    int64_t num_rows = qkv.dims[0];
    struct expected cache = {type_of(qkv), 3, {ANY, args->num_kv_heads, args->head_dim}};
    expect_heads(op, qkv, args);
    expect(op, "out", out, (struct expected){type_of(qkv), 3, {num_rows, args->num_heads, args->head_dim}});
    expect(op, "k_cache", k_cache, cache);
    cache.dims[0] = k_cache.dims[0];
    expect(op, "v_cache", v_cache, cache);
    CHECK(past >= 0 && past <= k_cache.dims[0] - num_rows,
          "%s: %lld past and %lld new tokens in a cache of %lld", op, (long long)past, (long long)num_rows,
          (long long)k_cache.dims[0]);
    double pairs = (double)num_rows * ((double)past + 0.5 * (double)(num_rows + 1));
    struct call call = begin(dev, OP_ATTENTION, op, attention_flops(pairs, args));
    dev->ops->attention_cached(dev, out, qkv, k_cache, v_cache, past, args);
    end(call);
    scan(dev, op, "out", out);
}

void op_glu_forward(struct device *dev, struct tensor y, struct tensor gate_up, enum gate gate) {
    const char *op = "glu_forward";
    expect(op, "y", y, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    expect(op, "gate_up", gate_up, (struct expected){type_of(y), 2, {y.dims[0], 2 * y.dims[1]}});
    struct call call = begin(dev, OP_GLU, op, 0);
    dev->ops->glu_forward(dev, y, gate_up, gate);
    end(call);
    scan(dev, op, "y", y);
}

void op_glu_backward(struct device *dev, struct tensor dgate_up, struct tensor dy, struct tensor gate_up,
                     enum gate gate) {
    const char *op = "glu_backward";
    expect(op, "dy", dy, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    expect(op, "gate_up", gate_up, (struct expected){type_of(dy), 2, {dy.dims[0], 2 * dy.dims[1]}});
    expect(op, "dgate_up", dgate_up, (struct expected){type_of(dy), 2, {dy.dims[0], 2 * dy.dims[1]}});
    struct call call = begin(dev, OP_GLU, op, 0);
    dev->ops->glu_backward(dev, dgate_up, dy, gate_up, gate);
    end(call);
    scan(dev, op, "dgate_up", dgate_up);
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
          expected_text(&want, want_text, sizeof want_text));
}

void op_add(struct device *dev, struct tensor y, struct tensor a, struct tensor b) {
    const char *op = "add";
    expect_type(op, "y", y, ACTIVATION);
    expect_type(op, "a", a, ACTIVATION);
    expect_type(op, "b", b, ACTIVATION);
    expect_count(op, "a", a, y);
    expect_count(op, "b", b, y);
    struct call call = begin(dev, OP_ADD, op, 0);
    dev->ops->add(dev, y, a, b);
    end(call);
    scan(dev, op, "y", y);
}

/* expect_columns - of the wide matrix that the narrow one, or the one row, is a part of. */
static void expect_columns(const char *op, struct tensor wide, struct tensor narrow,
                           const struct column_args *args) {
    int64_t num_columns = narrow.dims[narrow.ndim - 1];
    CHECK(args->first >= 0 && args->first <= wide.dims[1] - num_columns,
          "%s: columns %lld to %lld of a matrix that has %lld", op, (long long)args->first,
          (long long)(args->first + num_columns - 1), (long long)wide.dims[1]);
}

void op_take_columns(struct device *dev, struct tensor y, struct tensor x, const struct column_args *args) {
    const char *op = "take_columns";
    expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    expect(op, "y", y, (struct expected){type_of(x), 2, {x.dims[0], ANY}});
    expect_columns(op, x, y, args);
    struct call call = begin(dev, OP_COLUMNS, op, 0);
    if (x.dims[0])
        dev->ops->take_columns(dev, y, x, args);
    end(call);
    scan(dev, op, "y", y);
}

void op_put_columns(struct device *dev, struct tensor y, struct tensor x, const struct column_args *args) {
    const char *op = "put_columns";
    expect(op, "y", y, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    if (x.ndim == 1)
        expect(op, "x", x, (struct expected){type_of(y), 1, {ANY}});
    else
        expect(op, "x", x, (struct expected){type_of(y), 2, {y.dims[0], ANY}});
    expect_columns(op, y, x, args);
    struct call call = begin(dev, OP_COLUMNS, op, 0);
    if (y.dims[0])
        dev->ops->put_columns(dev, y, x, args);
    end(call);
    scan(dev, op, "y", y);
}

void op_column_sums(struct device *dev, struct tensor dw, struct tensor dy) {
    const char *op = "column_sums";
    expect(op, "dy", dy, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    expect(op, "dw", dw, (struct expected){F32, 1, {dy.dims[1]}});
    struct call call = begin(dev, OP_COLUMNS, op, 0);
    if (dy.dims[0])
        dev->ops->column_sums(dev, dw, dy);
    end(call);
    scan(dev, op, "dw", dw);
}

void op_axpby(struct device *dev, struct tensor y, struct tensor x, float a, float b) {
    const char *op = "axpby";
    expect_type(op, "y", y, ACTIVATION);
    expect_type(op, "x", x, y.dtype == DTYPE_F32 ? ACTIVATION : F32 | type_of(y));
    expect_count(op, "x", x, y);
    struct call call = begin(dev, OP_ADD, op, 0);
    dev->ops->axpby(dev, y, x, a, b);
    end(call);
    scan(dev, op, "y", y);
}

void op_cross_entropy(struct device *dev, struct tensor losses, struct tensor dlogits, struct tensor logits,
                      struct tensor targets, struct tensor weights, float grad_scale) {
    const char *op = "cross_entropy";
    expect(op, "logits", logits, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    if (grad_scale != 0)
        expect(op, "dlogits", dlogits, (struct expected){ACTIVATION, 2, {logits.dims[0], logits.dims[1]}});
    CHECK(grad_scale == 0 || dlogits.data != logits.data || dlogits.dtype == logits.dtype,
          "%s: a %s gradient in place of %s logits", op, dtype_name(dlogits.dtype), dtype_name(logits.dtype));
    expect(op, "losses", losses, (struct expected){F32, 1, {logits.dims[0]}});
    expect(op, "targets", targets, (struct expected){I32, 1, {logits.dims[0]}});
    expect(op, "weights", weights, (struct expected){F32, 1, {logits.dims[0]}});
    /* Not expect_ids: a row without weight may carry any target (-100 by custom). */
    for (int64_t i = 0; dev->ops->host_memory && i < logits.dims[0]; i++) {
        int32_t target = ((const int32_t *)targets.data)[i];
        CHECK(((const float *)weights.data)[i] == 0 || (target >= 0 && target < logits.dims[1]),
              "%s: targets[%lld] is %d, expected 0 to %lld", op, (long long)i, target,
              (long long)logits.dims[1] - 1);
    }
    struct call call = begin(dev, OP_CROSS_ENTROPY, op, 0);
    dev->ops->cross_entropy(dev, losses, dlogits, logits, targets, weights, grad_scale);
    end(call);
    scan(dev, op, "losses", losses);
}

void op_adamw(struct device *dev, struct tensor w, struct tensor m, struct tensor v, struct tensor copy,
              struct tensor dw, const struct adamw_args *args) {
    const char *op = "adamw";
    struct expected flat = {F32, 1, {w.dims[0]}};
    expect(op, "w", w, flat);
    expect(op, "m", m, (struct expected){F32 | BF16, 1, {w.dims[0]}});
    expect(op, "v", v, (struct expected){type_of(m), 1, {w.dims[0]}});
    expect(op, "dw", dw, flat);
    if (copy.data)
        expect(op, "copy", copy, (struct expected){BF16 | F16, 1, {w.dims[0]}});
    CHECK(args->step >= 1, "adamw: step is %lld, expected 1 for the first update", (long long)args->step);
    struct call call = begin(dev, OP_UPDATE, op, 0);
    dev->ops->adamw(dev, w, m, v, copy, dw, args);
    end(call);
    scan(dev, op, "w", w);
}

double op_sum_squares(struct device *dev, struct tensor x) {
    const char *op = "sum_squares";
    expect_type(op, "x", x, ACTIVATION);
    struct call call = begin(dev, OP_UPDATE, op, 0);
    double sum = dev->ops->sum_squares(dev, x);
    end(call);
    return sum;
}

void op_cast(struct device *dev, struct tensor y, struct tensor x) {
    const char *op = "cast";
    expect_type(op, "y", y, ACTIVATION);
    expect_type(op, "x", x, ACTIVATION);
    expect_count(op, "y", y, x);
    struct call call = begin(dev, OP_CAST, op, 0);
    dev->ops->cast(dev, y, x);
    end(call);
    scan(dev, op, "y", y);
}
