/* test_route_sigmoid.c - a router of sigmoids with a correction, groups and a scale, against f64: which experts, their weights, the
 * gradient by differences.  Controls: without the correction or the groups some row goes elsewhere, and without the scale or the
 * other way renormalised the weights are others. */
#include <math.h>

#include "tests/experts_problem.h"

struct kind {
    struct shape shape;
    int num_groups, num_groups_chosen;
    bool renormalises, is_corrected;
    float scale;
};

static const struct kind KINDS[] = {
    {{37, 6, 2}, 1, 1, true, true, 1},      {{41, MOST_EXPERTS, 5}, 1, 1, false, true, 2.5f},
    {{29, 64, 6}, 8, 3, true, true, 2.5f},  {{33, 8, 4}, 2, 1, true, false, 0.7f},
    {{31, 12, 3}, 3, 2, false, true, 1.5f}, {{9, 64, 64}, 32, 32, true, true, 1}};
enum { NUM_KINDS = sizeof KINDS / sizeof KINDS[0] };

static double sigmoid(double z) {
    return 1 / (1 + exp(-z));
}

/* best - the largest that is not taken, which it is then. */
static int best(const double *values, int count, bool *is_taken) {
    int found = -1;
    for (int i = 0; i < count; i++)
        if (!is_taken[i] && (found < 0 || values[i] > values[found]))
            found = i;
    is_taken[found] = true;
    return found;
}

/* leave_out - the experts of all groups but the best ones. */
static void leave_out(const struct kind *kind, const double *scores, bool *is_out) {
    double sums[ROUTE_MAX_GROUPS];
    bool is_kept[ROUTE_MAX_GROUPS] = {false};
    int size = kind->shape.experts / kind->num_groups;
    for (int g = 0; g < kind->num_groups; g++) {
        bool is_taken[MOST_EXPERTS] = {false};
        int first = best(scores + g * size, size, is_taken);
        sums[g] = scores[g * size + first] + scores[g * size + best(scores + g * size, size, is_taken)];
    }
    for (int k = 0; k < kind->num_groups_chosen; k++)
        best(sums, kind->num_groups, is_kept);
    for (int e = 0; e < kind->shape.experts; e++)
        is_out[e] = !is_kept[e / size];
}

/* own_choice - of a row z, into chosen. */
static void own_choice(const struct kind *kind, const double *z, const double *correction, int *chosen) {
    double scores[MOST_EXPERTS];
    bool is_out[MOST_EXPERTS] = {false};
    for (int e = 0; e < kind->shape.experts; e++)
        scores[e] = sigmoid(z[e]) + (kind->is_corrected ? correction[e] : 0);
    if (kind->num_groups > 1)
        leave_out(kind, scores, is_out);
    for (int k = 0; k < kind->shape.chosen; k++)
        chosen[k] = best(scores, kind->shape.experts, is_out);
}

/* own_weights - of a row z that goes to the chosen. */
static void own_weights(const struct kind *kind, const double *z, const int32_t *chosen, double *weights) {
    double sum = 0;
    for (int k = 0; k < kind->shape.chosen; k++)
        sum += weights[k] = sigmoid(z[chosen[k]]);
    for (int k = 0; k < kind->shape.chosen; k++)
        weights[k] *= (double)kind->scale / (kind->renormalises ? sum : 1);
}

/* A problem of a kind. */
struct sigmoid_problem {
    struct problem p;
    struct data correction;
};

static void open_and_route(struct sigmoid_problem *s, struct device *dev, const struct kind *kind) {
    struct tensor none = {0};
    problem_open(&s->p, dev, kind->shape, kind->renormalises);
    s->correction = data_random(dev, tensor_1d(NULL, DTYPE_F32, kind->shape.experts), 21);
    for (int i = 0; i < kind->shape.rows * kind->shape.experts; i++)
        s->p.logits.exact[i] *= 3;
    data_write(s->p.logits);
    s->p.args.score = ROUTER_SIGMOID;
    s->p.args.num_groups = kind->num_groups, s->p.args.num_groups_chosen = kind->num_groups_chosen;
    s->p.args.scale = kind->scale;
    route_by(&s->p, kind->is_corrected ? s->correction.t : none);
}

static void close_problem(struct sigmoid_problem *s) {
    data_free(s->correction);
    problem_close(&s->p);
}

/* num_elsewhere - rows that do not go where this kind of router would send them. */
static int num_elsewhere(const struct sigmoid_problem *s, const struct kind *kind) {
    int count = 0, chosen[MOST_EXPERTS];
    const struct shape n = kind->shape;
    for (int i = 0; i < n.rows; i++) {
        bool same = true;
        own_choice(kind, s->p.logits.exact + i * n.experts, s->correction.exact, chosen);
        for (int k = 0; k < n.chosen; k++)
            same = same && s->p.experts_of[i * n.chosen + k] == chosen[k];
        count += !same;
    }
    return count;
}

/* worst_weight - how far a weight is from that of this kind of router. */
static double worst_weight(const struct sigmoid_problem *s, const struct kind *kind) {
    double worst = 0, want[MOST_EXPERTS];
    const struct shape n = kind->shape;
    for (int i = 0; i < n.rows; i++) {
        own_weights(kind, s->p.logits.exact + i * n.experts, s->p.experts_of + i * n.chosen, want);
        for (int k = 0; k < n.chosen; k++)
            worst = fmax(worst, fabs(s->p.weights.exact[i * n.chosen + k] - want[k]));
    }
    return worst;
}

static void check_kind(struct device *dev, const struct kind *kind) {
    struct sigmoid_problem s;
    struct kind uncorrected = *kind, ungrouped = *kind, otherwise = *kind, unscaled = *kind;
    uncorrected.is_corrected = !kind->is_corrected;
    ungrouped.num_groups = 1;
    otherwise.renormalises = !kind->renormalises;
    unscaled.scale = 1;
    open_and_route(&s, dev, kind);
    assert_int_equal(num_elsewhere(&s, kind), 0);
    assert_true(worst_weight(&s, kind) < 1e-6);
    bool has_choice = kind->num_groups_chosen < kind->num_groups;
    assert_true(num_elsewhere(&s, &uncorrected) > 0);
    assert_true((num_elsewhere(&s, &ungrouped) > 0) == has_choice);
    assert_true(worst_weight(&s, &otherwise) > 1e-2);
    assert_true((worst_weight(&s, &unscaled) > 1e-2) == (kind->scale != 1));
    close_problem(&s);
}

static void test_kinds(struct setting s) {
    for (int i = 0; i < NUM_KINDS; i++)
        check_kind(s.dev, &KINDS[i]);
}

/* Equal scores: the first experts of the first groups.  A row with a NaN: those, and NaN. */
static void test_extremes(struct setting s) {
    const struct kind kind = {{5, 12, 4}, 3, 2, true, false, 1};
    struct sigmoid_problem q;
    open_and_route(&q, s.dev, &kind);
    for (int i = 0; i < 5 * 12; i++)
        q.p.logits.exact[i] = i / 12 == 1 ? -200 : 0.25;
    q.p.logits.exact[2 * 12 + 7] = NAN;
    data_write(q.p.logits);
    route_by(&q.p, (struct tensor){0});
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 4; k++) {
            double weight = q.p.weights.exact[i * 4 + k];
            assert_int_equal(q.p.experts_of[i * 4 + k], k);
            assert_true(i == 2 ? isnan(weight) : weight == (i == 1 ? 0 : 0.25));
        }
    close_problem(&q);
}

/* slope - of the sum of dw w of row i by logit e. */
static double slope(const struct kind *kind, const struct sigmoid_problem *s, const double *dw, int i,
                    int e) {
    const struct shape n = kind->shape;
    double *z = s->p.logits.exact + i * n.experts, kept = z[e], sum = 0, weights[MOST_EXPERTS];
    for (int sign = -1; sign <= 1; sign += 2) {
        z[e] = kept + sign * 1e-5;
        own_weights(kind, z, s->p.experts_of + i * n.chosen, weights);
        for (int k = 0; k < n.chosen; k++)
            sum += sign * weights[k] * dw[i * n.chosen + k] / 2e-5;
    }
    z[e] = kept;
    return sum;
}

static void check_backward(struct device *dev, const struct kind *kind) {
    struct sigmoid_problem s;
    const struct shape n = kind->shape;
    struct kind otherwise = *kind;
    open_and_route(&s, dev, kind);
    struct data dw = data_random(dev, s.p.weights.t, 12), dz = data_output(dev, s.p.logits.t);
    double *want = xcalloc((size_t)(n.rows * n.experts), sizeof *want), worst = 0;
    op_route_backward(dev, dz.t, dw.t, s.p.logits.t, &s.p.routes, &s.p.args);
    for (int at = 0; at < n.rows * n.experts; at++)
        want[at] = slope(kind, &s, dw.exact, at / n.experts, at % n.experts);
    assert_matches(dz, want, 1e-5);
    otherwise.renormalises = !kind->renormalises; /* the control */
    data_refresh(dz);
    for (int at = 0; at < n.rows * n.experts; at++)
        worst =
            fmax(worst, fabs(dz.exact[at] - slope(&otherwise, &s, dw.exact, at / n.experts, at % n.experts)));
    assert_true(worst > 1e-2);
    free(want);
    data_free(dw), data_free(dz);
    close_problem(&s);
}

static void test_backward(struct setting s) {
    for (int i = 0; i < NUM_KINDS; i++)
        check_backward(s.dev, &KINDS[i]);
}

static const struct op_case CASES[] = {
    {"route_sigmoid", test_kinds},
    {"route_sigmoid_extremes", test_extremes},
    {"route_sigmoid_backward", test_backward},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
