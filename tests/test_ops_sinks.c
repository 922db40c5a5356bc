/* test_ops_sinks.c - attention with a sink in every head: the two ops against plain f64 formulas, and the whole, forward
 * and gradients, against central differences of a softmax in f64 that has one term more, and against transformers' gpt-oss
 * (tests/golden/make_sinks.py).  Control: without the sink, other numbers. */
#include "checkpoints/safetensors/safetensors.h"
#include "tests/attention_data.h"

static double *doubles(int64_t count) {
    return xcalloc((size_t)count, sizeof(double));
}

/* Rows of a head that vectors divide, and that they do not; more rows than the sums have blocks. */
static const int64_t SHAPES[][3] = {{1, 1, 1},    {7, 3, 4},   {65, 9, 64},
                                    {130, 2, 80}, {33, 5, 18}, {513, 4, 16}};
enum { NUM_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

/* The tensors of one call: lse about 1, s about 0.5. */
struct sink_data {
    struct data out, lse, s, dout, ds;
};

static struct sink_data sink_make(struct setting s, const int64_t shape[3]) {
    struct sink_data d = {
        .out = data_random(s.dev, tensor_3d(NULL, s.dtype, shape[0], shape[1], shape[2]), 1),
        .lse = data_random(s.dev, tensor_2d(NULL, DTYPE_F32, shape[0], shape[1]), 2),
        .s = data_random(s.dev, tensor_1d(NULL, s.dtype, shape[1]), 3),
        .dout = data_random(s.dev, tensor_3d(NULL, s.dtype, shape[0], shape[1], shape[2]), 4),
        .ds = data_random(s.dev, tensor_1d(NULL, DTYPE_F32, shape[1]), 5)};
    for (int64_t i = 0; i < tensor_count(d.lse.t); i++)
        d.lse.exact[i] += 1;
    for (int64_t i = 0; i < tensor_count(d.s.t); i++)
        d.s.exact[i] += 0.5;
    data_write(d.lse), data_write(d.s);
    return d;
}

static void sink_free(struct sink_data d) {
    data_free(d.out), data_free(d.lse), data_free(d.s), data_free(d.dout), data_free(d.ds);
}

static void test_forward(struct setting s) {
    for (int n = 0; n < NUM_SHAPES; n++) {
        struct sink_data d = sink_make(s, SHAPES[n]);
        int64_t count = tensor_count(d.out.t), num_rows = tensor_count(d.lse.t), heads = SHAPES[n][1];
        double *out = doubles(count), *lse = doubles(num_rows);
        for (int64_t i = 0; i < num_rows; i++)
            lse[i] = log(exp(d.lse.exact[i]) + exp(d.s.exact[i % heads]));
        for (int64_t i = 0; i < count; i++) {
            int64_t row = i / SHAPES[n][2];
            out[i] = d.out.exact[i] * exp(d.lse.exact[row] - lse[row]);
        }
        op_sinks_forward(s.dev, d.out.t, d.lse.t, d.s.t);
        assert_matches(d.out, out, 1e-6);
        assert_matches(d.lse, lse, 1e-6);
        free(out), free(lse);
        sink_free(d);
    }
}

/* Scores so far apart that an exponential of them is infinite or nothing: the larger one decides. */
static void test_extremes(struct setting s) {
    static const double lse[] = {-900, -200, 0, 300, 1000}, scores[] = {500, -1000};
    enum { ROWS = sizeof lse / sizeof lse[0], HEADS = 2, WIDTH = 8 };
    struct sink_data d = sink_make(s, (const int64_t[]){ROWS, HEADS, WIDTH});
    double out[ROWS * HEADS * WIDTH], want[ROWS * HEADS];
    for (int i = 0; i < ROWS * HEADS; i++)
        d.lse.exact[i] = lse[i / HEADS];
    memcpy(d.s.exact, scores, sizeof scores);
    data_write(d.lse), data_write(d.s);
    for (int i = 0; i < ROWS * HEADS; i++) {
        bool wins = d.s.exact[i % HEADS] > d.lse.exact[i];
        want[i] = wins ? d.s.exact[i % HEADS] : d.lse.exact[i];
        for (int c = 0; c < WIDTH; c++)
            out[i * WIDTH + c] = wins ? 0 : d.out.exact[i * WIDTH + c];
    }
    op_sinks_forward(s.dev, d.out.t, d.lse.t, d.s.t);
    assert_matches(d.out, out, 1e-6);
    assert_matches(d.lse, want, 1e-6);
    sink_free(d);
}

static void test_backward(struct setting s) {
    for (int n = 0; n < NUM_SHAPES; n++) {
        struct sink_data d = sink_make(s, SHAPES[n]), again = sink_make(s, SHAPES[n]);
        int64_t heads = SHAPES[n][1], width = SHAPES[n][2];
        double *want = doubles(heads);
        memcpy(want, d.ds.exact, (size_t)heads * sizeof *want);
        for (int64_t i = 0; i < tensor_count(d.lse.t); i++)
            want[i % heads] -= exp(d.s.exact[i % heads] - d.lse.exact[i]) *
                               dot(d.dout.exact + i * width, d.out.exact + i * width, width);
        op_sinks_backward(s.dev, d.ds.t, d.dout.t, d.out.t, d.lse.t, d.s.t);
        assert_within(d.ds, want, ((struct tolerance){2e-5, INFINITY}));
        op_sinks_backward(s.dev, again.ds.t, again.dout.t, again.out.t, again.lse.t, again.s.t);
        assert_true(same_bits(d.ds, again.ds));
        free(want);
        sink_free(d), sink_free(again);
    }
}

/* reference_sinks - out [N, H, D] of a softmax over the scores and the sink of each head; s NULL: without sinks. */
static void reference_sinks(double *out, const struct attention_data *d, const struct problem *problem,
                            const double *s) {
    const struct attention_args *a = &problem->args;
    double *p = doubles(problem->num_rows);
    memset(out, 0, (size_t)tensor_count(d->out.t) * sizeof *out);
    for (int64_t i = 0; i < problem->num_rows * a->num_heads; i++) {
        int64_t row = i / a->num_heads, h = i % a->num_heads;
        int64_t first = (int64_t)d->seen.first[row], last = (int64_t)d->seen.last[row];
        double sum = s ? exp(s[h]) : 0, slope;
        for (int64_t j = first; j <= last; j++)
            sum += p[j] = exp(reference_score(d->qkv.exact, a, row, j, h, &slope));
        for (int64_t j = first; j <= last; j++)
            for (int c = 0; c < a->head_dim; c++)
                out[i * a->head_dim + c] += p[j] / sum * d->qkv.exact[offsets_of(a, j, h).v + c];
    }
    free(p);
}

static const int64_t DOCUMENTS[] = {5, 4, 0};
static const struct problem PROBLEMS[] = {
    {9, {4, 2, 4, 0.5f, 0, 0}, DOCUMENTS, 0, ITSELF},
    {9, {2, 1, 4, 0.5f, 1.5f, 0}, DOCUMENTS, 3, ITSELF},
    {9, {2, 2, 4, 0.5f, 0, 0}, DOCUMENTS, 0, DOCUMENT},
    {9, {2, 1, 64, 0.125f, 0, 0}, DOCUMENTS, 3, ITSELF}, /* gpt-oss's width, which tensor cores take */
};
enum { NUM_PROBLEMS = sizeof PROBLEMS / sizeof PROBLEMS[0] };

/* slope_of - central difference of sum(dout out) by one value of the problem. */
static double slope_of(const struct attention_data *d, const struct problem *p, const double *s,
                       double *value, double *out) {
    const double step = 1e-5, kept = *value;
    double loss[2];
    for (int side = 0; side < 2; side++) {
        *value = kept + (side ? step : -step);
        reference_sinks(out, d, p, s);
        loss[side] = dot(out, d->dout.exact, tensor_count(d->out.t));
    }
    *value = kept;
    return (loss[1] - loss[0]) / (2 * step);
}

/* whole_case - attention of a whole problem with sinks, forward and backward. */
static void whole_case(struct setting s, const struct problem *p) {
    struct attention_data d = attention_make(s, p);
    int heads = p->args.num_heads;
    struct data sinks = data_random(s.dev, tensor_1d(NULL, s.dtype, heads), 7),
                ds = data_zero(s.dev, tensor_1d(NULL, DTYPE_F32, heads));
    int64_t count = tensor_count(d.out.t), where;
    double *out = doubles(count), *without = doubles(count), *want = doubles(tensor_count(d.qkv.t)),
           *want_ds = doubles(heads);
    reference_sinks(without, &d, p, NULL);
    for (int64_t i = 0; i < tensor_count(d.qkv.t); i++)
        want[i] = slope_of(&d, p, sinks.exact, &d.qkv.exact[i], out);
    for (int h = 0; h < heads; h++)
        want_ds[h] = slope_of(&d, p, sinks.exact, &sinks.exact[h], out);
    reference_sinks(out, &d, p, sinks.exact);
    forward(s, p, d);
    op_sinks_forward(s.dev, d.out.t, d.lse.t, sinks.t);
    struct tolerance twice = out_tolerance(d.out, p, 5e-6); /* out is rounded twice */
    twice.element *= 2, twice.mean *= 2;
    assert_within(d.out, out, twice);
    data_refresh(d.out);
    assert_true(worst_ratio(d.out.exact, without, count, twice, &where) > 1);
    backward(s, p, d);
    op_sinks_backward(s.dev, ds.t, d.dout.t, d.out.t, d.lse.t, sinks.t);
    /* dout . out of a rounded out, which gradients of f32 do not have */
    double rounding = s.dtype == DTYPE_F32 ? 1e-5 : s.dtype == DTYPE_BF16 ? 3e-2 : 4e-3;
    assert_within(d.dqkv, want, ((struct tolerance){rounding, INFINITY}));
    assert_within(ds, want_ds, ((struct tolerance){rounding, INFINITY}));
    free(out), free(without), free(want), free(want_ds);
    data_free(sinks), data_free(ds);
    attention_free(d);
}

static void test_whole(struct setting s) {
    for (int n = 0; n < NUM_PROBLEMS; n++)
        whole_case(s, &PROBLEMS[n]);
}

/* golden - one tensor of the file, malloc'ed. */
static double *golden(const struct st_files *files, const char *name) {
    struct err err = {""};
    int64_t index = st_find(files, name);
    assert_true(index >= 0);
    int64_t count = st_entry(files, index).count;
    float *values = xmalloc((size_t)count * sizeof *values);
    double *exact = doubles(count);
    assert_int_equal(st_read_f32(files, index, 0, count, values, &err), 0);
    for (int64_t i = 0; i < count; i++)
        exact[i] = (double)values[i];
    free(values);
    return exact;
}

/* fill - with a tensor of the file, rounded to its type. */
static void fill(struct data d, const struct st_files *files, const char *name) {
    double *values = golden(files, name);
    memcpy(d.exact, values, (size_t)tensor_count(d.t) * sizeof *values);
    data_write(d);
    free(values);
}

/* test_transformers - in f32 alone: rounded inputs give other numbers than those of the file. */
static void test_transformers(struct setting s) {
    const struct problem p = {11, {4, 2, 6, 0.4f, 0, 0}, NULL, 0, ITSELF};
    struct err err = {""};
    struct st_files *files = st_open("tests/golden/sinks/expected.safetensors", &err);
    assert_non_null(files);
    struct attention_data d = attention_make((struct setting){s.dev, DTYPE_F32}, &p);
    struct data sinks = data_zero(s.dev, tensor_1d(NULL, DTYPE_F32, 4)), ds = data_zero(s.dev, sinks.t);
    double *out = golden(files, "out"), *without = golden(files, "out.without"),
           *dqkv = golden(files, "dqkv"), *dsinks = golden(files, "dsinks");
    int64_t where;
    fill(d.qkv, files, "qkv"), fill(d.dout, files, "dout"), fill(sinks, files, "sinks");
    forward(s, &p, d);
    op_sinks_forward(s.dev, d.out.t, d.lse.t, sinks.t);
    assert_matches(d.out, out, 2e-6);
    data_refresh(d.out);
    assert_true(worst_ratio(d.out.exact, without, tensor_count(d.out.t), tolerance_of(d.out, 1e-2), &where) >
                1);
    backward(s, &p, d);
    op_sinks_backward(s.dev, ds.t, d.dout.t, d.out.t, d.lse.t, sinks.t);
    assert_matches(d.dqkv, dqkv, 5e-6);
    assert_matches(ds, dsinks, 5e-6);
    free(out), free(without), free(dqkv), free(dsinks);
    data_free(sinks), data_free(ds);
    attention_free(d);
    st_close(files);
}

static const struct op_case CASES[] = {
    {"sinks_forward", test_forward},
    {"sinks_extremes", test_extremes},
    {"sinks_backward", test_backward},
    {"attention_with_sinks", test_whole},
    {"sinks_of_transformers", test_transformers},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
