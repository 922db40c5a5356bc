/* test_experts_parts.c - what some models add to experts, against loops and finite differences in f64: what is counted of a router's
 * choices, and the losses of it; experts' biases; a gated activation within limits. */
#include <math.h>

#include "tests/experts_problem.h"

/* Rows of three sequences, some of nobody: what is counted, and what the losses of it are. */
enum { SEQUENCES = 3, ROWS = 37, EXPERTS = 6, CHOSEN = 2, PLACES = ROWS * CHOSEN }; /* of SMALL */

static const double FACTORS[SEQUENCES][2] = {{0.3, 0.2}, {0, 0.5}, {0.7, 0}};

static int sequence_of(int row) {
    return row % 7 == 3 ? -1 : row * SEQUENCES / ROWS;
}

/* count_exactly - shares [SEQUENCES, EXPERTS] and squares [SEQUENCES] in f64. */
static void count_exactly(const struct problem *p, double *shares, double *squares) {
    memset(shares, 0, SEQUENCES * EXPERTS * sizeof *shares);
    memset(squares, 0, SEQUENCES * sizeof *squares);
    for (int i = 0; i < ROWS; i++) {
        const double *z = p->logits.exact + i * EXPERTS;
        double sum = 0;
        int s = sequence_of(i);
        for (int e = 0; e < EXPERTS; e++)
            sum += exp(z[e]);
        for (int e = 0; e < EXPERTS && s >= 0; e++)
            shares[s * EXPERTS + e] += exp(z[e]) / sum;
        if (s >= 0)
            squares[s] += log(sum) * log(sum);
    }
}

struct counted {
    struct data chosen, shares, squares, load, sequences;
    struct route_counts counts;
    int32_t chosen_of[SEQUENCES * EXPERTS], load_of[EXPERTS]; /* what the op wrote */
};

/* count_open - the rows of a problem that is routed, counted `times` times. */
static void count_open(struct counted *c, struct problem *p, int times) {
    c->chosen = data_zero(p->dev, tensor_2d(NULL, DTYPE_I32, SEQUENCES, EXPERTS));
    c->shares = data_zero(p->dev, tensor_2d(NULL, DTYPE_F32, SEQUENCES, EXPERTS));
    c->squares = data_zero(p->dev, tensor_1d(NULL, DTYPE_F32, SEQUENCES));
    c->load = data_zero(p->dev, tensor_1d(NULL, DTYPE_I32, EXPERTS));
    c->sequences = data_zero(p->dev, tensor_1d(NULL, DTYPE_I32, ROWS));
    for (int i = 0; i < ROWS; i++)
        data_set(c->sequences, i, sequence_of(i));
    data_write(c->sequences);
    c->counts = (struct route_counts){c->chosen.t, c->shares.t, c->squares.t, c->load.t};
    for (int n = 0; n < times; n++)
        op_route_count(p->dev, &c->counts, p->logits.t, &p->routes, c->sequences.t);
    device_download(p->dev, c->chosen_of, c->chosen.t);
    device_download(p->dev, c->load_of, c->load.t);
}

static void count_close(struct counted *c) {
    data_free(c->chosen), data_free(c->shares), data_free(c->squares);
    data_free(c->load), data_free(c->sequences);
}

static void test_route_count(struct setting s) {
    struct problem p;
    struct counted c;
    double shares[SEQUENCES * EXPERTS], squares[SEQUENCES];
    int chosen[SEQUENCES * EXPERTS] = {0}, load[EXPERTS] = {0};
    problem_open(&p, s.dev, SMALL, false);
    route(&p);
    count_open(&c, &p, 2); /* what is there is added to */
    count_exactly(&p, shares, squares);
    for (int i = 0; i < ROWS * CHOSEN; i++) {
        int of = sequence_of(i / CHOSEN), e = p.experts_of[i];
        chosen[of < 0 ? 0 : of * EXPERTS + e] += of >= 0;
        load[e] += of >= 0;
    }
    for (int i = 0; i < SEQUENCES * EXPERTS; i++) {
        assert_int_equal(c.chosen_of[i], 2 * chosen[i]);
        shares[i] *= 2;
    }
    for (int e = 0; e < EXPERTS; e++)
        assert_int_equal(c.load_of[e], 2 * load[e]);
    for (int i = 0; i < SEQUENCES; i++)
        squares[i] *= 2;
    assert_matches(c.shares, shares, 1e-6);
    assert_matches(c.squares, squares, 1e-6);
    shares[4] += 0.01; /* the control */
    int64_t where;
    data_refresh(c.shares);
    assert_true(
        worst_ratio(c.shares.exact, shares, SEQUENCES * EXPERTS, tolerance_of(c.shares, 1e-6), &where) > 1);
    count_close(&c);
    problem_close(&p);
}

/* losses - sum of FACTORS[s][0] chosen shares + FACTORS[s][1] squares, in f64, the choice kept. */
static double losses(const struct problem *p, const struct counted *c) {
    double shares[SEQUENCES * EXPERTS], squares[SEQUENCES], sum = 0;
    count_exactly(p, shares, squares);
    for (int i = 0; i < SEQUENCES * EXPERTS; i++)
        sum += FACTORS[i / EXPERTS][0] * c->chosen_of[i] * shares[i];
    for (int i = 0; i < SEQUENCES; i++)
        sum += FACTORS[i][1] * squares[i];
    return sum;
}

/* The gradient by the op, added to ones, and by differences. */
static void test_route_losses_backward(struct setting s) {
    struct problem p;
    struct counted c;
    problem_open(&p, s.dev, SMALL, true);
    route(&p);
    count_open(&c, &p, 1);
    struct data factors = data_zero(s.dev, tensor_2d(NULL, DTYPE_F32, SEQUENCES, 2)),
                dz = data_zero(s.dev, p.logits.t);
    double *want = xcalloc(ROWS * EXPERTS, sizeof *want);
    for (int i = 0; i < SEQUENCES * 2; i++)
        data_set(factors, i, FACTORS[i / 2][i % 2]);
    data_write(factors);
    for (int i = 0; i < ROWS * EXPERTS; i++)
        data_set(dz, i, 1);
    data_write(dz);
    op_route_losses_backward(s.dev, dz.t, p.logits.t, c.chosen.t, c.sequences.t, factors.t);
    for (int i = 0; i < ROWS * EXPERTS; i++) {
        double kept = p.logits.exact[i];
        want[i] = 1;
        for (int sign = -1; sign <= 1; sign += 2) {
            p.logits.exact[i] = kept + sign * 1e-5;
            want[i] += sign * losses(&p, &c) / 2e-5;
        }
        p.logits.exact[i] = kept;
        if (sequence_of(i / EXPERTS) < 0)
            assert_true(data_get(dz, i) == 1);
    }
    assert_matches(dz, want, 1e-5);
    want[3] += 0.01; /* the control */
    int64_t where;
    data_refresh(dz);
    assert_true(worst_ratio(dz.exact, want, ROWS * EXPERTS, tolerance_of(dz, 1e-5), &where) > 1);
    free(want);
    data_free(factors), data_free(dz);
    count_close(&c);
    problem_close(&p);
}

/* Each place has its expert's bias, and the gradients are the sums over the places; an expert without places has none. */
static void test_grouped_bias(struct setting s) {
    struct problem p;
    problem_open(&p, s.dev, SMALL, true);
    for (int i = 0; i < ROWS; i++)
        data_set(p.logits, i * EXPERTS + 1, -50);
    data_write(p.logits);
    route(&p);
    struct data y = data_random(s.dev, tensor_2d(NULL, s.dtype, PLACES, OUTPUTS), 18),
                b = data_random(s.dev, tensor_1d(NULL, s.dtype, EXPERTS * OUTPUTS), 19),
                db = data_random(s.dev, tensor_1d(NULL, DTYPE_F32, EXPERTS * OUTPUTS), 20);
    double *want = xcalloc(PLACES * OUTPUTS, sizeof *want), *sums = xcalloc(EXPERTS * OUTPUTS, sizeof *sums);
    memcpy(sums, db.exact, EXPERTS * OUTPUTS * sizeof *sums);
    for (int i = 0; i < PLACES * OUTPUTS; i++) {
        int at = p.experts_of[p.sources_of[i / OUTPUTS]] * OUTPUTS + i % OUTPUTS;
        want[i] = y.exact[i] + b.exact[at];
        sums[at] += y.exact[i];
    }
    op_grouped_bias_backward(s.dev, db.t, y.t, p.starts.t);
    op_grouped_bias_forward(s.dev, y.t, b.t, p.starts.t);
    assert_matches(y, want, 1e-6);
    assert_matches(db, sums, 1e-5);
    want[0] += b.exact[OUTPUTS] - b.exact[0]; /* the control: the first place with the next expert's */
    int64_t where;
    data_refresh(y);
    assert_true(worst_ratio(y.exact, want, PLACES * OUTPUTS, tolerance_of(y, 1e-6), &where) > 1);
    free(want), free(sums);
    data_free(y), data_free(b), data_free(db);
    problem_close(&p);
}

/* clamped - the formula in f64. */
static double clamped(double gate, double up, const struct clamp_args *args) {
    double g = fmin(gate, (double)args->limit);
    double u = fmax(fmin(up, (double)args->limit), -(double)args->limit);
    return (u + 1) * g / (1 + exp(-(double)args->alpha * g));
}

/* Values on both sides of the limits, and its gradients, in place, by differences. */
static void test_clamped_glu(struct setting s) {
    const struct clamp_args args = {.alpha = 1.702f, .limit = 1.25f}, other = {1, 1.25f};
    struct data x = data_random(s.dev, tensor_2d(NULL, s.dtype, ROWS, 2 * WIDTH), 21),
                y = data_output(s.dev, tensor_2d(NULL, s.dtype, ROWS, WIDTH)),
                dy = data_random(s.dev, y.t, 22);
    double want[ROWS * WIDTH], want_dx[2 * ROWS * WIDTH];
    int outside = 0;
    data_set(x, 2, -6e4), data_set(x, 4, 1.25), data_set(x, 7, -1.25);
    for (int i = 0; i < ROWS * WIDTH; i++) {
        const double *pair = x.exact + 2 * i, step = 1e-6;
        double inside = step * (pair[0] < 1 ? 1 : -1), to_zero = step * (pair[1] < 0 ? 1 : -1);
        bool over = pair[0] > 1.25, far = fabs(pair[1]) > 1.25;
        outside += over + far;
        want[i] = clamped(pair[0], pair[1], &args);
        want_dx[2 * i] = dy.exact[i] * (clamped(pair[0] + inside, pair[1], &args) - want[i]) / inside;
        want_dx[2 * i + 1] = dy.exact[i] * (clamped(pair[0], pair[1] + to_zero, &args) - want[i]) / to_zero;
        assert_true(!(over && pair[0] + inside > 1.25) || want_dx[2 * i] == 0);
    }
    assert_true(outside > 20);
    op_clamped_glu_forward(s.dev, y.t, x.t, &args);
    assert_matches(y, want, 1e-6);
    op_clamped_glu_forward(s.dev, y.t, x.t, &other); /* the control */
    int64_t where;
    data_refresh(y);
    assert_true(worst_ratio(y.exact, want, ROWS * WIDTH, tolerance_of(y, 1e-6), &where) > 1);
    op_clamped_glu_backward(s.dev, x.t, dy.t, x.t, &args);
    assert_matches(x, want_dx, 1e-5);
    data_free(x), data_free(y), data_free(dy);
}

static const struct op_case CASES[] = {
    {"route_count", test_route_count},
    {"route_losses_backward", test_route_losses_backward},
    {"grouped_bias", test_grouped_bias},
    {"clamped_glu", test_clamped_glu},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
