/* ops_attention.c - the front door of QK-norm, rotation and attention.  Attention's flops are those of its products over the scores
 * that the mask lets through. */
#include "kernels/ops_check.h"

/* expect_rotation - of the rows of qkv (or of its gradient), whose shape was looked at. */
static void expect_rotation(struct device *dev, const char *op, struct tensor qkv,
                            const struct rotation *rotation) {
    int64_t half = rotation->cos.ndim == 2 ? rotation->cos.dims[1] : 0;
    CHECK(qkv.dims[2] % 2 == 0, "%s: head width is %lld, expected an even number", op,
          (long long)qkv.dims[2]);
    CHECK(rotation->layout == ROPE_HALVES || rotation->layout == ROPE_PAIRS, "%s: layout %d", op,
          (int)rotation->layout);
    CHECK(half > 0 && 2 * half <= qkv.dims[2], "%s: cos has %lld columns, expected 1 to %lld", op,
          (long long)half, (long long)qkv.dims[2] / 2);
    /* cos and sin cover the longest document, not the micro-batch: their rows are positions. */
    op_expect(op, "cos", rotation->cos, (struct expected){F32, 2, {ANY, half}});
    op_expect(op, "sin", rotation->sin, (struct expected){F32, 2, {rotation->cos.dims[0], half}});
    op_expect(op, "positions", rotation->positions, (struct expected){I32, 1, {qkv.dims[0]}});
    op_expect_ids(dev, op, "positions", rotation->positions, rotation->cos.dims[0]);
    CHECK(rotation->num_rotated >= 0 && rotation->num_rotated <= qkv.dims[1],
          "%s: %d heads to rotate of %lld", op, rotation->num_rotated, (long long)qkv.dims[1]);
}

void op_rope_forward(struct device *dev, struct tensor qkv, const struct rotation *rotation) {
    const char *op = "rope_forward";
    op_expect(op, "qkv", qkv, (struct expected){ACTIVATION, 3, {ANY, ANY, ANY}});
    expect_rotation(dev, op, qkv, rotation);
    struct op_call call = op_call_begin(dev, OP_ROPE, op, 0);
    dev->ops->rope_forward(dev, qkv, rotation);
    op_call_end(call);
    op_scan(dev, op, "qkv", qkv);
}

/* expect_qk_norm - one of the two norms; how many a row has of it: one for each head, or one for all. */
static int64_t expect_qk_norm(const char *op, const char *argument, const struct norm *norm,
                              int64_t num_heads, int64_t head_dim) {
    CHECK(norm->kind == NORM_RMS || norm->kind == NORM_RMS_ONCE, "%s: %s: kind %d", op, argument,
          (int)norm->kind);
    CHECK(norm->kind != NORM_RMS || norm->offset == 0,
          "%s: an offset of %g, which rows rounded before it do not take", op, (double)norm->offset);
    CHECK(!norm->bias.data, "%s: %s: a bias, which is LayerNorm's alone", op, argument);
    op_expect(op, argument, norm->w, (struct expected){ACTIVATION, 1, {ANY}});
    CHECK(norm->w.dims[0] == head_dim || norm->w.dims[0] == num_heads * head_dim,
          "%s: %s has %lld values, expected %lld or %lld times as many", op, argument,
          (long long)norm->w.dims[0], (long long)head_dim, (long long)num_heads);
    return num_heads * head_dim / norm->w.dims[0];
}

/* expect_qk_norms - of qkv (or its gradient), and what is kept of the forward. */
static void expect_qk_norms(const char *op, struct tensor qkv, struct tensor raw, struct tensor rstd,
                            const struct qk_norms *norms) {
    int64_t heads = norms->num_heads, kv_heads = norms->num_kv_heads;
    const struct norm *query = &norms->query, *key = &norms->key;
    op_expect(op, "qkv", qkv, (struct expected){ACTIVATION, 3, {ANY, ANY, ANY}});
    CHECK(heads > 0 && kv_heads > 0 && heads + kv_heads <= qkv.dims[1],
          "%s: %lld query and %lld key heads of %lld", op, (long long)heads, (long long)kv_heads,
          (long long)qkv.dims[1]);
    op_expect(op, "raw", raw,
              (struct expected){op_type_of(qkv), 3, {qkv.dims[0], heads + kv_heads, qkv.dims[2]}});
    int64_t num_norms = expect_qk_norm(op, "the queries' weight", query, heads, qkv.dims[2]) +
                        expect_qk_norm(op, "the keys' weight", key, kv_heads, qkv.dims[2]);
    op_expect(op, "rstd", rstd, (struct expected){F32, 2, {qkv.dims[0], num_norms}});
    CHECK(!query->largest && !key->largest, "%s: the largest magnitude of heads, which it does not find", op);
    CHECK(query->kind == key->kind && query->eps == key->eps && query->offset == key->offset,
          "%s: queries and keys are not normalised in one way", op);
}

void op_qk_norm_forward(struct device *dev, struct tensor qkv, struct tensor raw, struct tensor rstd,
                        const struct qk_norms *norms, const struct rotation *rotation) {
    const char *op = "qk_norm_forward";
    expect_qk_norms(op, qkv, raw, rstd, norms);
    if (rotation) {
        expect_rotation(dev, op, qkv, rotation);
        CHECK(rotation->num_rotated == norms->num_heads + norms->num_kv_heads,
              "%s: %d heads to rotate of %lld", op, rotation->num_rotated, (long long)raw.dims[1]);
    }
    struct op_call call = op_call_begin(dev, OP_NORM, op, 0);
    dev->ops->qk_norm_forward(dev, qkv, raw, rstd, norms, rotation);
    op_call_end(call);
    op_scan(dev, op, "qkv", qkv);
}

void op_qk_norm_backward(struct device *dev, struct tensor dqkv, struct qk_norm_grad dw, struct tensor raw,
                         struct tensor rstd, const struct qk_norms *norms) {
    const char *op = "qk_norm_backward";
    expect_qk_norms(op, dqkv, raw, rstd, norms);
    if (dw.query.data)
        op_expect(op, "dw.query", dw.query, (struct expected){F32, 1, {norms->query.w.dims[0]}});
    if (dw.key.data)
        op_expect(op, "dw.key", dw.key, (struct expected){F32, 1, {norms->key.w.dims[0]}});
    struct op_call call = op_call_begin(dev, OP_NORM, op, 0);
    dev->ops->qk_norm_backward(dev, dqkv, dw, raw, rstd, norms);
    op_call_end(call);
    op_scan(dev, op, "dqkv", dqkv);
}

/* expect_heads - the sizes of an attention op and its fused input [N, H + 2 G, D]. */
static void expect_heads(const char *op, struct tensor qkv, const struct attention_args *args) {
    int heads = args->num_heads, kv_heads = args->num_kv_heads;
    CHECK(heads > 0 && kv_heads > 0 && heads % kv_heads == 0 && args->head_dim > 0,
          "%s: %d query heads and %d kv heads of width %d", op, heads, kv_heads, args->head_dim);
    op_expect(op, "qkv", qkv, (struct expected){ACTIVATION, 3, {ANY, heads + 2 * kv_heads, args->head_dim}});
}

/* expect_rising - values[i] of a mask: at least the one before and `least` (NULL: 0), at most `most` or, where that is -1,
 * the row itself. */
static void expect_rising(const char *op, const char *argument, const int32_t *values, int64_t i,
                          const int32_t *least, int64_t most) {
    int64_t low = least ? least[i] : 0, high = most < 0 ? i : most;
    if (i && values[i - 1] > low)
        low = values[i - 1];
    CHECK(values[i] >= low && values[i] <= high, "%s: %s[%lld] is %d, expected %lld to %lld", op, argument,
          (long long)i, values[i], (long long)low, (long long)high);
}

/* attended - check the mask; how many (query, key) pairs it lets through.  Without access to the values: what
 * the caller says. */
static double attended(struct device *dev, const char *op, const struct attention_mask *mask,
                       int64_t num_rows, const struct attention_args *args) {
    const int32_t *first = mask->first_key.data, *last = mask->last_key.data;
    op_expect(op, "first_key", mask->first_key, (struct expected){I32, 1, {num_rows}});
    CHECK(mask->run_of == 0 ? mask->run_first == 0
                            : mask->run_first >= 0 && mask->run_first % ATTENTION_RUN_ROWS == 0 &&
                                  num_rows <= mask->run_of - mask->run_first,
          "%s: %lld rows from row %lld of %lld on", op, (long long)num_rows, (long long)mask->run_first,
          (long long)mask->run_of);
    if (last)
        op_expect(op, "last_key", mask->last_key, (struct expected){I32, 1, {num_rows}});
    if (!dev->ops->host_memory)
        return (double)args->num_pairs;
    double pairs = 0;
    for (int64_t i = 0; i < num_rows; i++) {
        expect_rising(op, "first_key", first, i, NULL, last ? num_rows - 1 : -1);
        if (last)
            expect_rising(op, "last_key", last, i, first, num_rows - 1);
        pairs += (double)((last ? last[i] : i) - first[i] + 1);
    }
    return pairs;
}

/* Two lists of rows for the keys; three of tiles of 64 rows or more, of three numbers each; all of them begin at multiples of
 * PLAN_UNIT elements, and the lists of tiles have as many before them. */
int64_t attention_plan_count(int64_t num_rows) {
    enum { PLAN_UNIT = 64, LEAST_ROWS = 64 };
    int64_t rows = (num_rows + PLAN_UNIT - 1) / PLAN_UNIT * PLAN_UNIT;
    int64_t tiles = (num_rows + LEAST_ROWS - 1) / LEAST_ROWS;
    return 2 * rows + 3 * (PLAN_UNIT + (3 * tiles + PLAN_UNIT - 1) / PLAN_UNIT * PLAN_UNIT);
}

void op_attention_plan(struct device *dev, struct attention_mask *mask, const struct attention_args *args) {
    const char *op = "attention_plan";
    int64_t num_rows = mask->first_key.dims[0];
    if (!dev->ops->attention_plan)
        mask->plan.memory.data = NULL;
    if (!mask->plan.memory.data || num_rows == 0)
        return;
    op_expect(op, "first_key", mask->first_key, (struct expected){I32, 1, {num_rows}});
    op_expect(op, "the plan", mask->plan.memory, (struct expected){I32, 1, {ANY}});
    CHECK(mask->plan.memory.dims[0] >= attention_plan_count(num_rows), "%s: room for %lld numbers, not %lld",
          op, (long long)mask->plan.memory.dims[0], (long long)attention_plan_count(num_rows));
    mask->plan.head_dim = args->head_dim;
    mask->plan.capped = args->softcap > 0;
    struct op_call call = op_call_begin(dev, OP_ATTENTION, op, 0);
    dev->ops->attention_plan(dev, mask, args);
    op_call_end(call);
}

/* attention_flops - q k^T and p v of each head: 4 D per pair. */
static double attention_flops(double pairs, const struct attention_args *args) {
    return 4.0 * pairs * (double)args->head_dim * (double)args->num_heads;
}

void op_attention_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                          const struct attention_mask *mask, const struct attention_args *args) {
    const char *op = "attention_forward";
    expect_heads(op, qkv, args);
    op_expect(op, "out", out,
              (struct expected){op_type_of(qkv), 3, {qkv.dims[0], args->num_heads, args->head_dim}});
    op_expect(op, "lse", lse, (struct expected){F32, 2, {qkv.dims[0], args->num_heads}});
    double pairs = attended(dev, op, mask, qkv.dims[0], args);
    struct op_call call = op_call_begin(dev, OP_ATTENTION, op, attention_flops(pairs, args));
    if (qkv.dims[0])
        dev->ops->attention_forward(dev, out, lse, qkv, mask, args);
    op_call_end(call);
    op_scan(dev, op, "out", out);
}

/* 2.5 times the flops of the forward: five products of the same size where that has two (Dao 2023, section 4.1). */
void op_attention_backward(struct device *dev, struct tensor dqkv, struct tensor dout, struct tensor out,
                           struct tensor lse, struct tensor qkv, const struct attention_mask *mask,
                           const struct attention_args *args, const struct rotation *rotation) {
    const char *op = "attention_backward";
    struct expected heads = {op_type_of(qkv), 3, {qkv.dims[0], args->num_heads, args->head_dim}};
    expect_heads(op, qkv, args);
    op_expect(op, "dqkv", dqkv,
              (struct expected){op_type_of(qkv), 3, {qkv.dims[0], qkv.dims[1], qkv.dims[2]}});
    op_expect(op, "dout", dout, heads);
    op_expect(op, "out", out, heads);
    op_expect(op, "lse", lse, (struct expected){F32, 2, {qkv.dims[0], args->num_heads}});
    if (rotation) {
        expect_rotation(dev, op, qkv, rotation);
        CHECK(rotation->num_rotated == args->num_heads + args->num_kv_heads,
              "%s: %d heads to rotate, expected %d query and %d key heads", op, rotation->num_rotated,
              args->num_heads, args->num_kv_heads);
    }
    double pairs = attended(dev, op, mask, qkv.dims[0], args);
    struct op_call call = op_call_begin(dev, OP_ATTENTION, op, 2.5 * attention_flops(pairs, args));
    if (qkv.dims[0])
        dev->ops->attention_backward(dev, dqkv, dout, out, lse, qkv, mask, args, rotation);
    op_call_end(call);
    op_scan(dev, op, "dqkv", dqkv);
}

/* New token i sees past + i + 1 rows: their sum is what the count of pairs is. */
void op_attention_cached(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                         struct tensor k_cache, struct tensor v_cache, int64_t past,
                         const struct attention_args *args) {
    const char *op = "attention_cached";
    int64_t num_rows = qkv.dims[0];
    struct expected cache = {op_type_of(qkv), 3, {ANY, args->num_kv_heads, args->head_dim}};
    expect_heads(op, qkv, args);
    op_expect(op, "out", out,
              (struct expected){op_type_of(qkv), 3, {num_rows, args->num_heads, args->head_dim}});
    op_expect(op, "lse", lse, (struct expected){F32, 2, {num_rows, args->num_heads}});
    op_expect(op, "k_cache", k_cache, cache);
    cache.dims[0] = k_cache.dims[0];
    op_expect(op, "v_cache", v_cache, cache);
    CHECK(past >= 0 && past <= k_cache.dims[0] - num_rows,
          "%s: %lld past and %lld new tokens in a cache of %lld", op, (long long)past, (long long)num_rows,
          (long long)k_cache.dims[0]);
    double pairs = (double)num_rows * ((double)past + 0.5 * (double)(num_rows + 1));
    struct op_call call = op_call_begin(dev, OP_ATTENTION, op, attention_flops(pairs, args));
    dev->ops->attention_cached(dev, out, lse, qkv, k_cache, v_cache, past, args);
    op_call_end(call);
    op_scan(dev, op, "out", out);
}

/* expect_sinks - of what an attention op computed. */
static void expect_sinks(const char *op, struct tensor out, struct tensor lse, struct tensor s) {
    op_expect(op, "out", out, (struct expected){ACTIVATION, 3, {ANY, ANY, ANY}});
    op_expect(op, "lse", lse, (struct expected){F32, 2, {out.dims[0], out.dims[1]}});
    op_expect(op, "s", s, (struct expected){op_type_of(out), 1, {out.dims[1]}});
}

void op_sinks_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor s) {
    const char *op = "sinks_forward";
    expect_sinks(op, out, lse, s);
    struct op_call call = op_call_begin(dev, OP_ATTENTION, op, 0);
    if (out.dims[0])
        dev->ops->sinks_forward(dev, out, lse, s);
    op_call_end(call);
    op_scan(dev, op, "out", out);
}

void op_sinks_backward(struct device *dev, struct tensor ds, struct tensor dout, struct tensor out,
                       struct tensor lse, struct tensor s) {
    const char *op = "sinks_backward";
    expect_sinks(op, out, lse, s);
    op_expect(op, "dout", dout,
              (struct expected){op_type_of(out), 3, {out.dims[0], out.dims[1], out.dims[2]}});
    op_expect(op, "ds", ds, (struct expected){F32, 1, {out.dims[1]}});
    struct op_call call = op_call_begin(dev, OP_ATTENTION, op, 0);
    if (out.dims[0])
        dev->ops->sinks_backward(dev, ds, dout, out, lse, s);
    op_call_end(call);
    op_scan(dev, op, "ds", ds);
}
