/* test_experts.c - the ops of experts, against loops and finite differences in f64: which experts, their weights, the order
 * of the places, the way there and back, products with the matrix of each place's expert.  Extremes: equal logits, all rows to one
 * expert, experts that nobody sends anything. */
#include <math.h>

#include "tests/ops_data.h"

enum { WIDTH = 20, OUTPUTS = 12, MOST_EXPERTS = 70 };

/* How many there are of each. */
struct shape {
    int rows, experts, chosen;
};

static const struct shape SMALL = {37, 6, 2}, MORE = {41, MOST_EXPERTS, 5}, EIGHT = {29, 8, 8};

struct problem {
    struct device *dev;
    struct shape shape;
    int num_places;
    struct data logits, experts, weights, places, sources, starts;
    struct expert_routes routes;
    struct route_args args;
    int32_t *host; /* what route() wrote: */
    const int32_t *experts_of, *places_of, *sources_of, *starts_of;
};

static void problem_open(struct problem *p, struct device *dev, struct shape n, bool renormalises) {
    p->dev = dev;
    p->shape = n;
    p->num_places = n.rows * n.chosen;
    p->args = (struct route_args){n.chosen, renormalises};
    p->logits = data_random(dev, tensor_2d(NULL, DTYPE_F32, n.rows, n.experts), 11);
    p->experts = data_output(dev, tensor_2d(NULL, DTYPE_I32, n.rows, n.chosen));
    p->weights = data_output(dev, tensor_2d(NULL, DTYPE_F32, n.rows, n.chosen));
    p->places = data_output(dev, tensor_2d(NULL, DTYPE_I32, n.rows, n.chosen));
    p->sources = data_output(dev, tensor_1d(NULL, DTYPE_I32, p->num_places));
    p->starts = data_output(dev, tensor_1d(NULL, DTYPE_I32, n.experts + 1));
    p->routes = (struct expert_routes){p->experts.t, p->weights.t, p->places.t, p->sources.t, p->starts.t};
    p->host = xcalloc((size_t)(3 * p->num_places + n.experts + 1), sizeof *p->host);
    p->experts_of = p->host, p->places_of = p->host + p->num_places;
    p->sources_of = p->places_of + p->num_places, p->starts_of = p->sources_of + p->num_places;
}

static void problem_close(struct problem *p) {
    data_free(p->logits), data_free(p->experts), data_free(p->weights);
    data_free(p->places), data_free(p->sources), data_free(p->starts);
    free(p->host);
}

static void route(struct problem *p) {
    op_route(p->dev, &p->routes, p->logits.t, &p->args);
    const struct tensor written[] = {p->experts.t, p->places.t, p->sources.t, p->starts.t};
    int32_t *to = p->host;
    for (int i = 0; i < 4; i++) {
        device_download(p->dev, to, written[i]);
        to += tensor_count(written[i]);
    }
    data_refresh(p->weights);
}

/* own_weights - of row i, in f64, into w [experts]: 0 of those that are not chosen. */
static void own_weights(double *w, const struct problem *p, int i, bool renormalises) {
    const double *z = p->logits.exact + i * p->shape.experts;
    const int32_t *chosen = p->experts_of + i * p->shape.chosen;
    double sum = 0, of_chosen = 0;
    for (int e = 0; e < p->shape.experts; e++)
        sum += exp(z[e]);
    memset(w, 0, (size_t)p->shape.experts * sizeof *w);
    for (int k = 0; k < p->shape.chosen; k++)
        of_chosen += w[chosen[k]] = exp(z[chosen[k]]) / sum;
    for (int e = 0; e < p->shape.experts && renormalises; e++)
        w[e] /= of_chosen;
}

/* check_order - the places are those of the experts, in the order of the rows, each once. */
static void check_order(const struct problem *p) {
    assert_int_equal(p->starts_of[0], 0);
    assert_int_equal(p->starts_of[p->shape.experts], p->num_places);
    for (int e = 0; e < p->shape.experts; e++)
        for (int at = p->starts_of[e]; at < p->starts_of[e + 1]; at++) {
            int source = p->sources_of[at];
            assert_in_range(source, 0, p->num_places - 1);
            assert_int_equal(p->experts_of[source], e);
            assert_int_equal(p->places_of[source], at);
            assert_true(at == p->starts_of[e] || source > p->sources_of[at - 1]);
        }
}

/* check_choice - of row i: no logit is larger than one that comes before it, or than the last chosen one. */
static void check_choice(const struct problem *p, int i) {
    const double *z = p->logits.exact + i * p->shape.experts;
    const int32_t *chosen = p->experts_of + i * p->shape.chosen;
    int last = p->shape.chosen - 1;
    bool is_chosen[MOST_EXPERTS] = {false};
    for (int k = 0; k <= last; k++) {
        assert_false(is_chosen[chosen[k]]);
        is_chosen[chosen[k]] = true;
        assert_true(k == 0 || z[chosen[k]] <= z[chosen[k - 1]]);
    }
    for (int e = 0; e < p->shape.experts; e++)
        assert_true(is_chosen[e] || z[e] <= z[chosen[last]]);
}

static void check_route(struct device *dev, struct shape n, bool renormalises) {
    struct problem p;
    double want[MOST_EXPERTS];
    problem_open(&p, dev, n, renormalises);
    route(&p);
    check_order(&p);
    for (int i = 0; i < n.rows; i++) {
        const int32_t *chosen = p.experts_of + i * n.chosen;
        check_choice(&p, i);
        own_weights(want, &p, i, renormalises);
        for (int k = 0; k < n.chosen; k++)
            assert_true(fabs(p.weights.exact[i * n.chosen + k] - want[chosen[k]]) < 1e-6);
        own_weights(want, &p, i, !renormalises); /* the control: where all are chosen, the two are one */
        assert_true(n.chosen == n.experts || fabs(p.weights.exact[i * n.chosen] - want[chosen[0]]) > 1e-3);
    }
    problem_close(&p);
}

static void test_route(struct setting s) {
    const struct shape shapes[] = {SMALL, MORE, EIGHT};
    for (int i = 0; i < 3; i++)
        for (int renormalises = 0; renormalises < 2; renormalises++)
            check_route(s.dev, shapes[i], renormalises);
}

/* So many choices that a GPU takes several rounds to sort them; once, for they have one type. */
static void test_many(struct setting s) {
    const struct shape many = {8300, 9, 8};
    struct problem p;
    if (s.dtype != DTYPE_BF16)
        return;
    problem_open(&p, s.dev, many, true);
    route(&p);
    check_order(&p);
    for (int i = 0; i < many.rows; i++)
        check_choice(&p, i);
    problem_close(&p);
}

/* Equal logits: the first experts, equal weights.  One that stands out: all rows go there, and two of the others' are empty.  A row
 * with a NaN: the first experts, and NaN. */
static void test_extremes(struct setting s) {
    struct problem p;
    const int chosen = SMALL.chosen;
    problem_open(&p, s.dev, SMALL, true);
    for (int i = 0; i < SMALL.rows * SMALL.experts; i++)
        p.logits.exact[i] = 0.5;
    data_write(p.logits);
    route(&p);
    check_order(&p);
    for (int i = 0; i < SMALL.rows; i++) {
        assert_int_equal(p.experts_of[i * chosen], 0);
        assert_int_equal(p.experts_of[i * chosen + 1], 1);
        assert_true(p.weights.exact[i * chosen] == 0.5);
    }
    for (int i = 0; i < SMALL.rows; i++)
        p.logits.exact[i * SMALL.experts + 4] = 60, p.logits.exact[i * SMALL.experts + 2] = 3;
    p.logits.exact[5 * SMALL.experts + 3] = NAN;
    data_write(p.logits);
    route(&p);
    check_order(&p);
    assert_int_equal(p.starts_of[5] - p.starts_of[4], SMALL.rows - 1);
    assert_int_equal(p.starts_of[4] - p.starts_of[3], 0);
    assert_int_equal(p.experts_of[5 * chosen], 0);
    assert_int_equal(p.experts_of[5 * chosen + 1], 1);
    for (int i = 0; i < SMALL.rows; i++)
        if (i == 5)
            assert_true(isnan(p.weights.exact[i * chosen]) && isnan(p.weights.exact[i * chosen + 1]));
        else
            assert_true(p.weights.exact[i * chosen] > 0.999999 && p.weights.exact[i * chosen + 1] < 1e-20);
    problem_close(&p);
}

/* slopes - the gradient of sum of dw[k] w[k] by differences of own_weights with the choice kept, into want. */
static void slopes(double *want, const struct problem *p, const double *dw) {
    const struct shape n = p->shape;
    double w[MOST_EXPERTS];
    for (int at = 0; at < n.rows * n.experts; at++) {
        int i = at / n.experts;
        double kept = p->logits.exact[at];
        want[at] = 0;
        for (int sign = -1; sign <= 1; sign += 2) {
            p->logits.exact[at] = kept + sign * 1e-5;
            own_weights(w, p, i, p->args.renormalises);
            for (int k = i * n.chosen; k < (i + 1) * n.chosen; k++)
                want[at] += sign * w[p->experts_of[k]] * dw[k] / 2e-5;
        }
        p->logits.exact[at] = kept;
    }
}

static void check_route_backward(struct device *dev, struct shape n, bool renormalises) {
    struct problem p;
    int64_t count = n.rows * n.experts, where;
    problem_open(&p, dev, n, renormalises);
    struct data dw = data_random(dev, p.weights.t, 12), dz = data_output(dev, p.logits.t);
    double *want = xcalloc((size_t)count, sizeof *want);
    route(&p);
    op_route_backward(dev, dz.t, dw.t, p.logits.t, &p.routes, &p.args);
    slopes(want, &p, dw.exact);
    assert_matches(dz, want, 1e-5);
    want[3] += 0.01; /* the control */
    data_refresh(dz);
    assert_true(worst_ratio(dz.exact, want, count, tolerance_of(dz, 1e-5), &where) > 1);
    free(want);
    data_free(dw), data_free(dz);
    problem_close(&p);
}

static void test_route_backward(struct setting s) {
    for (int renormalises = 0; renormalises < 2; renormalises++) {
        check_route_backward(s.dev, SMALL, renormalises);
        check_route_backward(s.dev, MORE, renormalises);
    }
}

/* Rows of three sequences, some of nobody: what is counted, and what the losses of it are. */
enum { SEQUENCES = 3, ROWS = 37, EXPERTS = 6, CHOSEN = 2 }; /* of SMALL */

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
    if (!s.dev->ops->route_count)
        return;
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
        assert_int_equal(((const int32_t *)c.chosen.t.data)[i], 2 * chosen[i]);
        shares[i] *= 2;
    }
    for (int e = 0; e < EXPERTS; e++)
        assert_int_equal(((const int32_t *)c.load.t.data)[e], 2 * load[e]);
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
        sum += FACTORS[i / EXPERTS][0] * ((const int32_t *)c->chosen.t.data)[i] * shares[i];
    for (int i = 0; i < SEQUENCES; i++)
        sum += FACTORS[i][1] * squares[i];
    return sum;
}

/* The gradient by the op, added to ones, and by differences. */
static void test_route_losses_backward(struct setting s) {
    struct problem p;
    struct counted c;
    if (!s.dev->ops->route_losses_backward)
        return;
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

/* What experts made of rows, and the way back: op_collect, with weights and without, and its gradient, in place as well. */
static void check_collect(struct problem *p, struct data x, struct data at) {
    struct device *dev = p->dev;
    const int chosen = p->shape.chosen, width = (int)x.t.dims[1];
    struct data y = data_output(dev, x.t), dx = data_output(dev, at.t), dw = data_output(dev, p->weights.t);
    double *sum = xcalloc((size_t)tensor_count(x.t), sizeof *sum),
           *plain = xcalloc((size_t)tensor_count(x.t), sizeof *sum),
           *want = xcalloc((size_t)tensor_count(at.t), sizeof *want),
           *dots = xcalloc((size_t)p->num_places, sizeof *dots);
    struct tensor none = {0};
    for (int slot = 0; slot < p->num_places; slot++)
        for (int c = 0; c < width; c++) {
            int place = p->places_of[slot] * width + c, row = slot / chosen * width + c;
            sum[row] += p->weights.exact[slot] * at.exact[place];
            plain[row] += at.exact[place];
            want[place] = p->weights.exact[slot] * x.exact[row];
            dots[slot] += x.exact[row] * at.exact[place];
        }
    op_collect(dev, y.t, at.t, p->weights.t, &p->routes);
    assert_matches(y, sum, 1e-6);
    op_collect(dev, y.t, at.t, none, &p->routes);
    assert_matches(y, plain, 1e-6);
    op_collect_backward(dev, dx.t, dw.t, x.t, at.t, &p->routes);
    assert_matches(dx, want, 1e-6);
    assert_matches(dw, dots, 1e-5);
    op_collect_backward(dev, at.t, dw.t, x.t, at.t, &p->routes);
    assert_true(same_bits(at, dx));
    assert_matches(dw, dots, 1e-5);
    free(sum), free(plain), free(want), free(dots);
    data_free(y), data_free(dx), data_free(dw);
}

static void check_rows(struct setting s, struct shape n, int width) {
    struct problem p;
    problem_open(&p, s.dev, n, true);
    route(&p);
    struct data x = data_random(s.dev, tensor_2d(NULL, s.dtype, n.rows, width), 13),
                y = data_output(s.dev, tensor_2d(NULL, s.dtype, p.num_places, width)),
                at = data_random(s.dev, y.t, 14);
    double *want = xcalloc((size_t)(p.num_places * width), sizeof *want);
    op_spread(s.dev, y.t, x.t, &p.routes);
    for (int i = 0; i < p.num_places * width; i++)
        want[i] = x.exact[p.sources_of[i / width] / n.chosen * width + i % width];
    assert_matches(y, want, 1e-7);
    check_collect(&p, x, at);
    free(want);
    data_free(x), data_free(y), data_free(at);
    problem_close(&p);
}

/* There and back: rows of whole vectors, wider than a block takes at once, and odd ones. */
static void test_spread_and_collect(struct setting s) {
    check_rows(s, SMALL, WIDTH);
    check_rows(s, MORE, 136);
    check_rows(s, EIGHT, 37);
    check_rows(s, (struct shape){3, 4, 1}, 8200);
}

/* Products, and their gradients, with columns of others beside theirs that stay. */
static void test_grouped(struct setting s) {
    struct problem p;
    const struct column_args part = {.first = 3, .scale = 1}, more = {3, 1, OP_ACCUMULATE};
    const int wide = OUTPUTS + 5;
    if (!s.dev->ops->grouped_forward)
        return;
    problem_open(&p, s.dev, SMALL, true);
    for (int i = 0; i < SMALL.rows; i++)
        p.logits.exact[i * SMALL.experts + 1] = -50; /* an expert without places */
    data_write(p.logits);
    route(&p);
    struct data x = data_random(s.dev, tensor_2d(NULL, s.dtype, p.num_places, WIDTH), 15),
                w = data_random(s.dev, tensor_2d(NULL, s.dtype, SMALL.experts * OUTPUTS, WIDTH), 16),
                y = data_random(s.dev, tensor_2d(NULL, s.dtype, p.num_places, wide), 17),
                dw = data_zero(s.dev, tensor_2d(NULL, DTYPE_F32, SMALL.experts * OUTPUTS, WIDTH)),
                dx = data_zero(s.dev, x.t);
    double *want = xcalloc(p.num_places * wide, sizeof *want),
           *want_dw = xcalloc(SMALL.experts * OUTPUTS * WIDTH, sizeof *want),
           *want_dx = xcalloc(p.num_places * WIDTH, sizeof *want);
    memcpy(want, y.exact, (size_t)(p.num_places * wide) * sizeof *want);
    for (int at = 0; at < p.num_places; at++)
        for (int o = 0; o < OUTPUTS; o++) {
            int row = p.experts_of[p.sources_of[at]] * OUTPUTS + o;
            double dy = y.exact[at * wide + 3 + o];
            want[at * wide + 3 + o] = 0;
            for (int c = 0; c < WIDTH; c++) {
                want[at * wide + 3 + o] += x.exact[at * WIDTH + c] * w.exact[row * WIDTH + c];
                want_dw[row * WIDTH + c] += 2 * dy * x.exact[at * WIDTH + c];
                want_dx[at * WIDTH + c] += 2 * dy * w.exact[row * WIDTH + c];
            }
        }
    for (int twice = 0; twice < 2; twice++) {
        op_grouped_backward_weight(s.dev, dw.t, y.t, x.t, p.starts.t, twice ? &more : &part);
        op_grouped_backward_input(s.dev, dx.t, y.t, w.t, p.starts.t, twice ? &more : &part);
    }
    op_grouped_forward(s.dev, y.t, x.t, w.t, p.starts.t, &part);
    assert_matches(y, want, 1e-6);
    assert_matches(dw, want_dw, 1e-5);
    assert_matches(dx, want_dx, 1e-5);
    free(want), free(want_dw), free(want_dx);
    data_free(x), data_free(w), data_free(y), data_free(dw), data_free(dx);
    problem_close(&p);
}

static const struct op_case CASES[] = {
    {"route", test_route},
    {"route_many", test_many},
    {"route_extremes", test_extremes},
    {"route_backward", test_route_backward},
    {"route_count", test_route_count},
    {"route_losses_backward", test_route_losses_backward},
    {"spread_and_collect", test_spread_and_collect},
    {"grouped", test_grouped},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
