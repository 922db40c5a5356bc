/* test_ops_xielu.c - the activation xIELU against its formula in f64, its gradients against central differences of that, on
 * every device, in every type.  That the formula is transformers', tests/test_model.c shows.  Controls: with one of the four
 * values moved, other numbers. */
#include "tests/ops_data.h"

/* alpha_p, alpha_n, beta and eps; those that models have, and others, of which eps is seen from afar. */
enum { ALPHA_P, ALPHA_N, BETA, EPS, NUM_VALUES };
static const double VALUES[][NUM_VALUES] = {
    {0.203, -1.05, 0.5, -1e-6}, {-0.75, 0.25, 0.75, -0.375}, {30, -30, 0.5, -1e-6}, {-1, 2, -0.25, 0.5}};
enum { NUM_SETS = sizeof VALUES / sizeof VALUES[0] };

static const int64_t COUNTS[] = {1, 5, 2047, 2049, 100003};
enum { NUM_COUNTS = sizeof COUNTS / sizeof COUNTS[0] };

static double softplus(double a) {
    return log1p(exp(-fabs(a))) + fmax(a, 0);
}

static double xielu_value(double x, const double *v) {
    double n = v[BETA] + softplus(v[ALPHA_N]);
    if (x > 0)
        return softplus(v[ALPHA_P]) * x * x + v[BETA] * x;
    return n * (expm1(fmin(x, v[EPS])) - x) + v[BETA] * x;
}

/* slope_by - central difference by x, or by one of the values; no difference reaches over zero or eps. */
static double slope_by_x(double x, const double *v) {
    double corner = fmin(v[EPS], 0), far = fmin(fabs(x), fabs(x - corner)),
           step = far > 2e-5 ? 1e-5 : far / 2;
    if (step > 0)
        return (xielu_value(x + step, v) - xielu_value(x - step, v)) / (2 * step);
    return x < v[EPS]
               ? v[BETA]
               : -softplus(v[ALPHA_N]); /* at a corner: of the branch below zero; from eps on beta - n */
}

static double slope_by(double x, const double *v, int number) {
    const double step = 1e-5;
    double above[NUM_VALUES], below[NUM_VALUES];
    memcpy(above, v, sizeof above), memcpy(below, v, sizeof below);
    above[number] += step, below[number] -= step;
    return (xielu_value(x, above) - xielu_value(x, below)) / (2 * step);
}

/* The tensors of one call. */
struct xielu_data {
    struct data x, dy, y, dx, values[NUM_VALUES], dalpha[2];
    double v[NUM_VALUES]; /* as they were rounded */
    struct xielu xielu;
};

static struct xielu_data xielu_make(struct setting s, int64_t count, const double *values) {
    struct xielu_data d = {.x = data_random(s.dev, tensor_1d(NULL, s.dtype, count), 1)};
    for (int64_t i = 0; i < count; i++)
        d.x.exact[i] *= i % 7 == 3    ? 1e-4
                        : i % 11 == 5 ? 8
                                      : 1; /* near zero, and where exponentials vanish */
    data_write(d.x);
    d.dy = data_random(s.dev, d.x.t, 2), d.y = data_output(s.dev, d.x.t), d.dx = data_output(s.dev, d.x.t);
    for (int k = 0; k < NUM_VALUES; k++) {
        d.values[k] = data_zero(s.dev, tensor_1d(NULL, s.dtype, 1));
        data_set(d.values[k], 0, values[k]);
        d.v[k] = d.values[k].exact[0];
    }
    for (int k = 0; k < 2; k++)
        d.dalpha[k] = data_random(s.dev, tensor_1d(NULL, DTYPE_F32, 1), 3);
    d.xielu = (struct xielu){d.values[ALPHA_P].t, d.values[ALPHA_N].t, d.values[BETA].t, d.values[EPS].t};
    return d;
}

static void xielu_free(struct xielu_data d) {
    data_free(d.x), data_free(d.dy), data_free(d.y), data_free(d.dx);
    for (int k = 0; k < NUM_VALUES; k++)
        data_free(d.values[k]);
    data_free(d.dalpha[0]), data_free(d.dalpha[1]);
}

static double *map(const struct xielu_data *d, double (*f)(double, const double *), const double *v,
                   const double *times) {
    int64_t count = tensor_count(d->x.t);
    double *values = xcalloc((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = f(d->x.exact[i], v) * (times ? times[i] : 1);
    return values;
}

static void test_forward(struct setting s) {
    for (int n = 0; n < NUM_SETS * NUM_COUNTS; n++) {
        struct xielu_data d = xielu_make(s, COUNTS[n / NUM_SETS], VALUES[n % NUM_SETS]);
        double *want = map(&d, xielu_value, d.v, NULL);
        op_xielu_forward(s.dev, d.y.t, d.x.t, &d.xielu);
        assert_matches(d.y, want, 1e-6);
        free(want);
        xielu_free(d);
    }
}

/* Each of the values counts; eps where it is not next to nothing. */
static void test_values_count(struct setting s) {
    struct xielu_data d = xielu_make(s, 2049, VALUES[1]);
    op_xielu_forward(s.dev, d.y.t, d.x.t, &d.xielu);
    data_refresh(d.y);
    for (int k = 0; k < NUM_VALUES; k++) {
        double moved[NUM_VALUES];
        int64_t where;
        memcpy(moved, d.v, sizeof moved);
        moved[k] += 0.25;
        double *other = map(&d, xielu_value, moved, NULL);
        assert_true(worst_ratio(d.y.exact, other, 2049, tolerance_of(d.y, 1e-3), &where) > 1);
        free(other);
    }
    xielu_free(d);
}

static void test_backward(struct setting s) {
    for (int n = 0; n < NUM_SETS * NUM_COUNTS; n++) {
        struct xielu_data d = xielu_make(s, COUNTS[n / NUM_SETS], VALUES[n % NUM_SETS]);
        struct xielu_grad none = {0};
        int64_t count = tensor_count(d.x.t);
        double *want = map(&d, slope_by_x, d.v, d.dy.exact), size[2] = {0, 0};
        double sums[2] = {d.dalpha[0].exact[0], d.dalpha[1].exact[0]};
        for (int64_t i = 0; i < count; i++)
            for (int k = 0; k < 2; k++) {
                double term = d.dy.exact[i] * slope_by(d.x.exact[i], d.v, k);
                sums[k] += term;
                size[k] += fabs(term);
            }
        op_xielu_backward(s.dev, d.dx.t, (struct xielu_grad){d.dalpha[0].t, d.dalpha[1].t}, d.dy.t, d.x.t,
                          &d.xielu);
        assert_matches(d.dx, want, 2e-6);
        for (int k = 0; k < 2; k++) { /* of a sum that cancels: against the sum of sizes */
            double error = fabs(data_get(d.dalpha[k], 0) - sums[k]);
            assert_true(error <= 1e-6 * (size[k] + 1));
        }
        op_xielu_backward(s.dev, d.y.t, none, d.dy.t, d.x.t, &d.xielu); /* not wanted */
        assert_true(same_bits(d.y, d.dx));
        op_xielu_backward(s.dev, d.x.t, none, d.dy.t, d.x.t, &d.xielu); /* in place */
        assert_true(same_bits(d.x, d.dx));
        free(want);
        xielu_free(d);
    }
}

/* The sums have the same bits each time. */
static void test_again(struct setting s) {
    struct xielu_data a = xielu_make(s, 100003, VALUES[0]), b = xielu_make(s, 100003, VALUES[0]);
    op_xielu_backward(s.dev, a.dx.t, (struct xielu_grad){a.dalpha[0].t, a.dalpha[1].t}, a.dy.t, a.x.t,
                      &a.xielu);
    op_xielu_backward(s.dev, b.dx.t, (struct xielu_grad){b.dalpha[0].t, b.dalpha[1].t}, b.dy.t, b.x.t,
                      &b.xielu);
    assert_true(same_bits(a.dalpha[0], b.dalpha[0]) && same_bits(a.dalpha[1], b.dalpha[1]));
    assert_true(data_get(a.dalpha[0], 0) != a.dalpha[0].exact[0]);
    assert_true(data_get(a.dalpha[1], 0) != a.dalpha[1].exact[0]);
    xielu_free(a), xielu_free(b);
}

static void test_nan(struct setting s) {
    struct xielu_data d = xielu_make(s, 100, VALUES[0]);
    data_set(d.x, 3, (double)NAN);
    op_xielu_forward(s.dev, d.y.t, d.x.t, &d.xielu);
    op_xielu_backward(s.dev, d.dx.t, (struct xielu_grad){d.dalpha[0].t, d.dalpha[1].t}, d.dy.t, d.x.t,
                      &d.xielu);
    assert_true(isnan(data_get(d.y, 3)) && isnan(data_get(d.dx, 3)));
    assert_true(!isnan(data_get(d.y, 4)) && !isnan(data_get(d.dx, 4)));
    xielu_free(d);
}

static const struct op_case CASES[] = {
    {"xielu_forward", test_forward},   {"xielu_values_count", test_values_count},
    {"xielu_backward", test_backward}, {"xielu_again", test_again},
    {"xielu_nan", test_nan},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
