/* layout_run.h - a tiny model trained as the trainer does it, in any layout of ranks: what test_ranks_train.c compares. */
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokens/loader.h"
#include "kernels/rng.h"
#include "tests/tiny_run.h"
#include "train/model/feedback.h"
#include "train/model/publish.h"
#include "train/ranks/comm.h"
#include "train/ranks/rank_device.h"
#include "train/run/feed.h"
#include "train/run/step_sums.h"

enum { STEPS = 10, FEW_STEPS = 3, BATCH = 12, SEQUENCE = 24, DOCUMENTS = 300, EXPERTS = 8 };

static struct comm *comm;
static char *token_path;
static int num_steps =
    STEPS; /* fewer there, as the stand-in is slow, and with ATELIER_TEST_FEW_STEPS=1: for sanitizers */

/* What is varied. */
struct layout {
    int zero_stage;
    int64_t micro_sequences;
    enum recompute recompute;
    int replicas, context, tensor, expert; /* 0: one */
    const char *family; /* with EXPERTS experts, of which a row goes to `chosen`; NULL: a Llama */
    int chosen;
    int64_t padding; /* rows of the vocabulary beyond the tokens': 61 are a prime */
    bool wrong_rows; /* the mistake: ranks that share texts take each other's rows */
    bool lacks_sum;  /* the mistake: ranks that divide tensors do not add up what they hold alike */
    const struct axis_row *rows; /* of a grid with an axis more, of two ranks; NULL: the usual grid */
    bool keeps_gradients;        /* reduced once a step at stages 2 and 3 */
    bool mean_of_means;          /* the mistake */
    enum dtype compute, moments, wire;
    bool wire_has_codes;
    bool forgets; /* the mistake: what rounding to codes loses is sent by nobody */
    bool offloads, wide;
    double rate; /* 0: the usual one */
};

static const struct config CONFIG = {
    .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1},
    .train = {.grad_clip = 1.0}};

/* wide_model - heads as wide as the fast kernels want them. */
static struct model_config wide_model(void) {
    struct model_config model = tiny_config(true);
    model.width = 128;
    model.ffn_width = 96;
    model.num_layers = 2;
    model.num_heads = 2;
    model.num_kv_heads = 1;
    model.head_dim = 64;
    model.initializer_range = 0.06f;
    return model;
}

/* write_tokens - documents of very different lengths, a third of the tokens masked out: ranks differ in
 * targets. */
static int write_tokens(const char *path, struct err *err) {
    struct token_writer *writer = token_writer_create(path, "none", TINY_VOCAB, err);
    int64_t source = writer ? token_writer_add_source(writer, "test", "", "") : -1;
    uint64_t draws = 0;
    for (int d = 0; source >= 0 && d < DOCUMENTS; d++) {
        int32_t tokens[40];
        uint8_t mask[40];
        int64_t count = (int64_t)rng_below(7, rng_stream(RNG_TEST, 2), draws++, 40);
        for (int64_t i = 0; i < count; i++) {
            bool follows =
                i > 0 && rng_below(7, rng_stream(RNG_TEST, 4), draws++, 8) > 0; /* something to learn */
            tokens[i] = follows ? (tokens[i - 1] * 5 + 3) % TINY_VOCAB
                                : (int32_t)rng_below(7, rng_stream(RNG_TEST, 3), draws++, TINY_VOCAB);
            mask[i] = d % 3 != 0 || i % 5 == 0;
        }
        if (token_writer_append(writer, source, tokens, mask, count, err))
            return -1;
    }
    return source >= 0 ? token_writer_finish(writer, err) : -1;
}

/* Everything of one training run. */
struct run {
    struct comm *all;      /* NULL: one rank */
    struct step_sums sums; /* of the newest step */
    double grad_norm;
    struct model_config model_config;
    struct loader *loader;
    struct feed feed;
    struct rank_device rank;
    struct params params;
    struct model model;
};

/* open_rank - one rank alone computes on the CPU: it is what the others are compared with.  Those compute on
 * whatever device there is. */
static void open_rank(struct run *run, struct comm *run_comm, const struct layout *layout) {
    struct config config = {.run = {.threads = 1},
                            .parallel = {.zero_stage = layout->zero_stage,
                                         .replicas = layout->replicas ? layout->replicas : 1,
                                         .context = layout->context ? layout->context : 1,
                                         .tensor = layout->tensor ? layout->tensor : 1,
                                         .expert = layout->expert ? layout->expert : 1}};
    if (run_comm && layout->rows) {
        int replicas = (int)config.parallel.replicas, num_ranks = comm_num_ranks(run_comm);
        const int sizes[] = {replicas, num_ranks / replicas / 2, 2};
        CHECK(rank_device_take(&run->rank, &config, run_comm), "the device could not be opened");
        grid_place(&run->rank.grid, layout->rows, 3, sizes, comm_rank(run_comm));
        CHECK(rank_device_join(&run->rank, &config, run_comm), "the transports could not be opened");
        return;
    }
    if (run_comm) {
        CHECK(rank_device_open(&run->rank, &config, run_comm), "the device could not be opened");
        return;
    }
    struct err err = {""};
    CHECK(grid_make(&run->rank.grid, &(struct grid_shape){1, 1, 1, 1, 1, 1}, 0, &err) == 0, "%s", err.text);
    device_open_cpu(&run->rank.dev, 1);
    CHECK(rank_device_join(&run->rank, &config, NULL), "no transport");
}

/* split_stage - as a rank has it: alone in its replica it splits its updates with other replicas, and nothing else. */
static int split_stage(const struct grid *grid, int zero_stage) {
    if (grid_num_shards(grid) > 1)
        return zero_stage;
    return zero_stage > 0 && grid_size(grid, grid_replica_axes(grid)) > 1 ? 1 : 0;
}

/* place_along - of this rank, among those of a set of axes. */
static struct divided place_along(const struct run *run, unsigned axes) {
    return (struct divided){grid_size(&run->rank.grid, axes), grid_index(&run->rank.grid, axes)};
}

static struct params_setup params_setup_of(const struct run *run, const struct layout *layout) {
    const struct grid *grid = &run->rank.grid;
    struct divided shards = place_along(run, grid_axes(grid, DIVIDES_PARAMETERS)),
                   replicas = place_along(run, grid_replica_axes(grid));
    return (struct params_setup){.model = &run->model_config,
                                 .compute = layout->compute,
                                 .optimizer = &optimizer_adamw,
                                 .moments = layout->moments,
                                 .offloads = layout->offloads,
                                 .wire = layout->wire,
                                 .wire_has_codes = layout->wire_has_codes,
                                 .zero_stage = split_stage(grid, layout->zero_stage),
                                 .keeps_gradients = layout->keeps_gradients,
                                 .trains = true,
                                 .rank = shards.index,
                                 .num_ranks = shards.size,
                                 .replica = replicas.index,
                                 .tensor = place_along(run, grid_axes(grid, DIVIDES_TENSORS)),
                                 .experts = place_along(run, grid_axes(grid, DIVIDES_EXPERTS)),
                                 .holders = place_along(run, grid_holder_axes(grid)),
                                 .replicas = replicas};
}

static void run_open(struct run *run, struct comm *run_comm, const struct layout *layout, bool tied) {
    struct err err = {""};
    struct loader_file file = {token_path, 1.0};
    struct loader_config loader_config = {
        .files = &file, .num_files = 1, .sequence_tokens = SEQUENCE, .seed = 3, .vocab_size = TINY_VOCAB};
    memset(run, 0, sizeof *run);
    run->all = run_comm;
    run->loader = loader_open(&loader_config, &err);
    CHECK(run->loader, "%s", err.text);
    run->model_config = layout->wide ? wide_model() : tiny_config(tied);
    run->model_config.vocab_size += layout->padding;
    if (layout->family) {
        snprintf(run->model_config.model_type, sizeof run->model_config.model_type, "%s", layout->family);
        run->model_config.num_experts = EXPERTS;
        run->model_config.num_chosen = layout->chosen;
    }
    open_rank(run, run_comm, layout);
    struct params_setup params_setup = params_setup_of(run, layout);
    struct model_setup model_setup = {
        .config = &run->model_config,
        .max_tokens = layout->micro_sequences * SEQUENCE,
        .num_context = run->rank.context ? run->rank.grid.axes[AXIS_CONTEXT].size : 1,
        .context_rank = run->rank.context ? run->rank.grid.axes[AXIS_CONTEXT].index : 0,
        .tensor = params_setup.tensor,
        .experts = params_setup.experts,
        .max_positions = SEQUENCE,
        .compute = layout->compute,
        .recompute = layout->recompute,
        .router = {.max_sequences = layout->micro_sequences},
        .trains = true};
    rank_device_spare_sms(&run->rank, params_setup.zero_stage);
    params_create_linked(&run->params, &run->rank.dev, &params_setup, run->rank.link, run_comm);
    params_join_replicas(&run->params, run->rank.across);
    params_join_tensor(&run->params, layout->lacks_sum ? NULL : run->rank.tensor);
    params_join_experts(&run->params, run->rank.expert, run->rank.holders);
    model_create(&run->model, &run->rank.dev, &run->params, &model_setup);
    run->model.context = run->rank.context;
    run->model.along = run->rank.tensor;
    run->model.between = run->rank.expert;
    run->model.flight.always_heads = layout->wrong_rows;
    if (layout->wrong_rows)
        run->model.flight.context_rank = 1 - run->model.flight.context_rank;
    unsigned divided = grid_axes(&run->rank.grid, DIVIDES_SAMPLES);
    feed_open(&run->feed, SEQUENCE, BATCH, layout->micro_sequences, grid_index(&run->rank.grid, divided),
              grid_size(&run->rank.grid, divided));
    feed_start(&run->feed, run->loader, 0, NULL);
    state_init(&run->params, 5);
    params_share_masters(&run->params, run->rank.link);
    params_refresh(&run->params, run->rank.link);
}

static void run_close(struct run *run) {
    params_publish_finish(&run->params, run->rank.link);
    feed_close(&run->feed);
    model_free(&run->model);
    params_free(&run->params);
    rank_device_close(&run->rank);
    loader_close(run->loader);
}

/* keep_part - along an axis that divides the loss of shared samples: this rank computes every other position. */
static void keep_part(struct run *run) {
    const struct grid *grid = &run->rank.grid;
    if (grid->num_axes < 3 || grid->rows[2].divides != DIVIDES_LOSS)
        return;
    for (int64_t m = 0; m < run->feed.num_micros; m++)
        for (int64_t i = 0; i < run->feed.micros[m].num_tokens; i++)
            if (i % 2 != grid->axes[2].index)
                run->feed.micros[m].weights[i] = 0;
}

/* train_micro - at stage 3 the next micro-batch finds its embedding under way, and after the last nothing is gathered that the
 * update would make worthless. */
static double train_micro(struct run *run, int64_t m, float scale) {
    double loss = model_train(&run->model, run->rank.link, &run->feed.micros[m], scale);
    if (run->params.setup.zero_stage == 3)
        assert_int_equal(run->params.gathered[SLOT_VOCAB].unit,
                         m + 1 < run->feed.num_micros ? 0 : params_head_unit(&run->params));
    return loss;
}

/* take_sums - of what the ranks say of the batch at hand and of this rank's sum of losses. */
static void take_sums(struct run *run,
                      void (*take)(struct step_sums *, const struct step_message *, const struct grid *),
                      double loss) {
    struct step_message message = {.all = NULL};
    step_message_read(&message, &run->feed);
    message.own[SAID_LOSS] = loss;
    step_message_exchange(&message, run->all);
    take(&run->sums, &message, &run->rank.grid);
    step_message_release(&message);
}

static double step(struct run *run, const struct layout *layout, int64_t index) {
    struct err err = {""};
    CHECK(feed_step(&run->feed, &err) == 0, "%s", err.text);
    take_sums(run, step_sums_read, 0);
    keep_part(run);
    double weight = run->feed.target_weight, loss = 0;
    double loss_scale = layout->compute == DTYPE_F16 ? 1024 : 1, scale = loss_scale / run->sums.target_weight;
    if (layout->mean_of_means && weight > 0)
        scale = 1.0 / (weight * grid_num_ranks(&run->rank.grid));
    params_grad_reset(&run->params);
    for (int64_t m = 0; m < run->feed.num_micros; m++) {
        if (m == run->feed.num_micros - 1)
            params_grad_last(&run->params);
        loss += train_micro(run, m, (float)scale);
    }
    params_grad_finish(&run->params, run->rank.link);
    if (layout->forgets)
        feedback_reset(&run->params);
    take_sums(run, step_sums_computed, loss);
    unsigned divided = grid_update_axes(&run->rank.grid);
    run->grad_norm = optimizer_grad_norm(&run->params, axes_comm(&run->rank.axes, divided));
    struct optimizer_step update = {index + 1, layout->rate > 0 ? layout->rate : 1e-2, run->grad_norm,
                                    loss_scale};
    optimizer_update(&run->params, run->rank.link, &CONFIG, &update);
    params_publish_start(&run->params, run->rank.link);
    return run->sums.loss;
}

/* look_for_gpu - whether the ranks compute on GPUs, as rank_device_open decides; then fewer steps are trained than most_steps. */
static bool on_gpu;
static void look_for_gpu(int most_steps) {
    struct config config = {.run = {.threads = 1}, .parallel = {.replicas = 1}};
    struct rank_device rank;
    on_gpu = rank_device_open(&rank, &config, comm) && !rank.dev.ops->host_memory;
    rank_device_close(&rank);
    num_steps = on_gpu || getenv("ATELIER_TEST_FEW_STEPS") ? FEW_STEPS : most_steps;
}
