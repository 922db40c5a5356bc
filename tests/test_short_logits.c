/* test_short_logits.c - logits in 16 bits where gradients of a mean over tokens are made of them: which objectives have them, and how
 * far their rounding moves losses and gradients, on the device that ATELIER_TEST_DEVICE names. */
#include <math.h>
#include <stdlib.h>

#include "tests/ops_data.h"
#include "tests/plan_fixture.h"

/* Half of the distance between two numbers, relative to them. */
static double rounding_of(enum dtype dtype) {
    return dtype == DTYPE_BF16 ? 0x1p-8 : 0x1p-11;
}

/* --- the operation: rounded logits against exact ones --- */

enum { ROWS = 24, VOCAB = 301 };
static const double LARGE = 6; /* deviation of the logits of trained models */

/* exact_row - loss and probabilities of a row in f64, and the largest logit in size. */
static double exact_row(double p[VOCAB], const double *x, int64_t target, double *largest) {
    double sum = 0;
    *largest = 0;
    for (int v = 0; v < VOCAB; v++) {
        sum += exp(x[v]);
        *largest = fmax(*largest, fabs(x[v]));
    }
    for (int v = 0; v < VOCAB; v++)
        p[v] = exp(x[v]) / sum;
    return log(sum) - x[target];
}

/* num_outside - of losses [ROWS] and gradients [ROWS, VOCAB] made of rounded logits, those farther from x's than the rounding allows:
 * a logit is off by r |x| at most, so that a loss is by 2 r max|x|, and a probability by a factor of e^(2 r max|x|); a gradient is
 * rounded once more. */
static int num_outside(const double *x, struct data targets, struct data losses, struct data gradients,
                       double r) {
    const double f32 = 1e-5;
    int outside = 0;
    for (int i = 0; i < ROWS; i++) {
        double p[VOCAB], largest;
        int target = (int)targets.exact[i];
        double loss = exact_row(p, x + i * VOCAB, target, &largest), off = 2 * r * largest;
        outside += fabs(losses.exact[i] - loss) > off + f32;
        for (int v = 0; v < VOCAB; v++) {
            double want = p[v] - (v == target ? 1 : 0), room = p[v] * expm1(off);
            outside += fabs(gradients.exact[i * VOCAB + v] - want) > room + r * (fabs(want) + room) + f32;
        }
    }
    return outside;
}

/* outside_of - the same of the operation, in place; coarse: what the logits are made multiples of first, 0: they stay. */
static int outside_of(struct device *dev, enum dtype dtype, double coarse) {
    struct data logits = data_random(dev, tensor_2d(NULL, dtype, ROWS, VOCAB), 1),
                weights = data_zero(dev, tensor_1d(NULL, DTYPE_F32, ROWS)),
                losses = data_output(dev, tensor_1d(NULL, DTYPE_F32, ROWS)),
                targets = data_ids(dev, ROWS, VOCAB, 2);
    double *x = xcalloc(ROWS * VOCAB, sizeof *x);
    for (int i = 0; i < ROWS * VOCAB; i++) {
        x[i] = LARGE * rng_normal(1, rng_stream(RNG_TEST, 1), (uint64_t)i);
        logits.exact[i] = coarse > 0 ? coarse * round(x[i] / coarse) : x[i];
    }
    for (int i = 0; i < ROWS; i++)
        data_set(weights, i, 1);
    data_write(logits);
    op_cross_entropy(dev, losses.t, logits.t, logits.t, targets.t, weights.t,
                     &(struct loss_args){1, 1, 0, NULL});
    data_refresh(losses), data_refresh(logits);
    int outside = num_outside(x, targets, losses, logits, rounding_of(dtype));
    free(x);
    data_free(logits), data_free(weights), data_free(losses), data_free(targets);
    return outside;
}

static void test_rounding(void **state) {
    (void)state;
    struct device dev;
    test_device_open(&dev, 1);
    assert_int_equal(outside_of(&dev, DTYPE_BF16, 0), 0);
    assert_int_equal(outside_of(&dev, DTYPE_F16, 0), 0);
    assert_true(outside_of(&dev, DTYPE_BF16, 0.5) > 0); /* the controls: logits of fewer bits */
    assert_true(outside_of(&dev, DTYPE_F16, 1.0 / 16) > 0);
    device_close(&dev);
}

/* --- the model --- */

/* kind_of - the type that gradients are made of. */
static enum dtype kind_of(const struct objective *kind, enum dtype compute) {
    struct plan_fixture f;
    struct model_config config = patchwork_config(false);
    plan_open_setup(&f, &config, &(struct model_setup){.compute = compute, .objective = {.kind = kind}});
    enum dtype dtype = f.model.grad_logits.dtype;
    assert_int_equal(f.model.logits.dtype, DTYPE_F32);
    assert_int_equal(f.model.dlogits.dtype, compute);
    plan_close(&f);
    return dtype;
}

static void test_kinds(void **state) {
    (void)state;
    static const struct objective other = {.name = "other", .num_entries = 1};
    assert_int_equal(kind_of(&objective_token_mean, DTYPE_BF16), DTYPE_BF16);
    assert_int_equal(kind_of(NULL, DTYPE_BF16), DTYPE_BF16);
    assert_int_equal(kind_of(&objective_token_mean, DTYPE_F32), DTYPE_F32);
    assert_int_equal(kind_of(&other, DTYPE_BF16), DTYPE_F32);
}

/* gradients_of - of the whole model in that type, malloc'ed; long_rows: of f32 logits of so many rows, beside their gradients, in place
 * of the model's own (0: of these).  losses: of the gradients, and of the same weights without gradients. */
static float *gradients_of(enum dtype compute, int64_t long_rows, int64_t *count, double losses[2]) {
    struct plan_fixture f;
    struct model_config config = patchwork_config(false);
    struct tensor own = tensor_2d(NULL, DTYPE_F32, long_rows, config.vocab_size);
    plan_open_setup(&f, &config, &(struct model_setup){.compute = compute});
    if (long_rows > 0) {
        own.data = device_allocate(&f.dev, tensor_bytes(own));
        f.model.grad_logits = own;
    }
    losses[0] = plan_gradients(&f);
    losses[1] = model_evaluate(&f.model, NULL, &f.batch);
    float *all = xcalloc((size_t)model_num_parameters(&config), sizeof *all);
    *count = 0;
    for (struct segment *s = NULL; (s = params_next_trained(&f.params, s, NULL));)
        for (int t = 0; t < s->num_tensors; t++) {
            float *gradient = plan_gradient_of(&f, s, &s->tensors[t]);
            memcpy(all + *count, gradient, (size_t)s->tensors[t].count * sizeof *all);
            *count += s->tensors[t].count;
            free(gradient);
        }
    device_release(&f.dev, own.data, tensor_bytes(own));
    plan_close(&f);
    return all;
}

/* Logits of 16 bits move the gradient less than the other 16-bit values of the same model do; the loss without gradients, whose
 * logits are f32 in half as many rows at a time, is the same.  The control: a gradient that is a fifth off moves more. */
static void test_moves_less(void **state) {
    (void)state;
    int64_t count;
    double of_f32[2], of_long[2], of_short[2];
    float *exact = gradients_of(DTYPE_F32, 0, &count, of_f32),
          *with_long = gradients_of(DTYPE_BF16, 11, &count, of_long),
          *with_short = gradients_of(DTYPE_BF16, 0, &count, of_short);
    double others = relative_error(with_long, exact, count),
           moved = relative_error(with_short, with_long, count);
    print_message("logits move the gradient by %.1e, the other values by %.1e\n", moved, others);
    assert_true(moved > 0 && moved < others);
    assert_true(of_short[1] == of_long[1]);
    assert_true(of_short[0] != of_long[0] && fabs(of_short[0] / of_long[0] - 1) < rounding_of(DTYPE_BF16));
    for (int64_t i = 0; i < count; i++)
        with_short[i] *= 1.2f;
    assert_false(relative_error(with_short, with_long, count) < others);
    free(exact), free(with_long), free(with_short);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounding), cmocka_unit_test(test_kinds),
                                       cmocka_unit_test(test_moves_less)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
