/* test_attention.c - attention against a plain f64 version (attention_reference.h), whose gradient is itself held
 * against central differences; gradients turned back by their positions; what the mask promises (documents,
 * windows, rows that see what comes after them); decoding with a cache. */
#include "kernels/cpu/cpu.h"
#include "tests/rotation_data.h"

static const int64_t SHORT_DOCUMENTS[] = {1, 1, 3, -1, 2, 0},
                     LONG_DOCUMENTS[] = {70, 1, -1, 64, 130, -1, 5, 0};

static const struct problem PROBLEMS[] = {
    {1, {9, 3, 64, 0.125f, 0, 0}, NULL, 0, ITSELF},
    {7, {4, 1, 4, 0.5f, 0, 0}, NULL, 0, ITSELF},
    {7, {8, 8, 16, 0.25f, 0, 0}, SHORT_DOCUMENTS, 0, ITSELF},
    {65, {4, 1, 80, 0.1118f, 0, 0}, NULL, 0, ITSELF},
    {65, {2, 2, 128, 0.0884f, 0, 0}, NULL, 10, ITSELF},
    {270, {9, 3, 64, 0.125f, 0, 0}, LONG_DOCUMENTS, 0, ITSELF},
    {270, {2, 1, 16, 0.25f, 0, 0}, LONG_DOCUMENTS, 33, ITSELF},
    {257, {4, 2, 16, 0.25f, 0, 0}, NULL, 0, ITSELF},
    {257, {2, 1, 4, 0.5f, 0, 0}, NULL, 200, ITSELF},
    {100, {4, 2, 96, 0.1021f, 0, 0}, NULL, 0, ITSELF},
    {150, {4, 2, 128, 0.0884f, 0, 0}, NULL, 70, ITSELF},
    {90, {2, 1, 192, 0.0722f, 0, 0}, NULL, 0, ITSELF},
    {200, {2, 1, 256, 0.0625f, 0, 0}, NULL, 0, ITSELF},
    {130,
     {2, 1, 64, 8.0f, 0, 0},
     NULL,
     0,
     ITSELF}, /* scores in the hundreds: the softmax is nearly a choice */
    {130, {2, 1, 64, 8.0f, 5.0f, 0}, NULL, 0, ITSELF}, /* a soft-cap that they nearly all reach */
    {270, {4, 2, 64, 0.125f, 2.0f, 0}, LONG_DOCUMENTS, 33, ITSELF},
    {7, {4, 2, 4, 0.5f, 1.5f, 0}, SHORT_DOCUMENTS, 0, ITSELF},
    {7, {4, 2, 4, 0.5f, 1.5f, 0}, SHORT_DOCUMENTS, 0, DOCUMENT},
    {7, {2, 1, 4, 0.5f, 0, 0}, NULL, 0, AHEAD},
    /* the last key, at every width that has kernels of its own */
    {270, {9, 3, 64, 0.125f, 0, 0}, LONG_DOCUMENTS, 0, DOCUMENT},
    {257, {4, 2, 64, 0.125f, 2.0f, 0}, NULL, 0, BLOCKS},
    {270, {2, 1, 80, 0.1118f, 0, 0}, LONG_DOCUMENTS, 33, BLOCKS},
    {200, {2, 1, 96, 0.1021f, 0, 0}, NULL, 0, DOCUMENT},
    {257, {2, 1, 128, 0.0884f, 0, 0}, NULL, 0, BEHIND},
    {257, {2, 1, 128, 0.0884f, 2.0f, 0}, NULL, 0, AHEAD},
    {150, {2, 1, 192, 0.0722f, 0, 0}, NULL, 70, BLOCKS},
    {130, {2, 1, 256, 0.0625f, 2.0f, 0}, NULL, 0, DOCUMENT},
    {130, {2, 1, 16, 0.25f, 0, 0}, NULL, 0, AHEAD},
};
enum {
    NUM_PROBLEMS = sizeof PROBLEMS / sizeof PROBLEMS[0],
    PACKED = 5,
    LONG = 7,
    SMALL_CAPPED = 16, /* and two small ones after it */
    PACKED_BOTH_WAYS = 19,
    IN_BLOCKS = 20
};

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

/* rows_of - a view of some rows as data of its own (nothing to free). */
static struct data rows_of(struct data d, int64_t first, int64_t count) {
    int64_t row_count = tensor_count(d.t) / d.t.dims[0];
    return (struct data){d.dev, tensor_rows(d.t, first, count), d.exact + first * row_count};
}

static void documents_of(struct setting s, const struct problem *p) {
    struct attention_data packed = attention_make(s, p);
    int64_t first = 0;
    forward(s, p, packed);
    backward(s, p, packed);
    for (const int64_t *length = p->lengths; *length; length++) {
        if (*length < 0)
            continue;
        struct problem alone = {*length, p->args, NULL, 0, p->sight};
        struct attention_data d = attention_make(s, &alone);
        device_copy(s.dev, d.qkv.t, rows_of(packed.qkv, first, *length).t);
        device_copy(s.dev, d.dout.t, rows_of(packed.dout, first, *length).t);
        forward(s, &alone, d);
        backward(s, &alone, d);
        data_refresh(d.out), data_refresh(d.lse), data_refresh(d.dqkv);
        struct tolerance out_within = out_tolerance(d.out, p, 2e-6);
        out_within.element *= p->sight == ITSELF ? 1 : 2; /* both results are off by their own rounding */
        assert_within(rows_of(packed.out, first, *length), d.out.exact, out_within);
        assert_matches(rows_of(packed.lse, first, *length), d.lse.exact, 1e-6);
        assert_within(rows_of(packed.dqkv, first, *length), d.dqkv.exact, gradient_tolerance(d.dqkv, 5e-6));
        attention_free(d);
        first += *length;
    }
    assert_int_equal(first, p->num_rows);
    attention_free(packed);
}

/* test_documents - a packed micro-batch gives what its documents give one by one. */
static void test_documents(struct setting s) {
    documents_of(s, &PROBLEMS[PACKED]);
    documents_of(s, &PROBLEMS[PACKED_BOTH_WAYS]);
}

static void isolation_of(struct setting s, const struct problem *p) {
    enum { CHANGED = 72, FIRST = 71, LAST = 134 }; /* in the third document, rows 71 to 134 */
    struct attention_data a = attention_make(s, p), b = attention_make(s, p);
    int64_t row_count = tensor_count(a.qkv.t) / p->num_rows;
    for (int64_t c = 0; c < row_count; c++)
        data_set(b.qkv, CHANGED * row_count + c, -3);
    forward(s, p, a), forward(s, p, b);
    backward(s, p, a), backward(s, p, b);
    for (int64_t i = 0; i < p->num_rows; i++) {
        bool inside = i >= FIRST && i <= LAST;
        bool same = same_bits(rows_of(a.dqkv, i, 1), rows_of(b.dqkv, i, 1));
        assert_true(same == !inside);
        same = same_bits(rows_of(a.out, i, 1), rows_of(b.out, i, 1));
        bool sees = p->sight == DOCUMENT ? inside : inside && i >= CHANGED; /* or it comes after the row */
        assert_true(same == !sees);
    }
    for (int64_t i = FIRST; i <= LAST; i++)
        data_set(b.first_key, i, FIRST - 1);
    device_copy(s.dev, b.qkv.t, a.qkv.t);
    forward(s, p, b);
    for (int64_t i = FIRST; i <= LAST; i++)
        assert_false(same_bits(rows_of(a.out, i, 1), rows_of(b.out, i, 1)));
    attention_free(a), attention_free(b);
}

/* test_isolation - a token changed in one document moves no bit in the others, forward or backward, and does
 * move its own; a first key one too far to the left is noticed. */
static void test_isolation(struct setting s) {
    isolation_of(s, &PROBLEMS[PACKED]);
    isolation_of(s, &PROBLEMS[PACKED_BOTH_WAYS]);
}

/* test_last_key - a last key that is the row itself gives the bits of none; one further does not.  On a GPU small ones are
 * enough: tests/simt look at each kind of kernel. */
static void test_last_key(struct setting s) {
    for (int n = 0; n < NUM_PROBLEMS; n++) {
        struct problem p = PROBLEMS[n];
        if (p.sight != ITSELF || p.num_rows < 3 || (!s.dev->ops->host_memory && p.num_rows > 100))
            continue;
        struct attention_data a = attention_make(s, &p), b = attention_make(s, &p);
        b.mask.last_key = b.last_key.t;
        forward(s, &p, a), forward(s, &p, b);
        backward(s, &p, a), backward(s, &p, b);
        assert_true(same_bits(a.out, b.out) && same_bits(a.lse, b.lse) && same_bits(a.dqkv, b.dqkv));
        data_set(b.last_key, p.num_rows - 2, (double)(p.num_rows - 1));
        forward(s, &p, b), backward(s, &p, b);
        if (p.args.scale < 1) /* else the softmax is nearly a choice, and one key more may be none */
            assert_false(same_bits(a.out, b.out) || same_bits(a.lse, b.lse) || same_bits(a.dqkv, b.dqkv));
        attention_free(a), attention_free(b);
    }
}

/* test_pairs - the flops counted are those of the pairs that the mask lets through, which a GPU is told. */
static void test_pairs(struct setting s) {
    for (int n = SMALL_CAPPED; n < NUM_PROBLEMS; n++) {
        struct problem p = PROBLEMS[n];
        struct attention_data d = attention_make(s, &p);
        for (int64_t i = 0; i < p.num_rows; i++)
            p.args.num_pairs += (int64_t)(d.seen.last[i] - d.seen.first[i]) + 1;
        double before = s.dev->counts.flops[OP_ATTENTION];
        forward(s, &p, d);
        double counted = s.dev->counts.flops[OP_ATTENTION] - before;
        assert_true(counted == 4.0 * (double)(p.args.num_pairs * p.args.head_dim * p.args.num_heads));
        attention_free(d);
    }
}

static void threads_of(struct setting s, const struct problem *p) {
    int most = s.dev->ops->host_memory ? 4 : 2; /* a GPU does not look at it: one more run */
    struct attention_data a = attention_make(s, p), b = attention_make(s, p);
    int threads = s.dev->num_threads;
    s.dev->num_threads = 1;
    forward(s, p, a), backward(s, p, a);
    for (s.dev->num_threads = 2; s.dev->num_threads <= most; s.dev->num_threads++) {
        forward(s, p, b), backward(s, p, b);
        assert_true(same_bits(a.out, b.out) && same_bits(a.lse, b.lse) && same_bits(a.dqkv, b.dqkv));
    }
    s.dev->num_threads = threads;
    data_set(b.qkv, offsets_of(&p->args, 0, 0).v, 5); /* control: a value that all rows see */
    forward(s, p, b);
    assert_false(same_bits(a.out, b.out));
    attention_free(a), attention_free(b);
}

/* test_attention_threads - neither the number of threads nor another run changes a bit. */
static void test_attention_threads(struct setting s) {
    threads_of(s, &PROBLEMS[LONG]);
    threads_of(s, &PROBLEMS[PACKED_BOTH_WAYS]);
}

static void nan_of(struct setting s, const struct problem *p) {
    enum { BAD = 100 };
    struct attention_data d = attention_make(s, p);
    int64_t key = offsets_of(&p->args, BAD, 0).k;
    data_set(d.qkv, key, (double)NAN);
    forward(s, p, d);
    for (int64_t i = 0; i < p->num_rows; i++)
        assert_true(isnan(data_get(rows_of(d.out, i, 1), 0)) ==
                    (d.seen.first[i] <= BAD && d.seen.last[i] >= BAD));
    attention_free(d);
}

/* test_nan - a NaN in a score reaches the rows that see it, and no others. */
static void test_nan(struct setting s) {
    nan_of(s, &PROBLEMS[LONG]);
    nan_of(s, &PROBLEMS[IN_BLOCKS]);
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

static const struct op_case CASES[] = {
    {"reference", test_reference},
    {"forward_backward", test_forward_backward},
    {"rotation", test_rotation},
    {"documents", test_documents},
    {"isolation", test_isolation},
    {"last_key", test_last_key},
    {"pairs", test_pairs},
    {"attention_threads", test_attention_threads},
    {"nan", test_nan},
    {"softcap", test_softcap},
    {"cached", test_cached},
    {"block_gemm", test_block_gemm},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
