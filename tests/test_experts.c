/* test_experts.c - the ops of experts on the CPU, against loops and finite differences in f64: which experts, their weights, the order
 * of the places, the way there and back, products with the matrix of each place's expert.  Extremes: equal logits, all rows to one
 * expert, experts that nobody sends anything. */
#include <math.h>

#include "tests/ops_data.h"

enum { ROWS = 37, EXPERTS = 6, CHOSEN = 2, WIDTH = 20, OUTPUTS = 12, PLACES = ROWS * CHOSEN };

struct problem {
    struct device *dev;
    struct data logits, experts, weights, places, sources, starts;
    struct expert_routes routes;
    struct route_args args;
};

static void problem_open(struct problem *p, struct device *dev, bool renormalises) {
    p->dev = dev;
    p->args = (struct route_args){CHOSEN, renormalises};
    p->logits = data_random(dev, tensor_2d(NULL, DTYPE_F32, ROWS, EXPERTS), 11);
    p->experts = data_zero(dev, tensor_2d(NULL, DTYPE_I32, ROWS, CHOSEN));
    p->weights = data_zero(dev, tensor_2d(NULL, DTYPE_F32, ROWS, CHOSEN));
    p->places = data_zero(dev, tensor_2d(NULL, DTYPE_I32, ROWS, CHOSEN));
    p->sources = data_zero(dev, tensor_1d(NULL, DTYPE_I32, PLACES));
    p->starts = data_zero(dev, tensor_1d(NULL, DTYPE_I32, EXPERTS + 1));
    p->routes = (struct expert_routes){p->experts.t, p->weights.t, p->places.t, p->sources.t, p->starts.t};
}

static void problem_close(struct problem *p) {
    data_free(p->logits), data_free(p->experts), data_free(p->weights);
    data_free(p->places), data_free(p->sources), data_free(p->starts);
}

static void route(struct problem *p) {
    op_route(p->dev, &p->routes, p->logits.t, &p->args);
}

static const int32_t *numbers(struct tensor t) {
    return t.data;
}

/* own_weights - of one row, in f64, into w [EXPERTS]: 0 of those that are not chosen, which experts[] says. */
static void own_weights(double *w, const double *z, const int32_t *experts, bool renormalises) {
    double sum = 0, chosen = 0;
    for (int e = 0; e < EXPERTS; e++)
        sum += exp(z[e]);
    memset(w, 0, EXPERTS * sizeof *w);
    for (int k = 0; k < CHOSEN; k++)
        chosen += w[experts[k]] = exp(z[experts[k]]) / sum;
    for (int e = 0; e < EXPERTS && renormalises; e++)
        w[e] /= chosen;
}

/* check_order - the places are those of the experts, in the order of the rows, each once. */
static void check_order(const struct problem *p) {
    const int32_t *starts = numbers(p->starts.t), *sources = numbers(p->sources.t);
    assert_int_equal(starts[0], 0);
    assert_int_equal(starts[EXPERTS], PLACES);
    for (int e = 0; e < EXPERTS; e++)
        for (int at = starts[e]; at < starts[e + 1]; at++) {
            assert_int_equal(numbers(p->experts.t)[sources[at]], e);
            assert_int_equal(numbers(p->places.t)[sources[at]], at);
            assert_true(at == starts[e] || sources[at] > sources[at - 1]);
        }
}

static void test_route(struct setting s) {
    for (int renormalises = 0; renormalises < 2; renormalises++) {
        struct problem p;
        double want[EXPERTS];
        problem_open(&p, s.dev, renormalises);
        route(&p);
        check_order(&p);
        for (int i = 0; i < ROWS; i++) {
            const double *z = p.logits.exact + i * EXPERTS;
            const int32_t *chosen = numbers(p.experts.t) + i * CHOSEN;
            for (int e = 0; e < EXPERTS; e++)
                if (e != chosen[0] && e != chosen[1])
                    assert_true(z[e] <= z[chosen[1]] && z[chosen[1]] <= z[chosen[0]]);
            own_weights(want, z, chosen, renormalises);
            for (int k = 0; k < CHOSEN; k++)
                assert_true(fabs(data_get(p.weights, i * CHOSEN + k) - want[chosen[k]]) < 1e-6);
            own_weights(want, z, chosen, !renormalises); /* the control */
            assert_true(fabs(data_get(p.weights, i * CHOSEN) - want[chosen[0]]) > 1e-3);
        }
        problem_close(&p);
    }
}

/* Equal logits: the first experts, equal weights.  One that stands out: all rows go there, and two of the others' are empty. */
static void test_extremes(struct setting s) {
    struct problem p;
    problem_open(&p, s.dev, true);
    for (int i = 0; i < ROWS * EXPERTS; i++)
        data_set(p.logits, i, 0.5);
    data_write(p.logits);
    route(&p);
    check_order(&p);
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(numbers(p.experts.t)[i * CHOSEN], 0);
        assert_int_equal(numbers(p.experts.t)[i * CHOSEN + 1], 1);
        assert_true(data_get(p.weights, i * CHOSEN) == 0.5);
    }
    for (int i = 0; i < ROWS; i++)
        data_set(p.logits, i * EXPERTS + 4, 60), data_set(p.logits, i * EXPERTS + 2, 3);
    data_write(p.logits);
    route(&p);
    check_order(&p);
    assert_int_equal(numbers(p.starts.t)[5] - numbers(p.starts.t)[4], ROWS);
    assert_int_equal(numbers(p.starts.t)[2], 0);
    assert_true(data_get(p.weights, 0) > 0.999999 && data_get(p.weights, 1) < 1e-20);
    problem_close(&p);
}

/* The gradient of sum of c[k] w[k], by the op and by differences of own_weights with the choice kept. */
static void test_route_backward(struct setting s) {
    for (int renormalises = 0; renormalises < 2; renormalises++) {
        struct problem p;
        problem_open(&p, s.dev, renormalises);
        struct data dw = data_random(s.dev, p.weights.t, 12), dz = data_zero(s.dev, p.logits.t);
        double *want = xcalloc(ROWS * EXPERTS, sizeof *want), w[EXPERTS];
        route(&p);
        op_route_backward(s.dev, dz.t, dw.t, p.logits.t, &p.routes, &p.args);
        for (int i = 0; i < ROWS * EXPERTS; i++) {
            double *z = p.logits.exact + i / EXPERTS * EXPERTS, kept = z[i % EXPERTS];
            const int32_t *chosen = numbers(p.experts.t) + i / EXPERTS * CHOSEN;
            for (int sign = -1; sign <= 1; sign += 2) {
                z[i % EXPERTS] = kept + sign * 1e-5;
                own_weights(w, z, chosen, renormalises);
                for (int k = 0; k < CHOSEN; k++)
                    want[i] += sign * w[chosen[k]] * dw.exact[i / EXPERTS * CHOSEN + k] / 2e-5;
            }
            z[i % EXPERTS] = kept;
        }
        assert_matches(dz, want, 1e-5);
        want[3] += 0.01; /* the control */
        int64_t where;
        data_refresh(dz);
        assert_true(worst_ratio(dz.exact, want, ROWS * EXPERTS, tolerance_of(dz, 1e-5), &where) > 1);
        free(want);
        data_free(dw), data_free(dz);
        problem_close(&p);
    }
}

/* There and back, and the gradients of the way back. */
static void test_spread_and_collect(struct setting s) {
    struct problem p;
    problem_open(&p, s.dev, true);
    route(&p);
    const int32_t *places = numbers(p.places.t), *sources = numbers(p.sources.t);
    struct data x = data_random(s.dev, tensor_2d(NULL, s.dtype, ROWS, WIDTH), 13),
                at = data_output(s.dev, tensor_2d(NULL, s.dtype, PLACES, WIDTH)), y = data_output(s.dev, x.t),
                other = data_random(s.dev, at.t, 14), dx = data_output(s.dev, at.t),
                dw = data_output(s.dev, p.weights.t);
    double *want = xcalloc(PLACES * WIDTH, sizeof *want), *dots = xcalloc(PLACES, sizeof *dots);
    op_spread(s.dev, at.t, x.t, &p.routes);
    for (int i = 0; i < PLACES * WIDTH; i++)
        want[i] = x.exact[sources[i / WIDTH] / CHOSEN * WIDTH + i % WIDTH];
    assert_matches(at, want, 1e-7);
    memset(want, 0, PLACES * WIDTH * sizeof *want);
    op_collect(s.dev, y.t, other.t, p.weights.t, &p.routes);
    for (int i = 0; i < PLACES * WIDTH; i++) {
        int slot = i / WIDTH, c = i % WIDTH;
        want[slot / CHOSEN * WIDTH + c] += data_get(p.weights, slot) * other.exact[places[slot] * WIDTH + c];
    }
    assert_matches(y, want, 1e-6);
    op_collect_backward(s.dev, dx.t, dw.t, x.t, other.t, &p.routes);
    for (int i = 0; i < PLACES * WIDTH; i++) {
        int place = i / WIDTH, slot = sources[place];
        want[i] = data_get(p.weights, slot) * x.exact[slot / CHOSEN * WIDTH + i % WIDTH];
        dots[slot] += x.exact[slot / CHOSEN * WIDTH + i % WIDTH] * other.exact[i];
    }
    assert_matches(dx, want, 1e-6);
    assert_matches(dw, dots, 1e-5);
    free(want), free(dots);
    data_free(x), data_free(at), data_free(y), data_free(other), data_free(dx), data_free(dw);
    problem_close(&p);
}

/* Products, and their gradients, with columns of others beside theirs that stay. */
static void test_grouped(struct setting s) {
    struct problem p;
    const struct column_args part = {.first = 3, .scale = 1}, more = {3, 1, OP_ACCUMULATE};
    const int wide = OUTPUTS + 5;
    problem_open(&p, s.dev, true);
    for (int i = 0; i < ROWS; i++)
        data_set(p.logits, i * EXPERTS + 1, -50); /* an expert without places */
    data_write(p.logits);
    route(&p);
    const int32_t *sources = numbers(p.sources.t);
    struct data x = data_random(s.dev, tensor_2d(NULL, s.dtype, PLACES, WIDTH), 15),
                w = data_random(s.dev, tensor_2d(NULL, s.dtype, EXPERTS * OUTPUTS, WIDTH), 16),
                y = data_random(s.dev, tensor_2d(NULL, s.dtype, PLACES, wide), 17),
                dw = data_zero(s.dev, tensor_2d(NULL, DTYPE_F32, EXPERTS * OUTPUTS, WIDTH)),
                dx = data_zero(s.dev, x.t);
    double *want = xcalloc(PLACES * wide, sizeof *want),
           *want_dw = xcalloc(EXPERTS * OUTPUTS * WIDTH, sizeof *want),
           *want_dx = xcalloc(PLACES * WIDTH, sizeof *want);
    memcpy(want, y.exact, (size_t)(PLACES * wide) * sizeof *want);
    for (int at = 0; at < PLACES; at++)
        for (int o = 0; o < OUTPUTS; o++) {
            int row = numbers(p.experts.t)[sources[at]] * OUTPUTS + o;
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
    {"route_extremes", test_extremes},
    {"route_backward", test_route_backward},
    {"spread_and_collect", test_spread_and_collect},
    {"grouped", test_grouped},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
