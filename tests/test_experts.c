/* test_experts.c - the ops of experts, against loops and finite differences in f64: which experts, their weights, the order
 * of the places, the way there and back, products with the matrix of each place's expert.  Extremes: equal logits, all rows to one
 * expert, experts that nobody sends anything. */
#include <math.h>

#include "tests/experts_problem.h"

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

/* A grouped product and its gradients: x [places, inputs], w [experts outputs, inputs], y with columns of others beside its own. */
struct product {
    struct data x, w, y, dw, dx;
    int inputs, outputs, first, wide;
    double *want_y, *want_dw, *want_dx;
};

static void product_open(struct product *g, const struct problem *p, enum dtype dtype) {
    struct device *dev = p->dev;
    int rows = p->shape.experts * g->outputs;
    g->x = data_random(dev, tensor_2d(NULL, dtype, p->num_places, g->inputs), 15);
    g->w = data_random(dev, tensor_2d(NULL, dtype, rows, g->inputs), 16);
    g->y = data_random(dev, tensor_2d(NULL, dtype, p->num_places, g->wide), 17);
    g->dw = data_output(dev, tensor_2d(NULL, DTYPE_F32, rows, g->inputs));
    g->dx = data_output(dev, g->x.t);
    g->want_y = xcalloc((size_t)(p->num_places * g->wide), sizeof *g->want_y);
    g->want_dw = xcalloc((size_t)(rows * g->inputs), sizeof *g->want_dw);
    g->want_dx = xcalloc((size_t)(p->num_places * g->inputs), sizeof *g->want_dx);
    memcpy(g->want_y, g->y.exact, (size_t)(p->num_places * g->wide) * sizeof *g->want_y);
}

static void product_close(struct product *g) {
    free(g->want_y), free(g->want_dw), free(g->want_dx);
    data_free(g->x), data_free(g->w), data_free(g->y), data_free(g->dw), data_free(g->dx);
}

/* product_compute - in f64; the gradients of y as it is, twice. */
static void product_compute(const struct product *g, const struct problem *p) {
    for (int at = 0; at < p->num_places; at++)
        for (int o = 0; o < g->outputs; o++) {
            int expert = p->experts_of[p->sources_of[at]], column = at * g->wide + g->first + o;
            const double *x = g->x.exact + at * g->inputs, dy = g->y.exact[column];
            int64_t row = (int64_t)(expert * g->outputs + o) * g->inputs;
            g->want_y[column] = 0;
            for (int c = 0; c < g->inputs; c++) {
                g->want_y[column] += x[c] * g->w.exact[row + c];
                g->want_dw[row + c] += 2 * dy * x[c];
                g->want_dx[at * g->inputs + c] += 2 * dy * g->w.exact[row + c];
            }
        }
}

/* Products, and their gradients once and added to, with columns of others beside theirs that stay. */
static void check_grouped(struct setting s, const struct problem *p, struct product g) {
    struct tensor starts = p->starts.t;
    const struct column_args part = {.first = g.first, .scale = 1}, more = {g.first, 1, OP_ACCUMULATE};
    product_open(&g, p, s.dtype);
    product_compute(&g, p);
    for (int twice = 0; twice < 2; twice++) {
        op_grouped_backward_weight(s.dev, g.dw.t, g.y.t, g.x.t, starts, twice ? &more : &part);
        op_grouped_backward_input(s.dev, g.dx.t, g.y.t, g.w.t, starts, twice ? &more : &part);
    }
    op_grouped_forward(s.dev, g.y.t, g.x.t, g.w.t, starts, &part);
    assert_matches(g.y, g.want_y, 1e-6);
    for (int at = 0; at < p->num_places * g.wide; at++) /* other columns stay */
        if (at % g.wide >= g.first && at % g.wide < g.first + g.outputs)
            g.want_y[at] += g.want_y[at];
    op_grouped_forward(s.dev, g.y.t, g.x.t, g.w.t, starts, &more);
    assert_matches(g.y, g.want_y, s.dtype == DTYPE_F32 ? 1e-6 : 1e-2); /* of a sum that was rounded */
    assert_matches(g.dw, g.want_dw, 1e-5);
    assert_matches(g.dx, g.want_dx, 1e-5);
    product_close(&g);
}

/* favour - route with one expert that nobody sends anything, and another that everybody does. */
static void favour(struct problem *p, int nobody, int everybody) {
    for (int i = 0; i < p->shape.rows; i++) {
        p->logits.exact[i * p->shape.experts + nobody] = -50;
        p->logits.exact[i * p->shape.experts + everybody] = 50;
    }
    data_write(p->logits);
    route(p);
}

/* Odd widths and columns; rows that move by 16 bytes, one tile and several in each direction, ends of tiles in all three. */
static void test_grouped(struct setting s) {
    const struct product odd = {.inputs = WIDTH, .outputs = OUTPUTS, .first = 3, .wide = OUTPUTS + 5},
                         small = {.inputs = 40, .outputs = 24, .first = 8, .wide = 40},
                         large = {.inputs = 200, .outputs = 136, .first = 0, .wide = 136};
    struct problem p;
    problem_open(&p, s.dev, SMALL, true);
    favour(&p, 1, 4);
    check_grouped(s, &p, odd);
    check_grouped(s, &p, small);
    problem_close(&p);
    problem_open(&p, s.dev, (struct shape){150, 40, 2}, true);
    favour(&p, 0, 37);
    check_grouped(s, &p, odd);
    check_grouped(s, &p, large);
    problem_close(&p);
}

static const struct op_case CASES[] = {
    {"route", test_route},
    {"route_many", test_many},
    {"route_extremes", test_extremes},
    {"route_backward", test_route_backward},
    {"spread_and_collect", test_spread_and_collect},
    {"grouped", test_grouped},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
