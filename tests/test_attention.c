/* test_attention.c - attention against a plain f64 version (attention_reference.h), whose gradient is itself held
 * against central differences; gradients turned back by their positions; decoding with a cache.  test_attention_mask.c has
 * what the mask promises. */
#include "kernels/cpu/cpu.h"
#include "tests/attention_problems.h"

static double *doubles(int64_t count) {
    return xcalloc((size_t)count, sizeof(double));
}

/* test_reference - the f64 gradient against central differences of the f64 forward. */
static void test_reference(struct setting s) {
    static const int small[] = {1, 2, SMALL_CAPPED, SMALL_CAPPED + 1, SMALL_CAPPED + 2};
    const double step = 1e-5;
    for (size_t k = 0; k < sizeof small / sizeof small[0]; k++) {
        int n = small[k];
        struct attention_data d = attention_make((struct setting){s.dev, DTYPE_F32}, &PROBLEMS[n]);
        int64_t count = tensor_count(d.qkv.t), out_count = tensor_count(d.out.t);
        double *got = doubles(count), *out = doubles(out_count), *lse = doubles(tensor_count(d.lse.t));
        reference_forward(out, lse, d.qkv.exact, d.seen, &PROBLEMS[n]);
        reference_backward(got, d.dout.exact, out, d.qkv.exact, d.seen, &PROBLEMS[n]);
        for (int64_t i = 0; i < count; i++) {
            double loss[2], kept = d.qkv.exact[i];
            for (int side = 0; side < 2; side++) {
                d.qkv.exact[i] = kept + (side ? step : -step);
                reference_forward(out, lse, d.qkv.exact, d.seen, &PROBLEMS[n]);
                loss[side] = dot(out, d.dout.exact, out_count);
            }
            d.qkv.exact[i] = kept;
            double want = (loss[1] - loss[0]) / (2 * step);
            assert_true(fabs(got[i] - want) <= 1e-7 * (1 + fabs(want)));
            assert_false(fabs(got[i] + 1e-4 - want) <= 1e-7 * (1 + fabs(want)));
        }
        free(got), free(out), free(lse);
        attention_free(d);
    }
}

static void test_forward_backward(struct setting s) {
    for (int n = 0; n < NUM_PROBLEMS; n++) {
        const struct problem *p = &PROBLEMS[n];
        struct attention_data d = attention_make(s, p);
        double *out = doubles(tensor_count(d.out.t)), *lse = doubles(tensor_count(d.lse.t));
        double *dqkv = doubles(tensor_count(d.qkv.t));
        reference_forward(out, lse, d.qkv.exact, d.seen, p);
        forward(s, p, d);
        data_refresh(d.out);
        reference_backward(dqkv, d.dout.exact, d.out.exact, d.qkv.exact, d.seen, p);
        /* huge scores: f32 rounds them */
        assert_within(d.out, out, out_tolerance(d.out, p, p->args.scale < 1 ? 5e-6 : 5e-5));
        assert_matches(d.lse, lse, 1e-6);
        backward(s, p, d);
        assert_within(d.dqkv, dqkv, gradient_tolerance(d.dqkv, p->args.scale < 1 ? 1e-5 : 3e-4));
        free(out), free(lse), free(dqkv);
        attention_free(d);
    }
}

/* Every width that has kernels of its own, and two that have none; odd lengths. */
static const int64_t ROTATED_DOCUMENTS[] = {3, 40, 24, 0};
static const struct problem ROTATED[] = {
    {67, {4, 2, 64, 0.125f, 0, 0}, ROTATED_DOCUMENTS, 0, ITSELF},
    {67, {2, 2, 80, 0.1118f, 0, 0}, ROTATED_DOCUMENTS, 0, ITSELF},
    {67, {3, 1, 96, 0.1021f, 0, 0}, ROTATED_DOCUMENTS, 0, ITSELF},
    {67, {2, 2, 128, 0.0884f, 0, 0}, ROTATED_DOCUMENTS, 0, ITSELF},
    {35, {2, 1, 192, 0.0722f, 0, 0}, NULL, 0, ITSELF},
    {35, {2, 2, 256, 0.0625f, 0, 0}, NULL, 0, ITSELF},
    {67, {4, 2, 18, 0.2357f, 0, 0}, ROTATED_DOCUMENTS, 0, ITSELF},
    {7, {2, 1, 4, 0.5f, 1.5f, 0}, NULL, 0, ITSELF},
};

static void backward_turned(struct setting s, const struct problem *p, struct attention_data d,
                            const struct rotation *rotation) {
    op_attention_backward(s.dev, d.dqkv.t, d.dout.t, d.out.t, d.lse.t, d.qkv.t, &d.mask, &p->args, rotation);
}

/* turned_back - a copy of the gradient with the first heads of every row through the inverse rotation, in
 * f64. */
static double *turned_back(const double *dqkv, struct tensor like, struct rotation_data r,
                           enum rope_layout layout) {
    int64_t count = tensor_count(like), width = like.dims[2], half = r.rotation.cos.dims[1];
    double *to = doubles(count);
    memcpy(to, dqkv, (size_t)count * sizeof(double));
    for (int64_t i = 0; i < like.dims[0] * r.rotation.num_rotated * half; i++) {
        int64_t row = i / (r.rotation.num_rotated * half), head = i / half % r.rotation.num_rotated,
                pair = i % half;
        double *at = to + (row * like.dims[1] + head) * width;
        double *first = at + (layout == ROPE_HALVES ? pair : 2 * pair);
        double *second = layout == ROPE_HALVES ? first + half : first + 1;
        int64_t angle = (int64_t)r.positions.exact[row] * half + pair;
        double a = *first, b = *second, c = r.cos.exact[angle], sine = r.sin.exact[angle];
        *first = a * c + b * sine;
        *second = b * c - a * sine;
    }
    return to;
}

/* turned_tolerance - the CPU rounds to 16 bits before it turns and after, and so does a GPU where a part of a head turns. */
static struct tolerance turned_tolerance(struct data d, bool part) {
    struct tolerance tolerance = gradient_tolerance(d, 1e-5);
    if (d.t.dtype != DTYPE_F32 && (d.dev->ops->host_memory || part)) {
        tolerance.element *= 2;
        tolerance.mean *= 1.5;
    }
    return tolerance;
}

/* differs - the tensor does not hold `other`. */
static bool differs(struct data d, const double *other, struct tolerance tolerance) {
    int64_t where;
    data_refresh(d);
    return worst_ratio(d.exact, other, tensor_count(d.t), tolerance, &where) > 1;
}

/* unknown_positions - of two rows: their dq and dk become NaN, and nothing else changes.  Where the front
 * door cannot see them; d holds the gradient by the right positions. */
static void unknown_positions(struct setting s, const struct problem *p, struct attention_data d,
                              struct rotation_data r) {
    enum { TOO_LARGE = 4, NEGATIVE = 6 };
    int64_t width = p->args.head_dim, heads = d.dqkv.t.dims[1];
    struct data before = data_copy(d.dqkv);
    data_refresh(before);
    data_set(r.positions, TOO_LARGE, NUM_POSITIONS);
    data_set(r.positions, NEGATIVE, -1);
    backward_turned(s, p, d, &r.rotation);
    data_refresh(d.dqkv);
    for (int64_t i = 0; i < tensor_count(d.dqkv.t); i++) {
        int64_t row = i / (heads * width), head = i / width % heads;
        bool turns = head < r.rotation.num_rotated && i % width < 2 * r.rotation.cos.dims[1];
        bool lost = (row == TOO_LARGE || row == NEGATIVE) && turns;
        assert_true(lost ? isnan(d.dqkv.exact[i]) : d.dqkv.exact[i] == before.exact[i]);
    }
    data_free(before);
}

/* rotation_case - number: which layout, and whether whole heads turn or their first half.  dqkv: the f64 gradient of what
 * was turned.  The other layout (of one pair there is one) and no rotation at all are noticed. */
static void rotation_case(struct setting s, const struct problem *p, struct attention_data d,
                          const double *dqkv, int number) {
    enum rope_layout layout = number % 2 ? ROPE_PAIRS : ROPE_HALVES;
    bool part = number / 2;
    int64_t half = p->args.head_dim / (part ? 4 : 2);
    struct tolerance tolerance = turned_tolerance(d.dqkv, part);
    struct rotation_data r = rotation_make(s, p, layout, half);
    double *want = turned_back(dqkv, d.dqkv.t, r, layout);
    double *other = turned_back(dqkv, d.dqkv.t, r, layout == ROPE_HALVES ? ROPE_PAIRS : ROPE_HALVES);
    backward_turned(s, p, d, &r.rotation);
    assert_within(d.dqkv, want, tolerance);
    assert_true(differs(d.dqkv, dqkv, tolerance) && (half == 1 || differs(d.dqkv, other, tolerance)));
    if (!s.dev->ops->host_memory && layout == ROPE_PAIRS)
        unknown_positions(s, p, d, r);
    free(want), free(other);
    rotation_free(r);
}

/* test_rotation - the gradient against the f64 one turned back in f64. */
static void test_rotation(struct setting s) {
    for (size_t n = 0; n < sizeof ROTATED / sizeof ROTATED[0]; n++) {
        const struct problem *p = &ROTATED[n];
        struct attention_data d = attention_make(s, p);
        double *dqkv = doubles(tensor_count(d.qkv.t));
        forward(s, p, d);
        data_refresh(d.out);
        reference_backward(dqkv, d.dout.exact, d.out.exact, d.qkv.exact, d.seen, p);
        for (int i = 0; i < 4; i++)
            rotation_case(s, p, d, dqkv, i);
        free(dqkv);
        attention_free(d);
    }
}

/* test_softcap - a cap far above all scores changes next to nothing, one among them changes much.  In 16-bit
 * types a GPU may take a fast tanh, good to 1e-6 of the cap. */
static void test_softcap(struct setting s) {
    struct problem p = {65, {4, 2, 64, 0.125f, 0, 0}, NULL, 0, ITSELF};
    struct attention_data d = attention_make(s, &p);
    double *out = doubles(tensor_count(d.out.t)), *lse = doubles(tensor_count(d.lse.t));
    reference_forward(out, lse, d.qkv.exact, d.seen, &p);
    bool fast = !s.dev->ops->host_memory && s.dtype != DTYPE_F32;
    p.args.softcap = fast ? 1e3f : 1e4f;
    forward(s, &p, d);
    assert_matches(d.out, out, 5e-6);
    assert_matches(d.lse, lse, fast ? 1e-4 : 1e-6);
    p.args.softcap = 1;
    forward(s, &p, d);
    double moved = 0;
    for (int64_t i = 0; i < tensor_count(d.lse.t); i++)
        moved = fmax(moved, fabs(data_get(d.lse, i) - lse[i]));
    assert_true(moved > 0.1);
    free(out), free(lse);
    attention_free(d);
}

/* cached_with - prefill in parts [until 0], then token by token, against the whole sequence at once. */
static void cached_with(struct setting s, const int64_t *parts, int64_t num_rows, float softcap) {
    const struct problem p = {num_rows, {4, 2, 16, 0.25f, softcap, 0}, NULL, 0, ITSELF};
    struct attention_data d = attention_make(s, &p);
    struct data k = data_random(s.dev, tensor_3d(NULL, s.dtype, p.num_rows + 2, 2, 16), 8),
                v = data_random(s.dev, k.t, 9);
    struct data out = data_zero(s.dev, d.out.t), sums = data_output(s.dev, d.lse.t);
    double *want = doubles(tensor_count(d.out.t)), *lse = doubles(tensor_count(d.lse.t));
    int64_t past = 0;
    reference_forward(want, lse, d.qkv.exact, d.seen, &p);
    for (const int64_t *part = parts; *part; past += *part++)
        op_attention_cached(s.dev, tensor_rows(out.t, past, *part), tensor_rows(sums.t, past, *part),
                            tensor_rows(d.qkv.t, past, *part), k.t, v.t, past, &p.args);
    assert_int_equal(past, p.num_rows);
    assert_matches(out, want, 2e-6);
    assert_matches(sums, lse, 1e-6);
    data_refresh(out);
    data_set(k, 5, k.exact[5] + 1); /* a past key changed: the last token must notice */
    op_attention_cached(s.dev, tensor_rows(out.t, past - 1, 1), tensor_rows(sums.t, past - 1, 1),
                        tensor_rows(d.qkv.t, past - 1, 1), k.t, v.t, past - 1, &p.args);
    struct data last = rows_of(out, past - 1, 1);
    double moved = 0;
    for (int64_t i = 0; i < tensor_count(last.t); i++)
        moved += fabs(data_get(last, i) - last.exact[i]);
    assert_true(moved > 1e-3);
    free(want), free(lse);
    data_free(k), data_free(v), data_free(out), data_free(sums);
    attention_free(d);
}

/* The second ends and begins its parts inside of blocks of keys, and has queries that see several blocks. */
static void test_cached(struct setting s) {
    static const int64_t one_by_one[] = {1, 64, 3, 1, 1, 0}, in_blocks[] = {70, 129, 1, 15, 16, 0};
    cached_with(s, one_by_one, 70, 0);
    cached_with(s, one_by_one, 70, 1.5f);
    cached_with(s, in_blocks, 231, 0);
    cached_with(s, in_blocks, 231, 1.5f);
}

/* test_block_gemm - each version that this processor runs, a plain and transposed. */
static void test_block_gemm(struct setting s) {
    enum { DEPTH = 37, COLS = 96 };
    if (!s.dev->ops->host_memory)
        skip(); /* private to the CPU device */
    struct data a = data_random(s.dev, tensor_2d(NULL, DTYPE_F32, BLOCK, DEPTH), 1);
    struct data b = data_random(s.dev, tensor_2d(NULL, DTYPE_F32, DEPTH, COLS), 2);
    for (int version = 0; version < BLOCK_GEMM_VERSIONS; version++)
        for (int run = 0; run < 4; run++) {
            block_gemm_fn *gemm = block_gemm_version(version);
            struct data c = data_random(s.dev, tensor_2d(NULL, DTYPE_F32, BLOCK, COLS), 3);
            bool transposed = run & 1, accumulate = run & 2;
            int a_row = transposed ? 1 : DEPTH, a_col = transposed ? BLOCK : 1;
            for (int64_t i = 0; i < BLOCK * COLS; i++) {
                c.exact[i] = accumulate ? c.exact[i] : 0;
                for (int64_t p = 0; p < DEPTH; p++)
                    c.exact[i] += a.exact[i / COLS * a_row + p * a_col] * b.exact[p * COLS + i % COLS];
            }
            if (gemm) {
                gemm(&(struct block_product){c.t.data, a.t.data, b.t.data, a_row, a_col, DEPTH, COLS,
                                             accumulate ? OP_ACCUMULATE : OP_OVERWRITE});
                assert_matches(c, c.exact, 2e-6);
            }
            data_free(c);
        }
    data_free(a), data_free(b);
}

/* put_pairs - of a [rows, 2 n] of bf16 the pairs of neighbours [rows, n], or by columns. */
static void put_pairs(uint32_t *to, struct data a, bool by_columns) {
    int64_t rows = a.t.dims[0], pairs = a.t.dims[1] / 2;
    for (int64_t i = 0; i < rows * pairs; i++) {
        int64_t at = by_columns ? i % rows * pairs + i / rows : i;
        to[i] = bf16_from_f32((float)a.exact[2 * at]) | (uint32_t)bf16_from_f32((float)a.exact[2 * at + 1])
                                                            << 16;
    }
}

/* test_block_gemm_pairs - a plain and transposed, against f64 of the same bf16 numbers. */
static void test_block_gemm_pairs(struct setting s) {
    enum { PAIRS = 37, COLS = 96 };
    static uint32_t a_pairs[BLOCK * PAIRS], b_pairs[COLS * PAIRS];
    block_gemm_fn *gemm = block_gemm_pairs();
    if (!s.dev->ops->host_memory || !gemm || s.dtype != DTYPE_BF16)
        skip(); /* private to the CPU device, and not of every processor */
    struct data a = data_random(s.dev, tensor_2d(NULL, DTYPE_BF16, BLOCK, 2 * PAIRS), 1);
    struct data b = data_random(s.dev, tensor_2d(NULL, DTYPE_BF16, COLS, 2 * PAIRS), 2);
    put_pairs(b_pairs, b, true);
    for (int run = 0; run < 4; run++) {
        struct data c = data_random(s.dev, tensor_2d(NULL, DTYPE_F32, BLOCK, COLS), 3);
        bool transposed = run & 1, accumulate = run & 2;
        put_pairs(a_pairs, a, transposed);
        for (int64_t i = 0; i < BLOCK * COLS; i++) {
            c.exact[i] = accumulate ? c.exact[i] : 0;
            for (int64_t p = 0; p < 2 * PAIRS; p++)
                c.exact[i] += a.exact[i / COLS * 2 * PAIRS + p] * b.exact[i % COLS * 2 * PAIRS + p];
        }
        struct block_product product = {c.t.data,
                                        a_pairs,
                                        b_pairs,
                                        transposed ? 1 : PAIRS,
                                        transposed ? BLOCK : 1,
                                        PAIRS,
                                        COLS,
                                        accumulate ? OP_ACCUMULATE : OP_OVERWRITE};
        gemm(&product);
        assert_matches(c, c.exact, 2e-6);
        data_free(c);
    }
    data_free(a), data_free(b);
}

static const struct op_case CASES[] = {
    {"reference", test_reference},
    {"forward_backward", test_forward_backward},
    {"rotation", test_rotation},
    {"softcap", test_softcap},
    {"cached", test_cached},
    {"block_gemm", test_block_gemm},
    {"block_gemm_pairs", test_block_gemm_pairs},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
