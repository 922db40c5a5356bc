/* test_ranks_halo.c - ranks that share a micro-batch and exchange neighbours' rows (run with 2 and 4 ranks): the same bits of every loss as
 * where they exchange rows for heads, over steps that update all weights, for texts of many lengths and for windows; fewer bytes.  With sinks
 * within 1e-5.
 * Controls: a key that did not arrive is seen, and one long text is exchanged by heads as before. */
#include "tests/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/rng.h"
#include "train/model/model.h"
#include "train/model/optimizer.h"
#include "train/model/publish.h"
#include "train/model/shard.h"
#include "train/model/state_save.h"
#include "train/plan/layout.h"
#include "train/ranks/rank_device.h"

enum { TOKENS = 1536, STEPS = 3, VOCAB = 61 };

static struct comm *comm;
static bool on_gpu; /* or on what stands in for one, which is slow: fewer tokens and steps */
static int num_tokens = TOKENS, num_steps = STEPS;

static const char RUN[] = "run: {threads: 1}\n"
                          "model: {tokenizer: tokenizer.json}\n"
                          "data: {train: train.h5, sequence_tokens: 1536}\n"
                          "train: {steps: 10, batch_sequences: 1, micro_sequences: 1, compute: f32}\n";

/* What is varied. */
struct variant {
    const char *family;
    int64_t text_tokens; /* of the longest text */
    enum recompute recompute;
    enum dtype compute;
    bool always_heads;
    bool loses_key; /* the mistake: the first key that came from another rank is another */
};

/* What came of it. */
struct outcome {
    float losses[STEPS][TOKENS]; /* of this rank's rows */
    int64_t sent_bytes;
    int num_near; /* masks of the last micro-batch for which neighbours exchanged rows */
};

static struct model_config model_of(const struct variant *v) {
    struct model_config model = {.width = 32,
                                 .ffn_width = 48,
                                 .vocab_size = VOCAB,
                                 .max_positions = TOKENS,
                                 .num_layers = 2,
                                 .num_heads = 8,
                                 .num_kv_heads = 4,
                                 .head_dim = 8,
                                 .norm_eps = 1e-5f,
                                 .initializer_range = 0.15f,
                                 .rope_theta = 10000.0};
    snprintf(model.model_type, sizeof model.model_type, "%s", v->family);
    if (strcmp(v->family, "llama") != 0) {
        family_local_defaults(&model);
        model.window = 40;
        model.window_period = 2;
        model.window_whole = 1;
        model.tied_head = strncmp(v->family, "gemma", 5) == 0;
    }
    if (strcmp(v->family, "gpt_oss") == 0)
        model.num_experts = model.num_chosen = 2;
    return model;
}

/* batch_of - texts of up to so many tokens end to end, the same on all ranks. */
static struct batch batch_of(const struct variant *v, int step) {
    struct batch b = {.num_tokens = num_tokens,
                      .tokens = xcalloc(TOKENS, sizeof *b.tokens),
                      .targets = xcalloc(TOKENS, sizeof *b.targets),
                      .row_start = xcalloc(TOKENS, sizeof *b.row_start),
                      .positions = xcalloc(TOKENS, sizeof *b.positions),
                      .weights = xcalloc(TOKENS, sizeof *b.weights)};
    int64_t start = 0, end = 0;
    for (int64_t i = 0; i < num_tokens; i++) {
        uint64_t draw = (uint64_t)(step * TOKENS + i);
        if (i == end) {
            start = i;
            end = v->text_tokens < num_tokens
                      ? i + 1 + (int64_t)rng_below(5, rng_stream(RNG_TEST, 3), draw, (uint64_t)v->text_tokens)
                      : num_tokens;
        }
        b.tokens[i] = (int32_t)rng_below(5, rng_stream(RNG_TEST, 1), draw, VOCAB);
        b.targets[i] = (int32_t)rng_below(5, rng_stream(RNG_TEST, 2), draw, VOCAB);
        b.row_start[i] = (int32_t)start;
        b.positions[i] = (int32_t)(i - start);
        b.weights[i] = 1;
    }
    return b;
}

static void batch_free(struct batch *b) {
    free(b->tokens);
    free(b->targets);
    free(b->row_start);
    free(b->positions);
    free(b->weights);
}

/* A transport whose pieces do not all arrive: its own table, and one that spoils the first value of what came from others. */
static const struct transport_ops *real_ops;

static void lose_first(struct transport *t, const struct comm_pieces *pieces, struct transfer *transfer) {
    real_ops->all_to_all_start(t, pieces, transfer);
    real_ops->wait(t, transfer);
    char *at = pieces->received;
    for (int r = 0; r < comm_num_ranks(t->comm); r++) {
        if (r != comm_rank(t->comm) && pieces->received_bytes[r] > 0) {
            memset(at, 0, sizeof(float));
            return;
        }
        at += pieces->received_bytes[r];
    }
}

struct run {
    struct config config;
    struct model_config tiny;
    struct rank_device rank;
    struct params params;
    struct model model;
};

static void run_open(struct run *run, const struct variant *v) {
    struct err err = {""};
    run->tiny = model_of(v);
    if (config_load_text(&run->config, RUN, strlen(RUN), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    run->config.data.sequence_tokens = num_tokens;
    run->config.parallel.context = comm_num_ranks(comm);
    run->config.parallel.replicas = run->config.parallel.tensor = run->config.parallel.expert = 1;
    run->config.parallel.zero_stage = 1;
    run->config.parallel.reduce = REDUCE_STEP;
    run->config.train.recompute = v->recompute;
    run->config.train.compute = (enum compute)v->compute;
    CHECK(rank_device_open(&run->rank, &run->config, comm), "the device could not be opened");
    on_gpu = !run->rank.dev.ops->host_memory;
    struct layout layout = layout_make(&run->config, &run->tiny, &run->rank.grid, on_gpu);
    layout.model.always_heads = v->always_heads;
    params_create(&run->params, &run->rank.dev, &layout.params);
    params_join_replicas(&run->params, run->rank.across);
    params_join_tensor(&run->params, run->rank.tensor);
    params_join_experts(&run->params, run->rank.expert, run->rank.holders);
    model_create(&run->model, &run->rank.dev, &run->params, &layout.model);
    run->model.context = run->rank.context;
    run->model.along = run->rank.tensor;
    run->model.between = run->rank.expert;
    state_init(&run->params, 5);
    params_share_masters(&run->params, run->rank.link);
    params_refresh(&run->params, run->rank.link);
}

static void one_step(struct run *run, const struct variant *v, int step) {
    struct batch batch = batch_of(v, step);
    params_publish_start(&run->params, run->rank.link);
    params_grad_reset(&run->params);
    params_grad_last(&run->params);
    model_train(&run->model, run->rank.link, &batch, 1.0f / TOKENS);
    params_grad_finish(&run->params, run->rank.link);
    struct comm *joined = axes_comm(&run->rank.axes, grid_update_axes(&run->rank.grid));
    struct optimizer_step update = {step + 1, 1e-2, optimizer_grad_norm(&run->params, joined), 1};
    optimizer_update(&run->params, run->rank.link, &run->config, &update);
    batch_free(&batch);
}

static void train(const struct variant *v, struct outcome *outcome) {
    struct run run;
    struct transport_ops losing;
    memset(outcome, 0, sizeof *outcome);
    run_open(&run, v);
    struct transport *context = run.rank.context;
    real_ops = context->ops;
    losing = *real_ops;
    losing.all_to_all_start = lose_first;
    outcome->sent_bytes = -context->sent_bytes;
    for (int step = 0; step < num_steps; step++) {
        context->ops = v->loses_key && step == num_steps / 2 ? &losing : real_ops;
        one_step(&run, v, step);
        context->ops = real_ops;
        memcpy(outcome->losses[step], run.model.flight.host_losses, (size_t)num_tokens * sizeof(float));
    }
    outcome->sent_bytes += context->sent_bytes;
    for (int m = 0; m < run.model.flight.num_masks; m++)
        outcome->num_near += run.model.flight.masks[m].halo.is_on;
    model_free(&run.model);
    params_free(&run.params);
    rank_device_close(&run.rank);
    config_free(&run.config);
}

/* farthest - the largest difference of a loss, on all ranks. */
static double farthest(const struct outcome *a, const struct outcome *b) {
    double most = 0;
    for (int step = 0; step < STEPS; step++)
        for (int i = 0; i < TOKENS; i++)
            most = fmax(most, fabs((double)a->losses[step][i] - (double)b->losses[step][i]));
    comm_max_f64(comm, &most, 1);
    return most;
}

/* agree - in every bit; on a GPU, whose kernels share out the sums of a row otherwise, within 1e-5. */
static bool agree(const struct outcome *a, const struct outcome *b) {
    double differing = memcmp(a->losses, b->losses, sizeof a->losses) != 0;
    comm_sum_f64(comm, &differing, 1);
    return on_gpu ? farthest(a, b) < 1e-5 : differing == 0;
}

static struct outcome heads, near, wrong;

/* skip_on_gpu - what the kernels have no part in. */
static void skip_on_gpu(void **state) {
    (void)state;
    if (on_gpu)
        skip();
}

static void expect_same_bits(struct variant v, int num_near) {
    v.always_heads = true;
    train(&v, &heads);
    assert_int_equal(heads.num_near, 0);
    v.always_heads = false;
    train(&v, &near);
    if (near.num_near != num_near || !agree(&heads, &near))
        fail_msg(
            "%s, texts of %lld tokens, recompute %d: %d masks by neighbours, expected %d; or other losses",
            v.family, (long long)v.text_tokens, v.recompute, near.num_near, num_near);
    if (num_near > 0)
        assert_true(near.sent_bytes < heads.sent_bytes);
    if (comm_rank(comm) == 0)
        fprintf(stderr, "%s, texts of up to %lld tokens, %d ranks: %lld bytes sent, %lld by heads\n",
                v.family, (long long)v.text_tokens, comm_num_ranks(comm), (long long)near.sent_bytes,
                (long long)heads.sent_bytes);
}

static void test_same_bits(void **state) {
    (void)state;
    for (int i = 0; i < (on_gpu ? 1 : 4); i++)
        expect_same_bits(
            (struct variant){.family = "llama", .text_tokens = 60 + 40 * i, .recompute = (enum recompute)i},
            1);
}

/* In bf16 nothing is rounded otherwise either. */
static void test_same_bits_bf16(void **state) {
    skip_on_gpu(state);
    expect_same_bits((struct variant){.family = "llama", .text_tokens = 100, .compute = DTYPE_BF16}, 1);
}

/* A window in one long text: the layers without one exchange heads. */
static void test_windows(void **state) {
    skip_on_gpu(state);
    expect_same_bits((struct variant){.family = "gemma2", .text_tokens = num_tokens}, 1);
    expect_same_bits((struct variant){.family = "gemma3_text", .text_tokens = num_tokens}, 1);
    expect_same_bits((struct variant){.family = "gemma3_text", .text_tokens = 100}, 2);
}

/* The gradients of sinks are sums over rows, which are divided otherwise. */
static void test_sinks(void **state) {
    skip_on_gpu(state);
    struct variant v = {.family = "gpt_oss", .text_tokens = 100, .always_heads = true};
    train(&v, &heads);
    v.always_heads = false;
    train(&v, &near);
    assert_int_equal(near.num_near, 2);
    assert_true(farthest(&heads, &near) < 1e-5);
}

static void test_long_text_as_before(void **state) {
    skip_on_gpu(state);
    expect_same_bits((struct variant){.family = "llama", .text_tokens = num_tokens}, 0);
    assert_int_equal(near.sent_bytes, heads.sent_bytes);
}

/* The control. */
static void test_lost_key_is_seen(void **state) {
    skip_on_gpu(state);
    struct variant v = {.family = "llama", .text_tokens = 150};
    train(&v, &near);
    v.loses_key = true;
    train(&v, &wrong);
    assert_false(agree(&near, &wrong));
}

/* look_for_gpu - whether the ranks compute on GPUs. */
static void look_for_gpu(void) {
    struct config config = {.run = {.threads = 1}, .parallel = {.replicas = 1}};
    struct rank_device rank;
    on_gpu = rank_device_open(&rank, &config, comm) && !rank.dev.ops->host_memory;
    rank_device_close(&rank);
    if (on_gpu)
        num_tokens = 256 * comm_num_ranks(comm), num_steps = 1;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_same_bits_bf16),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_sinks),
        cmocka_unit_test(test_long_text_as_before),
        cmocka_unit_test(test_lost_key_is_seen),
    };
    comm = comm_start(&argc, &argv);
    look_for_gpu();
    int failed = comm_num_ranks(comm) % 2 == 0 ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
    comm_finish(comm);
    return failed;
}
