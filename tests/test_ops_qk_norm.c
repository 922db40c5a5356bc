/* test_ops_qk_norm.c - QK-norm with the rotation in one pass, and its gradient, against plain f64 loops (ops_reference.h); on the
 * CPU the bits of the ops that it stands for.  The gradient of the whole, turned back and through the norm, against central
 * differences of the f64 forward.  Each case runs on every device, in every type. */
#include "tests/ops_data.h"
#include "tests/ops_reference.h"

enum { POSITIONS = 41 };

/* Heads, and how they are normalised and turned. */
struct heads_case {
    int64_t rows;
    int num_heads, num_kv_heads, others; /* others: the values, which stay */
    int64_t dim, half;                   /* half: pairs that turn; 0: there is no rotation */
    enum rope_layout layout;
    enum norm_kind kind;
    float offset;
    bool together; /* all heads of a kind have one norm */
};

/* Qwen 3's, Gemma 3's and OLMo 2's heads; parts of heads; no rotation; widths that vectors do not fit; many and wide ones. */
static const struct heads_case CASES_OF_HEADS[] = {
    {7, 4, 2, 2, 128, 64, ROPE_HALVES, NORM_RMS, 0, false},
    {5, 4, 1, 1, 256, 128, ROPE_HALVES, NORM_RMS_ONCE, 1, false},
    {5, 5, 5, 5, 64, 32, ROPE_HALVES, NORM_RMS_ONCE, 0, true},
    {65, 14, 2, 2, 64, 32, ROPE_PAIRS, NORM_RMS, 0, false},
    {9, 6, 3, 3, 80, 40, ROPE_HALVES, NORM_RMS, 0, false},
    {3, 4, 2, 2, 128, 32, ROPE_HALVES, NORM_RMS_ONCE, 0, false},
    {3, 3, 1, 1, 96, 24, ROPE_PAIRS, NORM_RMS, 0, false},
    {4, 8, 2, 2, 128, 0, ROPE_HALVES, NORM_RMS_ONCE, 1, false},
    {6, 3, 1, 0, 10, 3, ROPE_HALVES, NORM_RMS, 0, false},
    {6, 3, 1, 2, 10, 5, ROPE_PAIRS, NORM_RMS_ONCE, 1, true},
    {2, 2, 2, 2, 16, 8, ROPE_HALVES, NORM_RMS, 0, true},
    {2, 3, 2, 2, 1024, 512, ROPE_HALVES, NORM_RMS, 0, false},
    {700, 5, 1, 1, 16, 8, ROPE_HALVES, NORM_RMS, 0, false},
    {1, 1, 1, 1, 4, 2, ROPE_HALVES, NORM_RMS_ONCE, 0, false},
};
enum { NUM_CASES = sizeof CASES_OF_HEADS / sizeof CASES_OF_HEADS[0] };

/* The tensors of one case.  w: of the queries, of the keys. */
struct heads_data {
    const struct heads_case *c;
    int64_t num_heads, num_normed; /* of a row; those that are normalised */
    int64_t widths[2], pieces[2];  /* of what is normalised together: elements, and how many a row has */
    struct data qkv, raw, rstd, w[2], cos, sin, positions;
    struct qk_norms norms;
    struct rotation rotation;
    struct exact_norm exact[2];
};

static struct norm norm_of(const struct heads_case *c, struct tensor w) {
    return (struct norm){.kind = c->kind, .eps = (float)EPS, .offset = c->offset, .w = w};
}

static void make_rotation(struct setting s, struct heads_data *d) {
    int64_t half = d->c->half ? d->c->half : 1;
    d->cos = data_zero(s.dev, tensor_2d(NULL, DTYPE_F32, POSITIONS, half));
    d->sin = data_zero(s.dev, d->cos.t);
    d->positions = data_ids(s.dev, d->c->rows, POSITIONS, 7);
    for (int64_t i = 0; i < POSITIONS * half; i++) {
        double angle = 0.5 + 0.7 * (double)(i / half) + 1.3 * (double)(i % half);
        d->cos.exact[i] = cos(angle);
        d->sin.exact[i] = sin(angle);
    }
    data_write(d->cos), data_write(d->sin);
    d->rotation = (struct rotation){d->cos.t, d->sin.t, d->positions.t, d->c->layout, (int)d->num_normed};
}

static struct heads_data heads_make(struct setting s, const struct heads_case *c) {
    struct heads_data d = {.c = c, .num_normed = c->num_heads + c->num_kv_heads};
    d.num_heads = d.num_normed + c->others;
    const int64_t heads[2] = {c->num_heads, c->num_kv_heads};
    for (int k = 0; k < 2; k++) {
        d.pieces[k] = c->together ? 1 : heads[k];
        d.widths[k] = heads[k] / d.pieces[k] * c->dim;
        d.w[k] = data_random(s.dev, tensor_1d(NULL, s.dtype, d.widths[k]), 3 + (uint64_t)k);
        d.exact[k] = (struct exact_norm){c->kind, (double)c->offset, d.widths[k], d.w[k].exact, NULL};
    }
    d.qkv = data_random(s.dev, tensor_3d(NULL, s.dtype, c->rows, d.num_heads, c->dim), 1);
    d.raw = data_output(s.dev, tensor_3d(NULL, s.dtype, c->rows, d.num_normed, c->dim));
    d.rstd = data_output(s.dev, tensor_2d(NULL, DTYPE_F32, c->rows, d.pieces[0] + d.pieces[1]));
    d.norms = (struct qk_norms){norm_of(c, d.w[0].t), norm_of(c, d.w[1].t), c->num_heads, c->num_kv_heads};
    make_rotation(s, &d);
    return d;
}

static void heads_free(struct heads_data d) {
    data_free(d.qkv), data_free(d.raw), data_free(d.rstd), data_free(d.w[0]), data_free(d.w[1]);
    data_free(d.cos), data_free(d.sin), data_free(d.positions);
}

static void run_forward(struct setting s, struct heads_data *d) {
    op_qk_norm_forward(s.dev, d->qkv.t, d->raw.t, d->rstd.t, &d->norms, d->c->half ? &d->rotation : NULL);
}

/* turn_exact - the normalised heads of a row in f64, or with sign -1 back. */
static void turn_exact(const struct heads_data *d, double *heads, int64_t row, enum rope_layout layout,
                       double sign) {
    int64_t half = d->c->half, angles = (int64_t)d->positions.exact[row] * half;
    for (int64_t i = 0; i < d->num_normed * half; i++) {
        double *first = heads + i / half * d->c->dim + (layout == ROPE_HALVES ? i % half : 2 * (i % half));
        double *second = first + (layout == ROPE_HALVES ? half : 1), a = *first, b = *second;
        double cosine = d->cos.exact[angles + i % half], sine = sign * d->sin.exact[angles + i % half];
        *first = a * cosine - b * sine;
        *second = b * cosine + a * sine;
    }
}

/* forward_exact - one row, from x [Q, D] to y; a normalised value is rounded to dtype before it turns.  rstd NULL: not wanted. */
static void forward_exact(const struct heads_data *d, double *y, double *rstd, const double *x, int64_t row,
                          enum dtype dtype) {
    int64_t at = 0;
    memcpy(y, x, (size_t)(d->num_heads * d->c->dim) * sizeof *y);
    for (int k = 0, piece = 0; k < 2; k++)
        for (int64_t p = 0; p < d->pieces[k]; p++, piece++, at += d->widths[k]) {
            struct exact_stats stats = norm_row(y + at, x + at, &d->exact[k], dtype);
            if (rstd)
                rstd[piece] = stats.rstd;
        }
    for (int64_t i = 0; i < at; i++)
        y[i] = dtype == DTYPE_F32 ? y[i] : round_to(dtype, y[i]);
    turn_exact(d, y, row, d->c->layout, 1);
}

/* assert_values_stay - the heads after queries and keys, to the bit. */
static void assert_values_stay(const struct heads_data *d, struct data got, const double *before) {
    int64_t width = d->num_heads * d->c->dim;
    data_refresh(got);
    for (int64_t i = 0; i < d->c->rows * width; i++)
        if (i % width >= d->num_normed * d->c->dim)
            assert_true(got.exact[i] == before[i]);
}

static double *copy_of(const double *values, int64_t count) {
    double *copy = doubles(count);
    memcpy(copy, values, (size_t)count * sizeof *copy);
    return copy;
}

static void forward_case(struct setting s, const struct heads_case *c) {
    struct heads_data d = heads_make(s, c);
    int64_t width = d.num_heads * c->dim, raw_width = d.num_normed * c->dim,
            pieces = d.pieces[0] + d.pieces[1];
    double *before = copy_of(d.qkv.exact, c->rows * width), *want = doubles(c->rows * width),
           *want_rstd = doubles(c->rows * pieces);
    for (int64_t i = 0; i < c->rows; i++)
        forward_exact(&d, want + i * width, want_rstd + i * pieces, before + i * width, i, s.dtype);
    run_forward(s, &d);
    assert_matches(d.qkv, want, 2e-6);
    assert_matches(d.rstd, want_rstd, 1e-6);
    assert_values_stay(&d, d.qkv, before);
    data_refresh(d.raw);
    for (int64_t i = 0; i < c->rows * raw_width; i++)
        assert_true(d.raw.exact[i] == before[i / raw_width * width + i % raw_width]);
    free(before), free(want), free(want_rstd);
    heads_free(d);
}

static void test_forward(struct setting s) {
    for (int n = 0; n < NUM_CASES; n++)
        forward_case(s, &CASES_OF_HEADS[n]);
}

/* in_steps - what the op stands for: the heads of each kind taken out, normalised and put back, then the rotation. */
static void in_steps(struct setting s, struct heads_data *d, struct data qkv) {
    struct tensor matrix = tensor_2d(qkv.t.data, s.dtype, d->c->rows, d->num_heads * d->c->dim);
    for (int k = 0; k < 2; k++) {
        int64_t rows = d->c->rows * d->pieces[k], columns = d->pieces[k] * d->widths[k];
        struct column_args at = {k ? d->pieces[0] * d->widths[0] : 0, 1, OP_OVERWRITE};
        struct data x = data_output(s.dev, tensor_2d(NULL, s.dtype, rows, d->widths[k])),
                    y = data_output(s.dev, x.t), rstd = data_output(s.dev, tensor_1d(NULL, DTYPE_F32, rows));
        op_take_columns(s.dev, tensor_2d(x.t.data, s.dtype, d->c->rows, columns), matrix, &at);
        op_norm_forward(s.dev, y.t, (struct norm_stats){.rstd = rstd.t}, x.t,
                        k ? &d->norms.key : &d->norms.query);
        op_put_columns(s.dev, matrix, tensor_2d(y.t.data, s.dtype, d->c->rows, columns), &at);
        data_free(x), data_free(y), data_free(rstd);
    }
    if (d->c->half)
        op_rope_forward(s.dev, qkv.t, &d->rotation);
}

/* test_steps - the bits of the separate ops on the CPU; a GPU adds in another order. */
static void test_steps(struct setting s) {
    for (int n = 0; n < NUM_CASES && s.dev->ops->host_memory; n++) {
        struct heads_data d = heads_make(s, &CASES_OF_HEADS[n]);
        struct data apart = data_copy(d.qkv), before = data_copy(d.qkv);
        in_steps(s, &d, apart);
        run_forward(s, &d);
        assert_true(same_bits(d.qkv, apart));
        assert_false(same_bits(d.qkv, before));
        data_free(apart), data_free(before), heads_free(d);
    }
}

/* test_settings_are_seen - each thing that a case has changes the result. */
static void test_settings_are_seen(struct setting s) {
    const struct heads_case plain = {5, 4, 2, 2, 64, 32, ROPE_HALVES, NORM_RMS_ONCE, 0, false};
    struct heads_data d = heads_make(s, &plain);
    struct data before = data_copy(d.qkv);
    run_forward(s, &d);
    struct data y = data_copy(d.qkv);
    for (int change = 0; change < 6; change++) {
        struct qk_norms norms = d.norms;
        struct rotation rotation = d.rotation;
        if (change == 0)
            norms.query.offset = norms.key.offset = 1;
        if (change == 1)
            norms.query.eps = norms.key.eps = 0.5f;
        if (change == 2)
            norms.query.w = d.w[1].t;
        if (change == 3)
            norms.key.w = d.w[0].t;
        if (change == 4)
            rotation.layout = ROPE_PAIRS;
        device_copy(s.dev, d.qkv.t, before.t);
        op_qk_norm_forward(s.dev, d.qkv.t, d.raw.t, d.rstd.t, &norms, change == 5 ? NULL : &rotation);
        assert_false(same_bits(d.qkv, y));
    }
    data_free(before), data_free(y), heads_free(d);
}

/* backward_exact - of sum(dy y') of the norms alone, y' before it turns: into dx, which comes as dy, and onto dw. */
static void backward_exact(const struct heads_data *d, double *dx, double *dw[2], const double *x) {
    int64_t at = 0;
    double *dy = copy_of(dx, d->num_heads * d->c->dim);
    for (int k = 0; k < 2; k++)
        for (int64_t p = 0; p < d->pieces[k]; p++, at += d->widths[k]) {
            memset(dx + at, 0, (size_t)d->widths[k] * sizeof *dx);
            norm_gradient(dx + at, dw[k], dy + at, x + at, &d->exact[k]);
        }
    free(dy);
}

/* keep_raw - what a forward would leave, without its rounding. */
static void keep_raw(struct heads_data *d) {
    int64_t width = d->num_heads * d->c->dim, raw_width = d->num_normed * d->c->dim,
            pieces = d->pieces[0] + d->pieces[1];
    double *y = doubles(width);
    for (int64_t i = 0; i < d->c->rows; i++) {
        memcpy(d->raw.exact + i * raw_width, d->qkv.exact + i * width, (size_t)raw_width * sizeof *y);
        forward_exact(d, y, d->rstd.exact + i * pieces, d->qkv.exact + i * width, i, DTYPE_F32);
    }
    free(y);
    data_write(d->raw), data_write(d->rstd);
}

static void backward_case(struct setting s, const struct heads_case *c) {
    struct heads_data d = heads_make(s, c);
    int64_t width = d.num_heads * c->dim;
    struct data dqkv = data_random(s.dev, d.qkv.t, 5), frozen = data_copy(dqkv);
    struct data dw[2] = {data_random(s.dev, tensor_1d(NULL, DTYPE_F32, d.widths[0]), 6),
                         data_random(s.dev, tensor_1d(NULL, DTYPE_F32, d.widths[1]), 7)};
    double *want = copy_of(dqkv.exact, c->rows * width), *before = copy_of(want, c->rows * width),
           *want_dw[2] = {copy_of(dw[0].exact, d.widths[0]), copy_of(dw[1].exact, d.widths[1])};
    keep_raw(&d);
    for (int64_t i = 0; i < c->rows; i++)
        backward_exact(&d, want + i * width, want_dw, d.qkv.exact + i * width);
    op_qk_norm_backward(s.dev, dqkv.t, (struct qk_norm_grad){dw[0].t, dw[1].t}, d.raw.t, d.rstd.t, &d.norms);
    assert_matches(dqkv, want, 5e-6);
    assert_matches(dw[0], want_dw[0], 5e-6);
    assert_matches(dw[1], want_dw[1], 5e-6);
    assert_values_stay(&d, dqkv, before);
    op_qk_norm_backward(s.dev, frozen.t, (struct qk_norm_grad){{.data = NULL}, {.data = NULL}}, d.raw.t,
                        d.rstd.t, &d.norms);
    assert_true(same_bits(frozen, dqkv)); /* without a gradient of the weights the same */
    free(want), free(before), free(want_dw[0]), free(want_dw[1]);
    data_free(dqkv), data_free(frozen), data_free(dw[0]), data_free(dw[1]), heads_free(d);
}

static void test_backward(struct setting s) {
    for (int n = 0; n < NUM_CASES; n++)
        backward_case(s, &CASES_OF_HEADS[n]);
}

/* loss_moved - sum of dy and what the forward makes of one row in f64, with one value of it moved, or one of a weight. */
static double loss_moved(const struct heads_data *d, const double *dy, double *value, double move) {
    int64_t width = d->num_heads * d->c->dim;
    double *y = doubles(width), loss = 0, was = *value;
    *value = was + move;
    forward_exact(d, y, NULL, d->qkv.exact, 0, DTYPE_F32);
    *value = was;
    for (int64_t i = 0; i < width; i++)
        loss += dy[i] * y[i];
    free(y);
    return loss;
}

/* test_differences - the op, given a gradient that was turned back, against central differences of forward and rotation
 * together: in f32, so within its rounding.  A gradient that is not turned back is noticed. */
static void test_differences(struct setting s) {
    static const struct heads_case one[] = {{1, 3, 2, 1, 16, 8, ROPE_HALVES, NORM_RMS_ONCE, 1, false},
                                            {1, 3, 2, 1, 16, 6, ROPE_PAIRS, NORM_RMS, 0, true}};
    const double step = 1e-5;
    for (int n = 0; n < 2 && s.dtype == DTYPE_F32; n++) {
        struct heads_data d = heads_make(s, &one[n]);
        int64_t width = d.num_heads * d.c->dim, where;
        struct data dqkv = data_random(s.dev, d.qkv.t, 5), unturned = data_copy(dqkv);
        struct data dw[2] = {data_zero(s.dev, tensor_1d(NULL, DTYPE_F32, d.widths[0])),
                             data_zero(s.dev, tensor_1d(NULL, DTYPE_F32, d.widths[1]))};
        double *dy = copy_of(dqkv.exact, width), *want = doubles(width);
        keep_raw(&d);
        for (int64_t i = 0; i < width; i++)
            want[i] =
                (loss_moved(&d, dy, &d.qkv.exact[i], step) - loss_moved(&d, dy, &d.qkv.exact[i], -step)) /
                (2 * step);
        turn_exact(&d, dqkv.exact, 0, d.c->layout, -1);
        data_write(dqkv);
        op_qk_norm_backward(s.dev, dqkv.t, (struct qk_norm_grad){dw[0].t, dw[1].t}, d.raw.t, d.rstd.t,
                            &d.norms);
        assert_matches(dqkv, want, 5e-6);
        for (int k = 0; k < 2; k++) {
            double *slopes = doubles(d.widths[k]);
            for (int64_t i = 0; i < d.widths[k]; i++)
                slopes[i] = (loss_moved(&d, dy, &d.w[k].exact[i], step) -
                             loss_moved(&d, dy, &d.w[k].exact[i], -step)) /
                            (2 * step);
            assert_matches(dw[k], slopes, 5e-6);
            free(slopes);
        }
        op_qk_norm_backward(s.dev, unturned.t, (struct qk_norm_grad){{.data = NULL}, {.data = NULL}}, d.raw.t,
                            d.rstd.t, &d.norms);
        data_refresh(unturned);
        assert_true(worst_ratio(unturned.exact, want, width, tolerance_of(unturned, 1e-3), &where) > 1);
        free(dy), free(want);
        data_free(dqkv), data_free(unturned), data_free(dw[0]), data_free(dw[1]), heads_free(d);
    }
}

/* test_same_bits - with one thread, with several and again.  Control: another gradient. */
static void test_same_bits(struct setting s) {
    const struct heads_case many = {301, 5, 3, 1, 24, 12, ROPE_HALVES, NORM_RMS, 0, false};
    struct heads_data d = heads_make(s, &many);
    struct data before = data_copy(d.qkv), dy = data_random(s.dev, d.qkv.t, 5), y[4], dx[4], dw[4];
    int threads = s.dev->num_threads;
    for (int run = 0; run < 4; run++) {
        s.dev->num_threads = run < 3 ? run + 1 : 1;
        if (run == 3)
            data_set(before, 0, before.exact[0] + 1), data_set(dy, 0, dy.exact[0] + 1);
        device_copy(s.dev, d.qkv.t, before.t);
        run_forward(s, &d);
        y[run] = data_copy(d.qkv), dx[run] = data_copy(dy);
        dw[run] = data_zero(s.dev, tensor_1d(NULL, DTYPE_F32, many.dim));
        op_qk_norm_backward(s.dev, dx[run].t, (struct qk_norm_grad){dw[run].t, {.data = NULL}}, d.raw.t,
                            d.rstd.t, &d.norms);
    }
    s.dev->num_threads = threads;
    for (int run = 1; run < 4; run++) {
        bool same = run < 3;
        assert_true(same_bits(y[run], y[0]) == same && same_bits(dx[run], dx[0]) == same &&
                    same_bits(dw[run], dw[0]) == same);
    }
    for (int run = 0; run < 4; run++)
        data_free(y[run]), data_free(dx[run]), data_free(dw[run]);
    data_free(before), data_free(dy), heads_free(d);
}

static const struct op_case CASES[] = {{"qk_norm_forward", test_forward},
                                       {"qk_norm_steps", test_steps},
                                       {"qk_norm_settings", test_settings_are_seen},
                                       {"qk_norm_backward", test_backward},
                                       {"qk_norm_differences", test_differences},
                                       {"qk_norm_same_bits", test_same_bits}};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
