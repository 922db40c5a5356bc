/* test_ops_norm.c - RMSNorm and LayerNorm with what a family may ask of them, against plain f64 loops (ops_reference.h);
 * gradients against central differences of those.  Each case runs on every device, in every type. */
#include "tests/ops_data.h"
#include "tests/ops_reference.h"

/* Central differences in f64: the error is about step^2, 1e-10. */
static const double STEP = 1e-5;

/* Rows and widths: odd ones, and those of real models. */
static const int64_t SHAPES[][2] = {{1, 5}, {7, 64}, {65, 5}, {513, 16}, {3, 576}, {5, 4096}, {2, 16384}};
enum { NUM_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

/* Llama's, Gemma's, Nemotron's, and a LayerNorm without more. */
static const struct variant {
    enum norm_kind kind;
    float offset;
    bool bias;
} VARIANTS[] = {
    {NORM_RMS, 0, false}, {NORM_RMS_ONCE, 1, false}, {NORM_LAYER, 1, true}, {NORM_LAYER, 0, false}};
enum { NUM_VARIANTS = sizeof VARIANTS / sizeof VARIANTS[0] };

static struct tensor shape_1d(enum dtype dtype, int64_t a) {
    return tensor_1d(NULL, dtype, a);
}

static struct tensor shape_2d(enum dtype dtype, int64_t a, int64_t b) {
    return tensor_2d(NULL, dtype, a, b);
}

/* One norm: as the op takes it, and exactly. */
struct norm_data {
    struct data w, bias, rstd, mean;
    struct norm norm;
    struct norm_stats stats;
    struct exact_norm exact;
};

static struct norm_data norm_make(struct setting s, const struct variant *v, int64_t rows, int64_t width) {
    struct norm_data d = {.w = data_random(s.dev, shape_1d(s.dtype, width), 2),
                          .bias = data_random(s.dev, shape_1d(s.dtype, width), 6),
                          .rstd = data_output(s.dev, shape_1d(DTYPE_F32, rows)),
                          .mean = data_output(s.dev, shape_1d(DTYPE_F32, rows))};
    d.norm = (struct norm){.kind = v->kind, .eps = (float)EPS, .offset = v->offset, .w = d.w.t};
    d.exact =
        (struct exact_norm){v->kind, (double)v->offset, width, d.w.exact, v->bias ? d.bias.exact : NULL};
    if (v->bias)
        d.norm.bias = d.bias.t;
    d.stats.rstd = d.rstd.t;
    if (v->kind == NORM_LAYER)
        d.stats.mean = d.mean.t;
    return d;
}

static void norm_free(struct norm_data d) {
    data_free(d.w), data_free(d.bias), data_free(d.rstd), data_free(d.mean);
}

static void forward_case(struct setting s, const struct variant *v, int64_t rows, int64_t width) {
    struct norm_data d = norm_make(s, v, rows, width);
    struct data x = data_random(s.dev, shape_2d(s.dtype, rows, width), 1), y = data_output(s.dev, x.t);
    double *want_y = doubles(rows * width), *want_rstd = doubles(rows), *want_mean = doubles(rows);
    for (int64_t i = 0; i < rows * width; i++) /* a mean that is not nothing beside the deviation */
        x.exact[i] += 1.5;
    data_write(x);
    for (int64_t i = 0; i < rows; i++) {
        struct exact_stats stats = norm_row(want_y + i * width, x.exact + i * width, &d.exact, s.dtype);
        want_rstd[i] = stats.rstd;
        want_mean[i] = stats.mean;
    }
    op_norm_forward(s.dev, y.t, d.stats, x.t, &d.norm);
    assert_matches(y, want_y, 2e-6);
    assert_matches(d.rstd, want_rstd, 1e-6);
    if (v->kind == NORM_LAYER)
        assert_matches(d.mean, want_mean, 1e-6);
    free(want_y), free(want_rstd), free(want_mean);
    data_free(x), data_free(y), norm_free(d);
}

static void test_forward(struct setting s) {
    for (int v = 0; v < NUM_VARIANTS; v++)
        for (int n = 0; n < NUM_SHAPES; n++)
            forward_case(s, &VARIANTS[v], SHAPES[n][0], SHAPES[n][1]);
}

/* test_settings_are_seen - each thing that a variant has changes the result. */
static void test_settings_are_seen(struct setting s) {
    enum { ROWS = 3, WIDTH = 64 };
    struct data x = data_random(s.dev, shape_2d(s.dtype, ROWS, WIDTH), 1), y = data_output(s.dev, x.t),
                other = data_output(s.dev, x.t);
    struct norm_data d = norm_make(s, &VARIANTS[2], ROWS, WIDTH);
    op_norm_forward(s.dev, y.t, d.stats, x.t, &d.norm);
    for (int change = 0; change < 4; change++) {
        struct norm changed = d.norm;
        if (change == 0)
            changed.offset = 0;
        if (change == 1)
            changed.bias = (struct tensor){.data = NULL};
        if (change == 2)
            changed.eps = 0.5f;
        if (change == 3)
            changed.kind = NORM_RMS_ONCE, changed.bias = (struct tensor){.data = NULL};
        op_norm_forward(s.dev, other.t, d.stats, x.t, &changed);
        assert_false(same_bits(other, y));
    }
    data_free(x), data_free(y), data_free(other), norm_free(d);
}

/* add_case - the same bits as the add and the norm one after the other, also onto an addend. */
static void add_case(struct setting s, const struct variant *v, int64_t rows, int64_t width) {
    struct norm_data d = norm_make(s, v, rows, width), want = norm_make(s, v, rows, width);
    struct data a = data_random(s.dev, shape_2d(s.dtype, rows, width), 1), b = data_random(s.dev, a.t, 2);
    struct data sum = data_output(s.dev, a.t), want_sum = data_output(s.dev, a.t);
    struct data y = data_output(s.dev, a.t), want_y = data_output(s.dev, a.t);
    op_add(s.dev, want_sum.t, a.t, b.t);
    op_norm_forward(s.dev, want_y.t, want.stats, want_sum.t, &d.norm);
    op_add_norm_forward(s.dev, y.t, sum.t, d.stats, a.t, b.t, &d.norm);
    assert_true(same_bits(sum, want_sum) && same_bits(y, want_y));
    assert_true(same_bits(d.rstd, want.rstd) && same_bits(d.mean, want.mean));
    assert_false(same_bits(sum, a) || same_bits(y, sum));
    op_add_norm_forward(s.dev, y.t, a.t, d.stats, a.t, b.t, &d.norm);
    assert_true(same_bits(a, want_sum) && same_bits(y, want_y));
    data_free(a), data_free(b), data_free(sum), data_free(want_sum), data_free(y), data_free(want_y);
    norm_free(d), norm_free(want);
}

static void test_add(struct setting s) {
    for (int v = 0; v < NUM_VARIANTS; v++)
        for (int n = 0; n < NUM_SHAPES; n++)
            add_case(s, &VARIANTS[v], SHAPES[n][0], SHAPES[n][1]);
}

/* test_reference - the f64 gradients against central differences of the f64 forward. */
static void test_reference(struct setting s) {
    enum { WIDTH = 37 };
    struct data x = data_random(s.dev, shape_1d(DTYPE_F32, WIDTH), 1), dy = data_random(s.dev, x.t, 3);
    for (int v = 0; v < NUM_VARIANTS; v++) {
        struct norm_data d = norm_make(s, &VARIANTS[v], 1, WIDTH);
        double dx[WIDTH] = {0}, dw[WIDTH] = {0};
        norm_gradient(dx, dw, dy.exact, x.exact, &d.exact);
        for (int64_t c = 0; c < WIDTH; c++) {
            double want = (norm_loss(&d.exact, x.exact, dy.exact, c, STEP) -
                           norm_loss(&d.exact, x.exact, dy.exact, c, -STEP)) /
                          (2 * STEP);
            assert_true(fabs(dx[c] - want) <= 1e-8);
            assert_false(fabs(dx[c] + 1e-6 - want) <= 1e-8);
        }
        norm_free(d);
    }
    data_free(x), data_free(dy);
}

static void backward_case(struct setting s, const struct variant *v, int64_t rows, int64_t width) {
    struct norm_data d = norm_make(s, v, rows, width);
    struct data x = data_random(s.dev, shape_2d(s.dtype, rows, width), 1), dy = data_random(s.dev, x.t, 3),
                dx = data_random(s.dev, x.t, 4), dw = data_random(s.dev, shape_1d(DTYPE_F32, width), 5);
    double *want_dx = doubles(rows * width), *want_dw = doubles(width);
    memcpy(want_dx, dx.exact, (size_t)(rows * width) * sizeof(double));
    memcpy(want_dw, dw.exact, (size_t)width * sizeof(double));
    for (int64_t i = 0; i < rows; i++) {
        struct exact_stats stats =
            norm_gradient(want_dx + i * width, want_dw, dy.exact + i * width, x.exact + i * width, &d.exact);
        d.rstd.exact[i] = stats.rstd;
        d.mean.exact[i] = stats.mean;
    }
    data_write(d.rstd), data_write(d.mean);
    op_norm_backward(s.dev, dx.t, dw.t, dy.t, x.t, d.stats, &d.norm);
    assert_matches(dx, want_dx, 5e-6);
    assert_matches(dw, want_dw, 5e-6);
    struct data frozen = data_random(s.dev, x.t, 4); /* dx as it was; no gradient of w is wanted */
    op_norm_backward(s.dev, frozen.t, (struct tensor){.data = NULL}, dy.t, x.t, d.stats, &d.norm);
    assert_matches(frozen, want_dx, 5e-6);
    free(want_dx), free(want_dw);
    data_free(x), data_free(dy), data_free(dx), data_free(dw), data_free(frozen), norm_free(d);
}

static void test_backward(struct setting s) {
    for (int v = 0; v < NUM_VARIANTS; v++)
        for (int n = 0; n < NUM_SHAPES; n++)
            backward_case(s, &VARIANTS[v], SHAPES[n][0], SHAPES[n][1]);
}

static const struct op_case CASES[] = {
    {"norm_forward", test_forward},     {"norm_settings", test_settings_are_seen}, {"add_norm", test_add},
    {"norm_reference", test_reference}, {"norm_backward", test_backward},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
