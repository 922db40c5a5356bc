/* test_ops_distill.c - the loss of a row beside its distance from a teacher: as torch has both with their gradient, of torch's
 * numbers in tests/golden/distill.json, and on every device, in every type, against its formula in f64 and central differences
 * of that.  Controls: a teacher whose probabilities are divided by their sum, which is what leaving out the rest amounts to,
 * another temperature, another share. */
#include "data/corpus/json.h"
#include "tests/ops_data.h"

enum { MOST_VALUES = 4096 };

/* One row in f64. */
struct exact_row {
    const double *logits;
    int64_t vocabulary, num_ids, target;
    const double *ids, *logps;
    const struct distill_args *args;
};

static double shaped(const struct loss_args *args, double x) {
    double z = (double)args->logit_scale * x, cap = (double)args->softcap;
    return cap > 0 ? cap * tanh(z / cap) : z;
}

/* exact_row - the loss and the divergence; logit `moved` is larger by step. */
static void exact_losses(const struct exact_row *row, int64_t moved, double step, double out[2]) {
    double z[MOST_VALUES] = {0}, t = (double)row->args->temperature, max = -INFINITY, sum = 0, sum_t = 0,
           rest = 0;
    double p_rest = 1;
    bool is_id[MOST_VALUES] = {false};
    for (int64_t v = 0; v < row->vocabulary; v++) {
        z[v] = shaped(&row->args->loss, row->logits[v] + (v == moved ? step : 0));
        max = fmax(max, z[v]);
    }
    for (int64_t j = 0; j < row->num_ids; j++)
        is_id[(int64_t)row->ids[j]] = true;
    for (int64_t v = 0; v < row->vocabulary; v++) {
        sum += exp(z[v] - max);
        sum_t += exp((z[v] - max) / t);
        rest += is_id[v] ? 0 : exp((z[v] - max) / t);
    }
    out[0] = log(sum) + max - z[row->target];
    out[1] = 0;
    for (int64_t j = 0; j < row->num_ids; j++) {
        double p = exp(row->logps[j]), q = exp((z[(int64_t)row->ids[j]] - max) / t) / sum_t;
        out[1] += p * (row->logps[j] - log(q));
        p_rest -= p;
    }
    if (p_rest > 0)
        out[1] += p_rest * (log(p_rest) - log(rest / sum_t));
}

/* exact_total - what is minimised. */
static double exact_total(const struct exact_row *row, int64_t moved, double step) {
    double both[2], t = (double)row->args->temperature, share = (double)row->args->share;
    exact_losses(row, moved, step, both);
    return (1 - share) * both[0] + share * t * t * both[1];
}

/* The tensors of one call, and the exact results. */
struct distill_data {
    struct data logits, targets, weights, ids, logps, losses, divergences, dlogits;
    double *want_losses, *want_divergences, *want;
    struct distill_out out;
    struct distill_rows rows;
};

/* teach - ids of row i, all different and in no order, the target among them in every other row, and probabilities that add up to
 * 0.9, or to 1 but for rounding in every third row. */
static void teach(struct distill_data *d, int64_t i, int64_t num_ids, int64_t vocabulary) {
    double sum = 0, all = i % 3 == 2 ? 1 : 0.9;
    int64_t first = (int64_t)d->targets.exact[i] + (i % 2 ? 0 : 1);
    if (first < 0)
        first = 0;
    for (int64_t j = 0; j < num_ids; j++) {
        d->ids.exact[i * num_ids + j] = (double)((first + j) % vocabulary);
        sum += exp(d->logps.exact[i * num_ids + j]);
    }
    for (int64_t j = 0; j < num_ids; j++)
        d->logps.exact[i * num_ids + j] += log(all / sum);
}

static struct exact_row row_of(const struct distill_data *d, int64_t i, const struct distill_args *args) {
    int64_t vocabulary = d->logits.t.dims[1], num_ids = d->ids.t.dims[1];
    return (struct exact_row){.logits = d->logits.exact + i * vocabulary,
                              .vocabulary = vocabulary,
                              .num_ids = num_ids,
                              .target = (int64_t)d->targets.exact[i],
                              .ids = d->ids.exact + i * num_ids,
                              .logps = d->logps.exact + i * num_ids,
                              .args = args};
}

/* expect - by the formula, and by central differences of it. */
static void expect(struct distill_data *d, const struct distill_args *args) {
    static const double STEP = 1e-5;
    int64_t vocabulary = d->logits.t.dims[1];
    for (int64_t i = 0; i < d->logits.t.dims[0]; i++) {
        struct exact_row row = row_of(d, i, args);
        double both[2], weight = d->weights.exact[i];
        d->want_losses[i] = d->want_divergences[i] = 0;
        if (weight == 0)
            continue;
        exact_losses(&row, -1, 0, both);
        d->want_losses[i] = weight * both[0];
        d->want_divergences[i] = weight * both[1];
        for (int64_t v = 0; v < vocabulary; v++)
            d->want[i * vocabulary + v] = (double)args->loss.grad_scale * weight *
                                          (exact_total(&row, v, STEP) - exact_total(&row, v, -STEP)) /
                                          (2 * STEP);
    }
}

static double *doubles(int64_t count) {
    return xcalloc((size_t)count, sizeof(double));
}

static struct distill_data distill_make(struct setting s, int64_t num_rows, int64_t vocabulary,
                                        int64_t num_ids) {
    struct distill_data d = {.logits =
                                 data_random(s.dev, tensor_2d(NULL, DTYPE_F32, num_rows, vocabulary), 1),
                             .targets = data_ids(s.dev, num_rows, vocabulary, 2),
                             .weights = data_random(s.dev, tensor_1d(NULL, DTYPE_F32, num_rows), 3),
                             .ids = data_zero(s.dev, tensor_2d(NULL, DTYPE_I32, num_rows, num_ids)),
                             .logps = data_random(s.dev, tensor_2d(NULL, DTYPE_F32, num_rows, num_ids), 4),
                             .losses = data_output(s.dev, tensor_1d(NULL, DTYPE_F32, num_rows)),
                             .divergences = data_output(s.dev, tensor_1d(NULL, DTYPE_F32, num_rows)),
                             .dlogits = data_output(s.dev, tensor_2d(NULL, s.dtype, num_rows, vocabulary)),
                             .want_losses = doubles(num_rows),
                             .want_divergences = doubles(num_rows),
                             .want = doubles(num_rows * vocabulary)};
    if (num_rows > 2) { /* without weight nothing else is read */
        data_set(d.weights, 1, 0);
        data_set(d.targets, 1, -100);
    }
    for (int64_t i = 0; i < num_rows; i++)
        teach(&d, i, num_ids, vocabulary);
    data_write(d.ids), data_write(d.logps);
    d.out = (struct distill_out){d.losses.t, d.divergences.t, d.dlogits.t};
    d.rows = (struct distill_rows){d.logits.t, d.targets.t, d.weights.t, d.ids.t, d.logps.t};
    return d;
}

static void distill_free(struct distill_data d) {
    free(d.want_losses), free(d.want_divergences), free(d.want);
    data_free(d.logits), data_free(d.targets), data_free(d.weights), data_free(d.ids);
    data_free(d.logps), data_free(d.losses), data_free(d.divergences), data_free(d.dlogits);
}

static const struct distill_args ARGS[] = {{{0.25f, 1, 0, NULL}, 1, 0.5f},
                                           {{1, 1, 0, NULL}, 2, 0.25f},
                                           {{1, 0.5f, 0, NULL}, 4, 1},
                                           {{1, 0.5f, 1.5f, NULL}, 0.5f, 0.75f},
                                           {{1, 1, 0, NULL}, 3, 0}};
enum { NUM_ARGS = sizeof ARGS / sizeof ARGS[0] };

/* Rows, vocabulary, ids. */
static const int64_t SHAPES[][3] = {{1, 2, 1}, {7, 65, 64}, {5, 301, 17}, {3, 1030, 256}};
enum { NUM_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

/* test_distill - the gradient beside the logits; then the losses alone, which are the same. */
static void test_distill(struct setting s) {
    for (int n = 0; n < NUM_SHAPES * NUM_ARGS; n++) {
        const int64_t *shape = SHAPES[n / NUM_ARGS];
        struct distill_args args = ARGS[n % NUM_ARGS];
        struct distill_data d = distill_make(s, shape[0], shape[1], shape[2]);
        struct data logits = data_copy(d.logits);
        expect(&d, &args);
        op_distill(s.dev, &d.out, &d.rows, &args);
        assert_matches(d.losses, d.want_losses, 2e-6);
        assert_matches(d.divergences, d.want_divergences, 5e-6);
        assert_matches(d.dlogits, d.want, 5e-6);
        struct data losses = data_copy(d.losses), divergences = data_copy(d.divergences);
        struct data factor = data_zero(s.dev, tensor_1d(NULL, DTYPE_F32, 1)), gradient = data_copy(d.dlogits);
        data_set(factor, 0, 0.5); /* half of the gradient's factor in the device's memory */
        args.loss.grad_scale *= 2;
        args.loss.grad_scale_at = factor.t.data;
        device_copy(s.dev, d.logits.t, logits.t);
        op_distill(s.dev, &d.out, &d.rows, &args);
        assert_true(same_bits(d.dlogits, gradient));
        data_free(factor), data_free(gradient);
        device_copy(s.dev, d.logits.t, logits.t);
        args.loss.grad_scale = 0;
        d.out.dlogits = (struct tensor){0};
        op_distill(s.dev, &d.out, &d.rows, &args);
        assert_true(same_bits(d.losses, losses) && same_bits(d.divergences, divergences));
        data_free(losses), data_free(divergences), data_free(logits);
        distill_free(d);
    }
}

/* test_in_place - the gradient where the logits were: the same bits. */
static void test_in_place(struct setting s) {
    struct distill_data d = distill_make(s, 5, 301, 17);
    struct data logits = data_copy(d.logits), apart = data_output(s.dev, d.logits.t);
    d.out.dlogits = apart.t;
    op_distill(s.dev, &d.out, &d.rows, &ARGS[1]);
    device_copy(s.dev, d.logits.t, logits.t);
    d.out.dlogits = d.logits.t;
    op_distill(s.dev, &d.out, &d.rows, &ARGS[1]);
    assert_true(same_bits(d.logits, apart) && !same_bits(d.logits, logits));
    data_free(logits), data_free(apart);
    distill_free(d);
}

/* test_sure - a student that is sure of an id and a teacher that is not, and the other way round: nothing overflows, and what the
 * rest has is not lost by rounding. */
static void test_sure(struct setting s) {
    static const struct distill_args args = {{1, 1, 0, NULL}, 1, 1};
    struct distill_data d = distill_make(s, 2, 65, 3);
    for (int v = 0; v < 65; v++)
        d.logits.exact[v] = v == (int)d.ids.exact[0] ? 60 : v % 3, d.logits.exact[65 + v] = 1e4 - v;
    for (int j = 0; j < 3; j++)
        d.logps.exact[3 + j] = j ? -100 : 0;
    data_write(d.logits), data_write(d.logps);
    expect(&d, &args);
    op_distill(s.dev, &d.out, &d.rows, &args);
    assert_true(d.want_divergences[0] / d.weights.exact[0] > 4); /* the rest: probability 0.1 against e^-55 */
    assert_matches(d.divergences, d.want_divergences, 5e-6);
    assert_matches(d.dlogits, d.want, 5e-5); /* differences of a divergence of that size */
    distill_free(d);
}

/* differs - whether other arguments give other gradients. */
static bool differs(struct distill_data *d, const struct distill_args *args) {
    int64_t where, count = tensor_count(d->dlogits.t);
    expect(d, args);
    return worst_ratio(d->dlogits.exact, d->want, count, tolerance_of(d->dlogits, 1e-4), &where) > 1;
}

static void test_controls(struct setting s) {
    const struct distill_args args = ARGS[1];
    struct distill_args other = args;
    struct distill_data d = distill_make(s, 1, 65, 5);
    op_distill(s.dev, &d.out, &d.rows, &args);
    data_refresh(d.dlogits);
    assert_false(differs(&d, &args));
    other.temperature = 2.5f;
    assert_true(differs(&d, &other));
    other = args;
    other.share = 0.75f;
    assert_true(differs(&d, &other));
    for (int j = 0; j < 5; j++)
        d.logps.exact[j] -= log(0.9);
    assert_true(differs(&d, &args));
    distill_free(d);
}

/* numbers - a list of the file into a tensor's values. */
static void numbers(struct data d, const json_t *list) {
    assert_int_equal(json_array_size(list), tensor_count(d.t));
    for (size_t i = 0; i < json_array_size(list); i++)
        d.exact[i] = json_number_value(json_array_get(list, i));
    data_write(d);
}

static double number(const json_t *one, const char *key) {
    assert_true(json_is_number(json_object_get(one, key)));
    return json_number_value(json_object_get(one, key));
}

static void check_golden(struct setting s, const json_t *one) {
    const json_t *list = json_object_get(one, "dlogits");
    int64_t vocabulary = (int64_t)json_array_size(list),
            num_ids = (int64_t)json_array_size(json_object_get(one, "ids"));
    struct distill_args args = {{1, (float)number(one, "logit_scale"), (float)number(one, "softcap"), NULL},
                                (float)number(one, "temperature"),
                                (float)number(one, "share")};
    struct distill_data d = distill_make(s, 1, vocabulary, num_ids);
    data_set(d.weights, 0, 1);
    data_set(d.targets, 0, number(one, "target"));
    numbers(d.logits, json_object_get(one, "logits"));
    numbers(d.ids, json_object_get(one, "ids"));
    numbers(d.logps, json_object_get(one, "logps"));
    for (int64_t v = 0; v < vocabulary; v++)
        d.want[v] = json_number_value(json_array_get(list, (size_t)v));
    d.want_losses[0] = number(one, "loss"), d.want_divergences[0] = number(one, "divergence");
    op_distill(s.dev, &d.out, &d.rows, &args);
    assert_matches(d.losses, d.want_losses, 2e-6);
    assert_matches(d.divergences, d.want_divergences, 5e-6);
    assert_matches(d.dlogits, d.want, 5e-6);
    distill_free(d);
}

static void test_golden(struct setting s) {
    struct err err = {""};
    json_t *golden = json_load_path("tests/golden/distill.json", 1 << 20, &err), *one;
    size_t i;
    if (!golden)
        fail_msg("%s", err.text);
    json_array_foreach(json_object_get(golden, "cases"), i, one) check_golden(s, one);
    assert_int_equal(i, 8);
    json_decref(golden);
}

static const struct op_case CASES[] = {{"distill", test_distill},
                                       {"distill_in_place", test_in_place},
                                       {"distill_sure", test_sure},
                                       {"distill_controls", test_controls},
                                       {"distill_golden", test_golden}};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
