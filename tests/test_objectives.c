/* test_objectives.c - objectives that need more than the mean over tokens: one that weighs each token by its loss, one that
 * needs a sum over the whole step before the first gradient, one with a term of every layer's output, one with three
 * targets for each row, and the distance from a teacher.  Their gradients, on the device that ATELIER_TEST_DEVICE names, against central differences of the
 * same objective in plain f64.  Control: the gradient of the plain mean is not theirs. */
#include "tests/plan_fixture.h"
#include "train/model/objective_distill.h"

static double plain(const struct reference *r, void *user) {
    (void)user;
    return reference_loss(r);
}

static void test_token_mean(void **state) {
    (void)state;
    struct plan_fixture f;
    plan_open(&f, false, RECOMPUTE_NONE, NULL);
    assert_string_equal(f.model.setup.objective.kind->name, "token_mean");
    double loss = plan_gradients(&f);
    assert_true(fabs(loss / reference_loss(&f.reference) - 1) < 1e-6);
    assert_true(plan_worst(&f, plain, NULL, 1) < 1e-5);
    plan_close(&f);
}

/* --- each token weighed by its own loss: half the sum of weight * loss^2 --- */

static void own_loss(void *state, const struct batch *batch, const float *losses, float *weights) {
    (void)state;
    for (int64_t i = 0; i < batch->num_tokens; i++)
        weights[i] = losses[i]; /* weight * loss */
}

static double squares(const struct reference *r, void *user) {
    (void)user;
    double *logits = reference_logits(r), sum = 0;
    for (int64_t i = 0; i < r->num_tokens; i++)
        sum += 0.5 * (double)r->target_weights[i] * pow(reference_token_loss(r, logits, i, r->targets[i]), 2);
    free(logits);
    return sum;
}

static void test_losses_first(void **state) {
    (void)state;
    static const struct objective kind = {
        .name = "squares", .num_entries = 1, .needs_losses_first = true, .coefficients = own_loss};
    struct plan_fixture f;
    plan_open(&f, false, RECOMPUTE_LAYER, &(struct objective_use){&kind, NULL});
    double loss = plan_gradients(&f);
    assert_true(fabs(loss / (2 * squares(&f.reference, NULL)) - 1) < 1e-6);
    assert_true(plan_worst(&f, squares, NULL, 1) < 1e-5);
    assert_true(plan_worst(&f, plain, NULL, 1) > 1e-2);
    plan_close(&f);
}

/* --- half the square of the step's whole loss --- */

struct step_state {
    double sum;
    int num_passes;
};

static void add_losses(void *state, const struct batch *batch, const float *losses, double *sums) {
    (void)state;
    for (int64_t i = 0; i < batch->num_tokens; i++)
        sums[0] += (double)losses[i];
}

static void take_sum(void *state, const double *sums) {
    ((struct step_state *)state)->sum = sums[0];
    ((struct step_state *)state)->num_passes++;
}

static void weigh_by_sum(void *state, const struct batch *batch, const float *losses, float *weights) {
    assert_null(losses);
    for (int64_t i = 0; i < batch->num_tokens; i++)
        weights[i] *= (float)((struct step_state *)state)->sum;
}

static double whole_square(const struct reference *r, void *user) {
    (void)user;
    return 0.5 * pow(reference_loss(r), 2);
}

static void test_step_pass(void **state) {
    (void)state;
    static const struct objective kind = {.name = "whole_square",
                                          .num_entries = 1,
                                          .needs_step_pass = true,
                                          .step_losses = add_losses,
                                          .step_sums = take_sum,
                                          .coefficients = weigh_by_sum};
    struct step_state own = {0, 0};
    struct plan_fixture f;
    plan_open(&f, false, RECOMPUTE_NONE, &(struct objective_use){&kind, &own});
    int32_t second_start[PLAN_ROW_TOKENS];
    struct batch micros[2] = {f.batch, f.batch}; /* the step in two micro-batches */
    micros[0].num_tokens = micros[1].num_tokens = PLAN_ROW_TOKENS;
    for (int i = 0; i < PLAN_ROW_TOKENS; i++)
        second_start[i] = f.row_start[PLAN_ROW_TOKENS + i] - PLAN_ROW_TOKENS;
    micros[1].tokens += PLAN_ROW_TOKENS, micros[1].targets += PLAN_ROW_TOKENS;
    micros[1].positions += PLAN_ROW_TOKENS, micros[1].weights += PLAN_ROW_TOKENS;
    micros[1].row_start = second_start;
    params_grad_reset(&f.params);
    model_step_pass(&f.model, NULL, NULL, micros, 2);
    for (int m = 0; m < 2; m++)
        model_train(&f.model, NULL, &micros[m], 1.0f);
    params_grad_finish(&f.params, NULL);
    assert_int_equal(own.num_passes, 1);
    assert_true(fabs(own.sum / reference_loss(&f.reference) - 1) < 1e-6);
    assert_true(plan_worst(&f, whole_square, NULL, 1) < 1e-5);
    assert_true(plan_worst(&f, plain, NULL, 1) > 1e-2);
    plan_close(&f);
}

/* --- the plain loss and a term of each layer: a fifth of half the square of its output --- */

static const float TERM = 0.2f;

static double add_term(void *state, const struct layer_output *output) {
    (*(int *)state)++;
    struct column_args all = {.first = 0, .scale = TERM * output->scale, .write = OP_ACCUMULATE};
    op_put_columns(output->dev, output->dx, output->x, &all);
    return 0.5 * (double)TERM * op_sum_squares(output->dev, output->x);
}

static double with_terms(const struct reference *r, void *user) {
    (void)user;
    double terms = 0, loss;
    struct reference measured = *r;
    measured.layer_squares = &terms;
    loss = reference_loss(&measured);
    return loss + 0.5 * (double)TERM * terms;
}

static void test_layer_terms(void **state) {
    (void)state;
    static const struct objective kind = {.name = "layers", .num_entries = 1, .layer_loss = add_term};
    int num_calls = 0;
    struct plan_fixture f;
    plan_open(&f, true, RECOMPUTE_ATTENTION, &(struct objective_use){&kind, &num_calls});
    double loss = plan_gradients(&f);
    assert_int_equal(num_calls, PATCHWORK_LAYERS);
    assert_true(fabs(loss / with_terms(&f.reference, NULL) - 1) < 1e-6);
    assert_true(plan_worst(&f, with_terms, NULL, 1) < 1e-5);
    assert_true(plan_worst(&f, plain, NULL, 1) > 1e-2);
    plan_close(&f);
}

/* --- three targets of each row, with their probabilities --- */

enum { ENTRIES = 3 };

struct entries {
    int32_t targets[ENTRIES * PLAN_TOKENS];
    float weights[ENTRIES * PLAN_TOKENS];
};

static double cross_entropies(const struct reference *r, void *user) {
    const struct entries *e = user;
    double *logits = reference_logits(r), sum = 0;
    for (int64_t i = 0; i < ENTRIES * PLAN_TOKENS; i++)
        sum += (double)e->weights[i] * reference_token_loss(r, logits, i % PLAN_TOKENS, e->targets[i]);
    free(logits);
    return sum;
}

static void test_entries(void **state) {
    (void)state;
    static const struct objective kind = {.name = "entries", .num_entries = ENTRIES};
    static struct entries entries;
    struct plan_fixture f;
    plan_open(&f, false, RECOMPUTE_NONE, &(struct objective_use){&kind, NULL});
    for (int i = 0; i < ENTRIES * PLAN_TOKENS; i++) {
        entries.targets[i] = (int32_t)rng_below(4, rng_stream(RNG_TEST, 3), (uint64_t)i, 61);
        entries.weights[i] = i % 7 == 0 ? 0.0f : 0.6f / (float)(1 + i / PLAN_TOKENS);
    }
    f.batch.targets = entries.targets;
    f.batch.weights = entries.weights;
    double loss = plan_gradients(&f);
    assert_true(fabs(loss / cross_entropies(&f.reference, &entries) - 1) < 1e-6);
    assert_true(plan_worst(&f, cross_entropies, &entries, 1) < 1e-5);
    assert_true(plan_worst(&f, plain, NULL, 1) > 1e-2);
    plan_close(&f);
}

/* --- a teacher: five ids of each row, and the rest as one outcome --- */

enum { TAUGHT = 5 };

struct taught {
    int32_t ids[PLAN_TOKENS * TAUGHT];
    float logps[PLAN_TOKENS * TAUGHT];
    struct objective_config settings;
    bool leaves_rest_out; /* the control */
};

/* teach - ids that begin at the target in every other row; their probabilities add up to 0.8. */
static void teach(struct taught *taught, const struct batch *batch) {
    for (int64_t i = 0; i < PLAN_TOKENS; i++) {
        double sum = 0;
        for (int j = 0; j < TAUGHT; j++) {
            taught->ids[i * TAUGHT + j] = (batch->targets[i] + (i % 2 ? 7 * j : 7 * j + 3)) % 61;
            sum += exp(-0.4 * j);
        }
        for (int j = 0; j < TAUGHT; j++)
            taught->logps[i * TAUGHT + j] = (float)(log(0.8 / sum) - 0.4 * j);
    }
}

/* row_divergence - of one row of logits [61] from what is taught of it. */
static double row_divergence(const struct taught *taught, const double *logits, int64_t i) {
    double t = taught->settings.temperature, all = 0, sum = 0, p_rest = 1, q_rest = 1;
    for (int v = 0; v < 61; v++)
        all += exp(logits[v] / t);
    for (int j = 0; j < TAUGHT; j++) {
        double logp = (double)taught->logps[i * TAUGHT + j];
        double q = exp(logits[taught->ids[i * TAUGHT + j]] / t) / all;
        sum += exp(logp) * (logp - log(q));
        p_rest -= exp(logp), q_rest -= q;
    }
    return taught->leaves_rest_out ? sum : sum + p_rest * log(p_rest / q_rest);
}

static double mixed(const struct reference *r, void *user) {
    const struct taught *taught = user;
    double *logits = reference_logits(r), sum = 0, t = taught->settings.temperature,
           share = taught->settings.teacher_share;
    for (int64_t i = 0; i < PLAN_TOKENS; i++) {
        double loss = reference_token_loss(r, logits, i, r->targets[i]);
        double divergence = row_divergence(taught, logits + i * 61, i);
        sum += (double)r->target_weights[i] * ((1 - share) * loss + share * t * t * divergence);
    }
    free(logits);
    return sum;
}

/* open_taught - a fixture with a teacher. */
static void open_taught(struct plan_fixture *f, struct taught *taught, struct distilled_sums *sums) {
    struct model_config config = patchwork_config(true);
    struct model_setup more = {.objective = {&objective_distill, sums}};
    *taught = (struct taught){.settings = {.temperature = 1.5, .teacher_share = 0.7}};
    *sums = (struct distilled_sums){.settings = &taught->settings};
    more.teacher.top_k = TAUGHT;
    more.teacher.temperature = 1.5f;
    more.teacher.share = 0.7f;
    plan_open_setup(f, &config, &more);
    teach(taught, &f->batch);
    f->batch.top_k = TAUGHT;
    f->batch.teacher_ids = taught->ids;
    f->batch.teacher_logps = taught->logps;
}

static void test_distill(void **state) {
    (void)state;
    static struct taught taught;
    struct distilled_sums sums;
    struct plan_fixture f;
    open_taught(&f, &taught, &sums);
    double loss = plan_gradients(&f);
    assert_true(fabs(loss / mixed(&f.reference, &taught) - 1) < 1e-6);
    assert_true(fabs(sums.loss / reference_loss(&f.reference) - 1) < 1e-6);
    assert_true(plan_worst(&f, mixed, &taught, 1) < 1e-5);
    taught.leaves_rest_out = true;
    assert_true(plan_worst(&f, mixed, &taught, 1) > 1e-2);
    assert_true(plan_worst(&f, plain, NULL, 1) > 1e-2);
    plan_close(&f);
}

/* test_teacher_memory - the ids, their log-probabilities and a distance of every row are in the plan. */
static void test_teacher_memory(void **state) {
    (void)state;
    struct model_config config = patchwork_config(true);
    struct model_setup setup = {
        .config = &config, .max_tokens = 4096, .max_positions = 64, .compute = DTYPE_F32, .trains = true};
    struct model without, with;
    model_measure(&without, &setup);
    setup.teacher.top_k = 64;
    model_measure(&with, &setup);
    assert_int_equal(with.arena.used_bytes - without.arena.used_bytes, 4096 * (64 * 8 + 4));
    model_free(&without);
    model_free(&with);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_mean),     cmocka_unit_test(test_losses_first),
        cmocka_unit_test(test_step_pass),      cmocka_unit_test(test_layer_terms),
        cmocka_unit_test(test_entries),        cmocka_unit_test(test_distill),
        cmocka_unit_test(test_teacher_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
