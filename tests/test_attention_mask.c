/* test_attention_mask.c - attention against itself: documents packed and alone, a token changed in one of them, a last key that
 * is the row itself, pairs counted, threads, a NaN.  The same source in every type decides what a row sees. */
#include "tests/attention_problems.h"

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

static const struct op_case CASES[] = {
    {"documents", test_documents},
    {"isolation", test_isolation},
    {"last_key", test_last_key},
    {"pairs", test_pairs},
    {"attention_threads", test_attention_threads},
    {"nan", test_nan},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
