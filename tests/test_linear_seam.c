/* test_linear_seam.c - the seam that every product of the model goes through: bias and low-rank pairs of parts of a fused
 * matrix, on the device that ATELIER_TEST_DEVICE names, in every type, against the explicit matrix W + scale B A in f64,
 * also behind a dropout, and with rows of given lengths; and products in 8 bits, which are those of the ops.
 * The loss is sum(g * y): its gradients by x, W, bias, A, B and lengths are central differences of that. */
#include "tests/ops_data.h"
#include "train/model/linear.h"

enum { N = 9, I = 16, O = 40, R = 8, NUM_PARTS = 2 };
static const double SHARE = 0.4; /* of what a pair with a dropout leaves out */

static const struct {
    int64_t first, count;
    float scale;
} PARTS[NUM_PARTS] = {{0, 16, 0.5f}, {24, 16, -1.25f}}; /* rows 16 to 23 have none */

/* Everything that the loss depends on; exact values in f64. */
struct operands {
    struct data x, w, bias, g, a[NUM_PARTS], b[NUM_PARTS];
    struct data places; /* of the rows of x */
    double kept[NUM_PARTS]
               [N * I]; /* multiplies each element of x on its way into a pair: 1 without a dropout */
    struct data lengths[NUM_PARTS]; /* of the rows, where has_lengths; the norms are held for constant */
    double norms[NUM_PARTS][O];
    bool has_lengths;
};

static struct tensor shape_2d(enum dtype dtype, int64_t rows, int64_t cols) {
    return tensor_2d(NULL, dtype, rows, cols);
}

static void make_operands(struct operands *v, struct setting s) {
    v->x = data_random(s.dev, shape_2d(s.dtype, N, I), 1);
    v->w = data_random(s.dev, shape_2d(s.dtype, O, I), 2);
    v->bias = data_random(s.dev, tensor_1d(NULL, s.dtype, O), 3);
    v->g = data_random(s.dev, shape_2d(s.dtype, N, O), 4);
    for (int p = 0; p < NUM_PARTS; p++) {
        v->a[p] = data_random(s.dev, shape_2d(s.dtype, R, I), (uint64_t)(5 + p));
        v->b[p] = data_random(s.dev, shape_2d(s.dtype, PARTS[p].count, R), (uint64_t)(7 + p));
        v->lengths[p] = data_random(s.dev, tensor_1d(NULL, s.dtype, PARTS[p].count), (uint64_t)(10 + p));
        for (int i = 0; i < N * I; i++)
            v->kept[p][i] = 1;
    }
    v->has_lengths = false;
    v->places = data_ids(s.dev, N, 100, 9);
}

static void free_operands(struct operands *v) {
    data_free(v->x), data_free(v->w), data_free(v->bias), data_free(v->g);
    for (int p = 0; p < NUM_PARTS; p++)
        data_free(v->a[p]), data_free(v->b[p]), data_free(v->lengths[p]);
    data_free(v->places);
}

/* leave_out - from here on the pairs of v have dropouts, each its own: what they make of ones is what they make of x. */
static struct dropout_args leave_out(struct operands *v, int p) {
    struct device *dev = v->x.dev;
    struct dropout_args args = {.share = SHARE, .seed = 3, .stream = (uint64_t)p, .places = v->places.t};
    struct data ones = data_zero(dev, shape_2d(DTYPE_F32, N, I)), y = data_output(dev, ones.t);
    for (int i = 0; i < N * I; i++)
        ones.exact[i] = 1;
    data_write(ones);
    op_dropout(dev, y.t, ones.t, &args, OP_OVERWRITE);
    data_refresh(y);
    memcpy(v->kept[p], y.exact, sizeof v->kept[p]);
    data_free(ones), data_free(y);
    return args;
}

/* plain_element - of W + scale B A, as row n of x meets it. */
static double plain_element(const struct operands *v, int64_t n, int64_t o, int64_t i) {
    double sum = v->w.exact[o * I + i];
    for (int p = 0; p < NUM_PARTS; p++)
        for (int r = 0; r < R && o >= PARTS[p].first && o < PARTS[p].first + PARTS[p].count; r++)
            sum += (double)PARTS[p].scale * v->b[p].exact[(o - PARTS[p].first) * R + r] *
                   v->a[p].exact[r * I + i] * v->kept[p][n * I + i];
    return sum;
}

/* explicit_element - the same where its row has a length of its own. */
static double explicit_element(const struct operands *v, int64_t n, int64_t o, int64_t i) {
    double element = plain_element(v, n, o, i);
    for (int p = 0; v->has_lengths && p < NUM_PARTS; p++) {
        int64_t row = o - PARTS[p].first;
        if (row >= 0 && row < PARTS[p].count)
            element *= v->lengths[p].exact[row] / v->norms[p][row];
    }
    return element;
}

/* set_lengths - from here on the parts' rows have lengths; the norms are those of now. */
static void set_lengths(struct operands *v) {
    for (int p = 0; p < NUM_PARTS; p++)
        for (int64_t row = 0; row < PARTS[p].count; row++) {
            double sum = 0;
            for (int64_t i = 0; i < I; i++) {
                double element = plain_element(v, 0, PARTS[p].first + row, i);
                sum += element * element;
            }
            v->norms[p][row] = round_to(v->w.t.dtype, sqrt(sum));
        }
    v->has_lengths = true;
}

static double *explicit_forward(const struct operands *v) {
    double *y = xcalloc(N * O, sizeof *y);
    for (int64_t o = 0; o < O; o++)
        for (int64_t i = 0; i < I; i++)
            for (int64_t n = 0; n < N; n++)
                y[n * O + o] +=
                    v->x.exact[n * I + i] * explicit_element(v, n, o, i) + (i == 0 ? v->bias.exact[o] : 0);
    return y;
}

static double loss(const struct operands *v) {
    double *y = explicit_forward(v), sum = 0;
    for (int64_t i = 0; i < N * O; i++)
        sum += v->g.exact[i] * y[i];
    free(y);
    return sum;
}

/* slopes - of the loss by every element of an operand, malloc'ed. */
static double *slopes(const struct operands *v, struct data by) {
    int64_t count = tensor_count(by.t);
    double *slope = xcalloc((size_t)count, sizeof *slope);
    for (int64_t i = 0; i < count; i++) {
        double kept = by.exact[i], step = 1e-4;
        by.exact[i] = kept + step;
        double above = loss(v);
        by.exact[i] = kept - step;
        slope[i] = (above - loss(v)) / (2 * step);
        by.exact[i] = kept;
    }
    return slope;
}

/* gradient_of - f32, as large as an operand; NaN at first, so that `overwrite` is seen to be one. */
static struct data gradient_of(struct operands *v, struct data operand) {
    struct tensor shape = operand.t;
    shape.dtype = DTYPE_F32;
    return data_output(v->x.dev, shape);
}

static struct weight weight_of(struct data value, struct data grad) {
    return (struct weight){.value = value.t, .grad = grad.t, .write = OP_OVERWRITE};
}

static void expect_gradient(const struct operands *v, struct data grad, struct data operand,
                            enum dtype dtype) {
    double *want = slopes(v, operand);
    struct tolerance rounded = {4e-2, 1e-2}, exact = {2e-5, INFINITY}; /* 16 bits: of intermediate products */
    assert_within(grad, want, dtype == DTYPE_F32 ? exact : rounded);
    free(want);
}

/* check_explicit - with plain pairs, pairs that leave out elements, or rows of given lengths. */
enum kind { PLAIN, LEAVES_OUT, HAS_LENGTHS };

static void check_explicit(struct setting s, enum kind kind) {
    struct operands v;
    make_operands(&v, s);
    struct data y = data_output(s.dev, v.g.t), dx = data_output(s.dev, v.x.t);
    struct data dw = gradient_of(&v, v.w), dbias = data_zero(s.dev, tensor_1d(NULL, DTYPE_F32, O));
    struct data da[NUM_PARTS], db[NUM_PARTS], dlengths[NUM_PARTS];
    struct linear linear = {
        .w = weight_of(v.w, dw), .bias = weight_of(v.bias, dbias), .num_parts = NUM_PARTS};
    for (int p = 0; p < NUM_PARTS; p++) {
        da[p] = gradient_of(&v, v.a[p]), db[p] = gradient_of(&v, v.b[p]);
        linear.parts[p] = (struct low_rank){.a = weight_of(v.a[p], da[p]),
                                            .b = weight_of(v.b[p], db[p]),
                                            .scale = PARTS[p].scale,
                                            .first_row = PARTS[p].first,
                                            .num_rows = PARTS[p].count};
        dlengths[p] = data_zero(s.dev, tensor_1d(NULL, DTYPE_F32, PARTS[p].count));
        if (kind == LEAVES_OUT)
            linear.parts[p].dropout = leave_out(&v, p);
        if (kind == HAS_LENGTHS)
            linear.parts[p].lengths = weight_of(v.lengths[p], dlengths[p]);
    }
    if (kind == HAS_LENGTHS)
        set_lengths(&v);
    size_t bytes = linear_scratch_bytes(&linear, N);
    linear.scratch = device_allocate(s.dev, bytes);
    linear_forward(s.dev, y.t, v.x.t, &linear);
    linear_backward(s.dev, dx.t, v.g.t, v.x.t, &linear, OP_OVERWRITE);
    double *want = explicit_forward(&v);
    struct tolerance rounded = {3e-2, 1e-2}, exact = {1e-5, INFINITY};
    assert_within(y, want, s.dtype == DTYPE_F32 ? exact : rounded);
    expect_gradient(&v, dx, v.x, s.dtype);
    expect_gradient(&v, dw, v.w, s.dtype);
    expect_gradient(&v, dbias, v.bias, s.dtype);
    for (int p = 0; p < NUM_PARTS; p++) {
        expect_gradient(&v, da[p], v.a[p], s.dtype);
        expect_gradient(&v, db[p], v.b[p], s.dtype);
        if (kind == HAS_LENGTHS)
            expect_gradient(&v, dlengths[p], v.lengths[p], s.dtype);
        data_free(da[p]), data_free(db[p]), data_free(dlengths[p]);
    }
    free(want);
    device_release(s.dev, linear.scratch, bytes);
    data_free(y), data_free(dx), data_free(dw), data_free(dbias);
    free_operands(&v);
}

static void test_explicit(struct setting s) {
    check_explicit(s, PLAIN);
}

static void test_dropout(struct setting s) {
    check_explicit(s, LEAVES_OUT);
}

static void test_lengths(struct setting s) {
    check_explicit(s, HAS_LENGTHS);
}

/* A frozen matrix with a pair that is trained: its gradient is neither computed nor needed; dx may be added to. */
static void test_frozen(struct setting s) {
    struct operands v;
    make_operands(&v, s);
    struct data whole = data_output(s.dev, v.x.t), added = data_zero(s.dev, v.x.t), none = {.dev = s.dev};
    struct linear linear = {.w = weight_of(v.w, none), .num_parts = 1};
    linear.parts[0] = (struct low_rank){
        .a = weight_of(v.a[0], none), .b = weight_of(v.b[0], none), .scale = 0.5f, .num_rows = 16};
    size_t bytes = linear_scratch_bytes(&linear, N);
    linear.scratch = device_allocate(s.dev, bytes);
    linear_backward(s.dev, whole.t, v.g.t, v.x.t, &linear, OP_OVERWRITE);
    linear_backward(s.dev, added.t, v.g.t, v.x.t, &linear, OP_ACCUMULATE);
    assert_true(same_bits(whole, added));
    linear_backward(s.dev, added.t, v.g.t, v.x.t, &linear, OP_ACCUMULATE);
    assert_false(same_bits(whole, added)); /* the control: twice */
    device_release(s.dev, linear.scratch, bytes);
    data_free(whole), data_free(added);
    free_operands(&v);
}

/* What a backward is given of its forward, and what it computes. */
struct kept_trial {
    struct linear linear;
    struct data dx, da, db;
};

/* kept_make - one pair, with a dropout; `down` is where x A^T stays, without memory: it does not. */
static struct kept_trial kept_make(struct operands *v, struct tensor down) {
    struct data none = {.dev = v->x.dev};
    struct kept_trial t = {.dx = data_output(v->x.dev, v->x.t),
                           .da = gradient_of(v, v->a[0]),
                           .db = gradient_of(v, v->b[0]),
                           .linear = {.w = weight_of(v->w, none), .num_parts = 1}};
    t.linear.parts[0] = (struct low_rank){.a = weight_of(v->a[0], t.da),
                                          .b = weight_of(v->b[0], t.db),
                                          .scale = PARTS[0].scale,
                                          .num_rows = PARTS[0].count,
                                          .dropout = leave_out(v, 0),
                                          .down = down};
    t.linear.scratch = device_allocate(v->x.dev, linear_scratch_bytes(&t.linear, N));
    return t;
}

static void kept_free(struct kept_trial *t) {
    device_release(t->dx.dev, t->linear.scratch, linear_scratch_bytes(&t->linear, N));
    data_free(t->dx), data_free(t->da), data_free(t->db);
}

/* test_kept - the forward's x A^T gives the bits of the one that is computed again.  The controls: without it, B's gradient has other
 * bits, so it was read; the scratch memory between the two is anybody's. */
static void test_kept(struct setting s) {
    struct operands v;
    make_operands(&v, s);
    struct data down = data_output(s.dev, shape_2d(s.dtype, N, R)), y = data_output(s.dev, v.g.t);
    struct kept_trial kept = kept_make(&v, down.t), again = kept_make(&v, (struct tensor){.data = NULL});
    linear_forward(s.dev, y.t, v.x.t, &kept.linear);
    linear_backward(s.dev, kept.dx.t, v.g.t, v.x.t, &kept.linear, OP_OVERWRITE);
    linear_backward(s.dev, again.dx.t, v.g.t, v.x.t, &again.linear, OP_OVERWRITE);
    assert_true(same_bits(kept.dx, again.dx) && same_bits(kept.da, again.da) && same_bits(kept.db, again.db));
    device_zero(s.dev, down.t);
    linear_backward(s.dev, kept.dx.t, v.g.t, v.x.t, &kept.linear, OP_OVERWRITE);
    assert_true(same_bits(kept.da, again.da));
    assert_false(same_bits(kept.db, again.db));
    kept_free(&kept), kept_free(&again);
    data_free(down), data_free(y);
    free_operands(&v);
}

/* test_fp8 - the matrix's products are the ops' in 8 bits, beside a bias; dx may be added to, and a frozen matrix has no gradient.
 * The control: the same without. */
static void test_fp8(struct setting s) {
    static const struct fp8_args args = {.gradients = FP8_E5M2};
    struct operands v;
    if (!device_has_fp8(s.dev, FP8_CURRENT)) {
        print_message("no products in 8 bits on this device\n");
        return;
    }
    make_operands(&v, (struct setting){s.dev, DTYPE_BF16});
    struct data y = data_output(s.dev, v.g.t), want_y = data_output(s.dev, v.g.t),
                dx = data_output(s.dev, v.x.t), want_dx = data_output(s.dev, v.x.t),
                dw = gradient_of(&v, v.w), want_dw = gradient_of(&v, v.w);
    struct linear linear = {
        .w = weight_of(v.w, dw), .bias = weight_of(v.bias, (struct data){.dev = s.dev}), .fp8 = &args};
    struct fp8_backward at = {want_dx.t, want_dw.t, OP_OVERWRITE, linear.w.write, v.g.t, v.x.t, v.w.t};
    const struct column_args all = {.first = 0, .scale = 1, .write = OP_ACCUMULATE};
    op_fp8_forward(s.dev, want_y.t, v.x.t, v.w.t, &args);
    op_put_columns(s.dev, want_y.t, v.bias.t, &all);
    op_fp8_backward(s.dev, &at, &args);
    linear_forward(s.dev, y.t, v.x.t, &linear);
    linear_backward(s.dev, dx.t, v.g.t, v.x.t, &linear, OP_OVERWRITE);
    assert_true(same_bits(y, want_y) && same_bits(dx, want_dx) && same_bits(dw, want_dw));
    linear.w.grad.data = NULL;
    at.dw.data = NULL;
    at.dx_write = OP_ACCUMULATE;
    op_fp8_backward(s.dev, &at, &args);
    linear_backward(s.dev, dx.t, v.g.t, v.x.t, &linear, OP_ACCUMULATE);
    assert_true(same_bits(dx, want_dx));
    linear.fp8 = NULL;
    linear_forward(s.dev, y.t, v.x.t, &linear);
    assert_false(same_bits(y, want_y));
    data_free(y), data_free(want_y), data_free(dx), data_free(want_dx), data_free(dw), data_free(want_dw);
    free_operands(&v);
}

static const struct op_case CASES[] = {
    {"explicit", test_explicit}, {"dropout", test_dropout}, {"lengths", test_lengths},
    {"frozen", test_frozen},     {"kept", test_kept},       {"fp8", test_fp8},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
