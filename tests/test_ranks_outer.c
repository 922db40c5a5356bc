/* test_ranks_outer.c - replicas that learn apart, and what they do together (run with 1 to 4 ranks, each a replica of its own, and four
 * also as two of two): outer steps as torch makes them of the mean of what the replicas changed; weights that stay their own
 * until then, and are the same bits after; with learning rate 1 and momentum 0 the mean of weights that each replica trained,
 * as sums in f64 have it, at every stage.  Controls: without momentum, and with the change of one replica alone, they
 * are not torch's; the weights before an outer step are not their mean. */
#include "tests/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "tests/tiny_run.h"
#include "train/model/outer.h"
#include "train/model/publish.h"
#include "train/plan/layout.h"
#include "train/ranks/rank_device.h"

static struct comm *comm;

static const char RUN[] = "run: {threads: 1}\n"
                          "model: {tokenizer: tokenizer.json}\n"
                          "data: {train: train.h5, sequence_tokens: 16}\n"
                          "train: {steps: 10, batch_sequences: 4, micro_sequences: 4, compute: f32}\n"
                          "parallel: {sync_every: 2}\n";

/* Everything of a rank. */
struct run {
    struct config config;
    struct rank_device rank;
    struct params params;
    struct model model;
    struct model_config tiny;
    struct batch batch;
    int64_t updates;
};

static void run_open(struct run *run, int replicas, int zero_stage, enum dtype compute) {
    struct err err = {""};
    run->tiny = tiny_config(true);
    run->updates = 0;
    CHECK(config_load_text(&run->config, RUN, strlen(RUN), "run.yaml", NULL, 0, &err) == 0, "%s", err.text);
    run->config.run.device = DEVICE_CPU;
    run->config.parallel.replicas = replicas;
    run->config.parallel.zero_stage = zero_stage;
    run->config.parallel.reduce = REDUCE_MICRO;
    run->config.train.compute = (enum compute)compute;
    run->config.train.recompute = RECOMPUTE_NONE;
    CHECK(rank_device_open(&run->rank, &run->config, comm), "the device could not be opened");
    struct layout layout = layout_make(&run->config, &run->tiny, &run->rank.grid, false);
    params_create(&run->params, &run->rank.dev, &layout.params);
    model_create(&run->model, &run->rank.dev, &run->params, &layout.model);
    state_init(&run->params, 5);
    params_share_masters(&run->params, run->rank.link);
    outer_start(&run->params);
    params_refresh(&run->params, run->rank.link);
    run->batch = tiny_batch(comm_rank(comm), comm_num_ranks(comm));
}

static void run_close(struct run *run) {
    params_publish_finish(&run->params, run->rank.link);
    free(run->batch.tokens);
    free(run->batch.targets);
    free(run->batch.row_start);
    free(run->batch.positions);
    free(run->batch.weights);
    model_free(&run->model);
    params_free(&run->params);
    rank_device_close(&run->rank);
    config_free(&run->config);
}

/* step_apart - of this replica by its own samples. */
static void step_apart(struct run *run) {
    struct params *params = &run->params;
    params_grad_reset(params);
    params_grad_last(params);
    model_train(&run->model, run->rank.link, &run->batch, 1e-2f);
    params_grad_finish(params, run->rank.link);
    struct optimizer_step step = {++run->updates, 1e-2, optimizer_grad_norm(params, run->rank.link->comm), 1};
    optimizer_update(params, run->rank.link, &run->config, &step);
    params_publish_start(params, run->rank.link);
}

/* meet - the outer step, whatever is under way. */
static void meet(struct run *run, double learning_rate, double momentum) {
    const struct outer_args args = {learning_rate, momentum};
    params_publish_finish(&run->params, run->rank.link);
    outer_step(&run->params, run->rank.across, &args);
    params_publish(&run->params, run->rank.link);
}

/* num_own - values that this rank updates. */
static int64_t num_own(const struct params *params) {
    int64_t count = 0;
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        count += s->own_count;
    return count;
}

/* masters - all of them, one segment after the other; malloc'ed. */
static float *masters(const struct params *params) {
    float *values = xcalloc((size_t)num_own(params), sizeof *values), *to = values;
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL)); to += s->own_count)
        memcpy(to, s->master, (size_t)s->own_count * sizeof *to);
    return values;
}

/* of_replicas - the masters of every replica that hold the same as this rank's, [replicas, num_own]; malloc'ed. */
static float *of_replicas(struct run *run, const float *own) {
    struct comm *across = run->rank.across->comm;
    size_t size_bytes = (size_t)num_own(&run->params) * sizeof(float);
    float *all = xmalloc(size_bytes * (size_t)run->params.setup.apart.size);
    if (across)
        comm_gather_bytes(across, own, size_bytes, all);
    else
        memcpy(all, own, size_bytes);
    return all;
}

/* worst_from_mean - how far values are from the mean over the replicas, relative to the largest of them. */
static double worst_from_mean(const struct run *run, const float *values, const float *all) {
    int64_t count = num_own(&run->params), replicas = run->params.setup.apart.size;
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int64_t r = 0; r < replicas; r++)
            sum += (double)all[r * count + i];
        worst = fmax(worst, fabs((double)values[i] - sum / (double)replicas));
        largest = fmax(largest, fabs(sum / (double)replicas));
    }
    return worst / largest;
}

/* check_mean - H of 1, 2, 3: after each outer step the weights are the mean, and the same bits everywhere. */
static void check_mean(int replicas, int zero_stage, enum dtype compute) {
    struct run run;
    run_open(&run, replicas, zero_stage, compute);
    for (int h = 1; h <= 3; h++) {
        for (int i = 0; i < h; i++)
            step_apart(&run);
        params_publish_finish(&run.params, run.rank.link);
        float *before = masters(&run.params), *all = of_replicas(&run, before);
        double apart = worst_from_mean(&run, before, all);
        meet(&run, 1, 0);
        float *after = masters(&run.params), *joined = of_replicas(&run, after);
        double met = worst_from_mean(&run, after, all);
        if (!(met < 2e-7))
            fail_msg("%d replicas, stage %d, H %d: off by %.2e from the mean of the weights", replicas,
                     zero_stage, h, met);
        assert_true(replicas == 1 || apart > 1e-4); /* the control */
        size_t size_bytes = (size_t)num_own(&run.params) * sizeof *after;
        for (int r = 0; r < replicas; r++)
            assert_memory_equal(joined + r * num_own(&run.params), after, size_bytes);
        free(before);
        free(all);
        free(after);
        free(joined);
    }
    run_close(&run);
}

static void test_mean_of_weights(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    for (int replicas = 1; replicas <= num_ranks; replicas++)
        for (int zero_stage = 0; num_ranks % replicas == 0 && zero_stage <= 3; zero_stage++) {
            check_mean(replicas, zero_stage, DTYPE_F32);
            check_mean(replicas, zero_stage, DTYPE_BF16);
        }
}

/* --- as torch --- */

enum { NUM_VALUES = 4 };

static void take_values(const json_t *list, double values[NUM_VALUES]) {
    CHECK(json_array_size(list) == NUM_VALUES, "%d values were expected", (int)NUM_VALUES);
    for (size_t i = 0; i < NUM_VALUES; i++)
        values[i] = json_number_value(json_array_get(list, i));
}

/* What is done wrongly, for the controls. */
enum mistake { NO_MISTAKE, NO_MOMENTUM, FIRST_ALONE };

/* one_round - each replica changes its weights; returns how far they are from torch's after the outer step. */
static double one_round(struct run *run, const json_t *test, const json_t *round, enum mistake mistake) {
    struct segment *s = params_next_trained(&run->params, NULL, NULL);
    int replica = mistake == FIRST_ALONE ? 0 : run->params.setup.replica;
    double changes[NUM_VALUES], wanted[NUM_VALUES], worst = 0;
    take_values(json_array_get(json_object_get(round, "changes"), (size_t)replica), changes);
    take_values(json_object_get(round, "weights"), wanted);
    for (int i = 0; i < NUM_VALUES; i++)
        s->master[i] += (float)changes[i];
    double momentum = json_number_value(json_object_get(test, "momentum"));
    meet(run, json_number_value(json_object_get(test, "learning_rate")),
         mistake == NO_MOMENTUM ? 0 : momentum);
    for (int i = 0; i < NUM_VALUES; i++)
        worst = fmax(worst, fabs((double)s->master[i] - wanted[i]));
    return worst;
}

/* compare - one case; the worst of its rounds. */
static double compare(const json_t *test, enum mistake mistake) {
    struct run run;
    double weights[NUM_VALUES], worst = 0;
    size_t i;
    json_t *round;
    run_open(&run, comm_num_ranks(comm), 0, DTYPE_F32);
    struct segment *s = params_next_trained(&run.params, NULL, NULL);
    take_values(json_object_get(test, "weights"), weights);
    for (int v = 0; v < NUM_VALUES; v++)
        s->master[v] = (float)weights[v];
    outer_start(&run.params);
    json_array_foreach(json_object_get(test, "rounds"), i, round) worst =
        fmax(worst, one_round(&run, test, round, mistake));
    run_close(&run);
    return worst;
}

static void test_as_torch(void **state) {
    (void)state;
    json_error_t fault;
    json_t *root = json_load_file("tests/golden/outer.json", 0, &fault), *test;
    CHECK(root, "tests/golden/outer.json: %s (run in the repository's root)", fault.text);
    int num_ranks = comm_num_ranks(comm), num_compared = 0;
    size_t i;
    json_array_foreach(json_object_get(root, "cases"), i, test) {
        if (json_integer_value(json_object_get(test, "replicas")) != num_ranks)
            continue;
        double worst = compare(test, NO_MISTAKE);
        if (!(worst < 1e-6))
            fail_msg("case %d: off by %.2e from torch", (int)i, worst);
        if (json_number_value(json_object_get(test, "momentum")) > 0)
            assert_true(compare(test, NO_MOMENTUM) > 1e-3);
        assert_true(num_ranks == 1 || compare(test, FIRST_ALONE) > 1e-3);
        num_compared++;
    }
    assert_int_equal(num_compared, 3);
    json_decref(root);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mean_of_weights),
                                       cmocka_unit_test(test_as_torch)};
    comm = comm_start(&argc, &argv);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
