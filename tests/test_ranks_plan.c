/* test_ranks_plan.c - a model whose layers differ from each other (tests/patchwork.h), trained on any number of ranks (run
 * with 1, 2 and 4) at every stage: losses as of one rank alone.  Control: another learning rate is noticed.  The same with an
 * objective that weighs each token by the loss of the whole step, which no rank has seen alone. */
#include <math.h>

#include "tests/patchwork.h"
#include "tests/tiny_run.h"
#include "train/ranks/comm.h"

enum { STEPS = 6 };
/* Small: with layers of all kinds each step at 1e-2 multiplies what rounding made by about ten. */
static const double RATE = 2e-4;

static struct comm *comm;

static struct config config_of(double rate) {
    struct config config = {
        .optimizer = {.learning_rate = rate, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1}};
    return config;
}

/* By the step's whole loss: the gradient of half its square. */
static void add_losses(void *state, const struct batch *batch, const float *losses, double *sums) {
    (void)state;
    for (int64_t i = 0; i < batch->num_tokens; i++)
        sums[0] += (double)losses[i];
}

static void take_sum(void *state, const double *sums) {
    *(double *)state = sums[0];
}

static void weigh_by_sum(void *state, const struct batch *batch, const float *losses, float *weights) {
    (void)losses;
    for (int64_t i = 0; i < batch->num_tokens; i++)
        weights[i] *= (float)(*(double *)state / 200);
}

static const struct objective WHOLE_SQUARE = {.name = "whole_square",
                                              .num_entries = 1,
                                              .needs_step_pass = true,
                                              .step_losses = add_losses,
                                              .step_sums = take_sum,
                                              .coefficients = weigh_by_sum};

/* run - the losses of STEPS steps. */
static void run(struct comm *ranks, int zero_stage, double rate, const struct objective *kind,
                double losses[STEPS]) {
    struct tiny t;
    struct model_config model = patchwork_config(zero_stage % 2 == 1);
    struct config config = config_of(rate);
    double state = 0;
    tiny_open(&t, (struct tiny_setup){.comm = ranks,
                                      .zero_stage = zero_stage,
                                      .compute = DTYPE_F32,
                                      .optimizer = &optimizer_adamw,
                                      .model = &model,
                                      .objective = {kind, &state}});
    for (int step = 0; step < STEPS; step++)
        losses[step] = tiny_step(&t, &config, step + 1);
    tiny_close(&t);
}

static double worst(const double *a, const double *b) {
    double most = 0;
    for (int step = 0; step < STEPS; step++)
        most = fmax(most, fabs(a[step] / b[step] - 1));
    return most;
}

static void test_as_alone(void **state) {
    (void)state;
    for (int zero_stage = 0; zero_stage <= 3; zero_stage++) {
        double alone[STEPS], together[STEPS], other[STEPS];
        run(NULL, zero_stage, RATE, NULL, alone);
        run(comm, zero_stage, RATE, NULL, together);
        run(comm, zero_stage, 1.01 * RATE, NULL, other);
        assert_true(worst(together, alone) < 1e-5);
        assert_true(worst(other, alone) > 1e-5);
        assert_true(alone[STEPS - 1] < alone[0]);
    }
}

static void test_step_pass(void **state) {
    (void)state;
    for (int zero_stage = 0; zero_stage <= 3; zero_stage++) {
        double alone[STEPS], together[STEPS], plain[STEPS];
        run(NULL, zero_stage, RATE, &WHOLE_SQUARE, alone);
        run(comm, zero_stage, RATE, &WHOLE_SQUARE, together);
        run(comm, zero_stage, RATE, NULL, plain);
        assert_true(worst(together, alone) < 1e-5);
        assert_true(worst(plain, alone) > 1e-3);
    }
}

int main(int argc, char **argv) {
    comm = comm_start(&argc, &argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_alone), cmocka_unit_test(test_step_pass)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
