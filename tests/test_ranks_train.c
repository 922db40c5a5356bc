/* test_ranks_train.c - the same 20 steps on any number of ranks (run with 1, 2, 3 and 4), at every stage,
 * with one or several micro-batches, with and without recomputation: losses equal to 1e-5 those of one rank
 * that computes everything at once, which every rank works out for itself without a word to the others.
 * Controls: gradients scaled by each rank's own token count (a mean of means) must not pass; the same layout
 * twice must give the same bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/loader.h"
#include "kernels/rng.h"
#include "tests/check.h"
#include "train/comm.h"
#include "train/feed.h"
#include "train/optimizer.h"
#include "train/shard.h"
#include "train/state.h"

enum { STEPS = 20, BATCH = 12, SEQUENCE = 24, DOCUMENTS = 300 };

static struct comm *comm;
static char *token_path;

/* What is varied. */
struct layout {
    int stage;
    int64_t micro_sequences;
    enum recompute recompute;
    bool mean_of_means; /* the mistake */
};

static const struct config CONFIG = {
    .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1},
    .train = {.grad_clip = 1.0}};

static struct model_config tiny_model(bool tied) {
    return (struct model_config){.model_type = "llama",
                                 .width = 24,
                                 .ffn_width = 40,
                                 .vocab_size = 61,
                                 .max_positions = 64,
                                 .num_layers = 3,
                                 .num_heads = 4,
                                 .num_kv_heads = 2,
                                 .head_dim = 6,
                                 .norm_eps = 1e-5f,
                                 .tied_head = tied,
                                 .initializer_range = 0.15f,
                                 .rope_theta = 10000.0};
}

/* write_tokens - documents of very different lengths, a third of the tokens masked out: ranks differ in
 * targets. */
static int write_tokens(const char *path, struct err *err) {
    struct token_writer *writer = token_writer_create(path, "none", 61, err);
    int64_t source = writer ? token_writer_add_source(writer, "test", "", "") : -1;
    uint64_t draws = 0;
    for (int d = 0; source >= 0 && d < DOCUMENTS; d++) {
        int32_t tokens[40];
        uint8_t mask[40];
        int64_t count = (int64_t)rng_below(7, rng_stream(RNG_TEST, 2), draws++, 40);
        for (int64_t i = 0; i < count; i++) {
            bool follows =
                i > 0 && rng_below(7, rng_stream(RNG_TEST, 4), draws++, 8) > 0; /* something to learn */
            tokens[i] = follows ? (tokens[i - 1] * 5 + 3) % 61
                                : (int32_t)rng_below(7, rng_stream(RNG_TEST, 3), draws++, 61);
            mask[i] = d % 3 != 0 || i % 5 == 0;
        }
        if (token_writer_append(writer, source, tokens, mask, count, err))
            return -1;
    }
    return source >= 0 ? token_writer_finish(writer, err) : -1;
}

/* Everything of one training run. */
struct run {
    struct model_config model_config;
    struct loader *loader;
    struct feed feed;
    struct device dev;
    struct params params;
    struct model model;
};

static void run_open(struct run *run, struct comm *run_comm, const struct layout *layout, bool tied) {
    struct err err = {""};
    struct loader_file file = {token_path, 1.0};
    struct loader_config loader_config = {
        .files = &file, .num_files = 1, .sequence_tokens = SEQUENCE, .seed = 3, .vocab_size = 61};
    int rank = run_comm ? comm_rank(run_comm) : 0, num_ranks = run_comm ? comm_num_ranks(run_comm) : 1;
    memset(run, 0, sizeof *run);
    run->loader = loader_open(&loader_config, &err);
    CHECK(run->loader, "%s", err.text);
    run->model_config = tiny_model(tied);
    struct params_setup params_setup = {.model = &run->model_config,
                                        .compute = DTYPE_F32,
                                        .stage = layout->stage,
                                        .trains = true,
                                        .rank = rank,
                                        .num_ranks = num_ranks};
    struct model_setup model_setup = {.config = &run->model_config,
                                      .max_tokens = layout->micro_sequences * SEQUENCE,
                                      .max_positions = SEQUENCE,
                                      .compute = DTYPE_F32,
                                      .recompute = layout->recompute,
                                      .trains = true};
    device_open_cpu(&run->dev, 1);
    params_create(&run->params, &params_setup);
    model_create(&run->model, &run->dev, &run->params, &model_setup);
    feed_open(&run->feed, SEQUENCE, BATCH, layout->micro_sequences, rank, num_ranks);
    feed_start(&run->feed, run->loader, 0);
    state_init(&run->params, 5);
    params_share_masters(&run->params, run_comm);
    params_publish(&run->params, run_comm, &run->dev);
}

static void run_close(struct run *run) {
    feed_close(&run->feed);
    model_free(&run->model);
    params_free(&run->params);
    device_close(&run->dev);
    loader_close(run->loader);
}

/* sums - over the ranks of a run; a run without ranks is alone. */
static void sums(struct comm *run_comm, double *values, int count) {
    if (run_comm)
        comm_sum_f64(run_comm, values, count);
}

static double step(struct run *run, struct comm *run_comm, const struct layout *layout, int64_t index) {
    struct err err = {""};
    CHECK(feed_step(&run->feed, &err) == 0, "%s", err.text);
    double weight = run->feed.target_weight, total = weight, loss = 0;
    sums(run_comm, &total, 1);
    double scale = 1.0 / total;
    if (layout->mean_of_means && weight > 0 && run_comm)
        scale = 1.0 / (weight * comm_num_ranks(run_comm));
    params_grad_zero(&run->params);
    for (int64_t m = 0; m < run->feed.num_micros; m++)
        loss += model_train(&run->model, run_comm, &run->feed.micros[m], (float)scale);
    params_grad_finish(&run->params, run_comm);
    sums(run_comm, &loss, 1);
    double norm = optimizer_grad_norm(&run->params, run_comm, &run->dev);
    optimizer_update(&run->params, &run->dev, &CONFIG, index + 1, 1e-2, norm);
    params_publish(&run->params, run_comm, &run->dev);
    return loss / total;
}

static void curve(struct comm *run_comm, const struct layout *layout, bool tied, double losses[STEPS]) {
    struct run run;
    run_open(&run, run_comm, layout, tied);
    for (int64_t i = 0; i < STEPS; i++)
        losses[i] = step(&run, run_comm, layout, i);
    run_close(&run);
}

static double worst_difference(const double *a, const double *b) {
    double worst = 0;
    for (int i = 0; i < STEPS; i++)
        worst = fmax(worst, fabs(a[i] - b[i]) / fabs(b[i]));
    return worst;
}

/* reference - one rank, one micro-batch, nothing sharded: computed by every rank alone. */
static void reference(bool tied, double losses[STEPS]) {
    struct layout layout = {.stage = 0, .micro_sequences = BATCH};
    curve(NULL, &layout, tied, losses);
}

static void check_layouts(bool tied) {
    double want[STEPS], got[STEPS];
    int num_ranks = comm_num_ranks(comm);
    reference(tied, want);
    assert_true(want[STEPS - 1] < want[0] - 0.1); /* it learns: the curve has something to compare */
    for (int stage = 0; stage <= 3; stage++)
        for (int accumulation = 1; accumulation <= 4; accumulation += 3)
            for (enum recompute recompute = RECOMPUTE_NONE; recompute <= RECOMPUTE_LAYER; recompute++) {
                int64_t parts = (int64_t)num_ranks * accumulation;
                struct layout layout = {
                    .stage = stage, .micro_sequences = (BATCH + parts - 1) / parts, .recompute = recompute};
                curve(comm, &layout, tied, got);
                double worst = worst_difference(got, want);
                if (!(worst < 1e-5))
                    fail_msg("%d ranks, stage %d, %lld sequences per micro-batch, recompute %d: losses "
                             "differ by %.2e",
                             num_ranks, stage, (long long)layout.micro_sequences, (int)recompute, worst);
            }
}

static void test_layouts_agree(void **state) {
    (void)state;
    check_layouts(false);
}

static void test_layouts_agree_tied(void **state) {
    (void)state;
    check_layouts(true);
}

static void test_mean_of_means_is_noticed(void **state) {
    (void)state;
    double want[STEPS], got[STEPS];
    int num_ranks = comm_num_ranks(comm);
    struct layout layout = {
        .stage = 2, .micro_sequences = (BATCH + num_ranks - 1) / num_ranks, .mean_of_means = true};
    reference(false, want);
    curve(comm, &layout, false, got);
    if (num_ranks == 1) /* one mean of one mean is right */
        assert_true(worst_difference(got, want) < 1e-5);
    else
        assert_true(worst_difference(got, want) > 1e-5);
}

static void test_same_layout_same_bits(void **state) {
    (void)state;
    for (int stage = 0; stage <= 3; stage++) {
        double first[STEPS], second[STEPS];
        struct layout layout = {.stage = stage, .micro_sequences = 1};
        curve(comm, &layout, false, first);
        curve(comm, &layout, false, second);
        assert_memory_equal(first, second, sizeof first);
    }
}

int main(int argc, char **argv) {
    struct err err = {""};
    comm = comm_start(&argc, &argv);
    token_path = xasprintf("build/tmp/ranks-train-%d.h5", comm_num_ranks(comm));
    if (comm_is_root(comm))
        free(test_folder("ranks-train"));
    int status = comm_is_root(comm) ? write_tokens(token_path, &err) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts_agree),
        cmocka_unit_test(test_layouts_agree_tied),
        cmocka_unit_test(test_mean_of_means_is_noticed),
        cmocka_unit_test(test_same_layout_same_bits),
    };
    int failed = comm_all_ok(comm, status, &err) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    free(token_path);
    comm_finish(comm);
    return failed;
}
