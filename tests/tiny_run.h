/* tiny_run.h - a tiny model trained on one fixed batch, split over any number of ranks: what the tests of segments
 * and optimizers share. */
#pragma once

#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/device_cuda.h"
#include "kernels/rng.h"
#include "train/model/model.h"
#include "train/model/optimizer.h"
#include "train/model/shard.h"
#include "train/model/state_save.h"

enum { TINY_SEQUENCES = 4, TINY_SEQUENCE = 16, TINY_VOCAB = 61, TINY_SLOTS = 384 };

struct tiny_setup {
    struct comm *comm; /* NULL: alone */
    int zero_stage;
    bool tied, offloads, snapshots;
    bool is_fp8;         /* products in 8 bits, of all layers, as fp8_args say */
    bool on_test_device; /* alone, on the device that ATELIER_TEST_DEVICE names */
    struct fp8_args fp8_args;
    int fp8_skip_layers; /* the first and the last so many are not in 8 bits */
    enum recompute recompute;
    enum dtype compute, moments;
    const struct optimizer_kind *optimizer;
    const enum storage *storage;      /* [TINY_SLOTS]; NULL: all is trained */
    enum packed_kind quantised;       /* form of what storage says is quantised */
    const struct model_config *model; /* NULL: tiny_config(tied) */
    struct objective_use objective;   /* kind NULL: token_mean */
};

struct tiny {
    struct tiny_setup setup;
    struct model_config config;
    struct device dev;
    struct transport link;
    struct params params;
    struct model model;
    struct batch batch;
};

static inline struct model_config tiny_config(bool tied) {
    return (struct model_config){.model_type = "llama",
                                 .width = 24,
                                 .ffn_width = 40,
                                 .vocab_size = TINY_VOCAB,
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

/* tiny_batch - this rank's sequences of the batch; where ranks have fewer than others, rows without weight. */
static inline struct batch tiny_batch(int rank, int num_ranks) {
    int64_t rows = (TINY_SEQUENCES + num_ranks - 1) / num_ranks, n = rows * TINY_SEQUENCE;
    struct batch b = {.num_tokens = n,
                      .tokens = xcalloc((size_t)n, sizeof *b.tokens),
                      .targets = xcalloc((size_t)n, sizeof *b.targets),
                      .row_start = xcalloc((size_t)n, sizeof *b.row_start),
                      .positions = xcalloc((size_t)n, sizeof *b.positions),
                      .weights = xcalloc((size_t)n, sizeof *b.weights)};
    for (int64_t i = 0; i < n; i++) {
        int64_t sequence = i / TINY_SEQUENCE * num_ranks + rank, place = i % TINY_SEQUENCE;
        uint64_t token = (uint64_t)(sequence * (TINY_SEQUENCE + 1) + place);
        b.tokens[i] = (int32_t)rng_below(11, rng_stream(RNG_TEST, 1), token, TINY_VOCAB);
        b.targets[i] = (int32_t)rng_below(11, rng_stream(RNG_TEST, 1), token + 1, TINY_VOCAB);
        b.row_start[i] = (int32_t)(i - place);
        b.positions[i] = (int32_t)place;
        b.weights[i] = sequence < TINY_SEQUENCES ? 1.0f : 0.0f;
    }
    return b;
}

static inline struct params_setup tiny_params(const struct tiny *t) {
    struct comm *comm = t->setup.comm;
    return (struct params_setup){.model = &t->config,
                                 .compute = t->setup.compute,
                                 .optimizer = t->setup.optimizer,
                                 .moments = t->setup.moments,
                                 .storage = t->setup.storage,
                                 .quantised = t->setup.quantised,
                                 .offloads = t->setup.offloads,
                                 .snapshots = t->setup.snapshots,
                                 .zero_stage = comm && comm_num_ranks(comm) > 1 ? t->setup.zero_stage : 0,
                                 .trains = true,
                                 .rank = comm ? comm_rank(comm) : 0,
                                 .num_ranks = comm ? comm_num_ranks(comm) : 1};
}

/* tiny_open_device - ranks together compute on a GPU where the program has one, or what stands in for one; a rank
 * alone on the CPU, unless it asks for another device: it is what the others are compared with. */
static inline void tiny_open_device(struct tiny *t) {
    struct err err = {""};
    bool on_gpu = t->setup.comm && device_open_cuda(&t->dev, 0, &err) == 0;
    if (t->setup.on_test_device)
        test_device_open(&t->dev, 1);
    else if (!on_gpu)
        device_open_cpu(&t->dev, 1);
    CHECK(transport_open(&t->link, t->setup.comm, &t->dev,
                         on_gpu || t->setup.on_test_device ? TRANSPORT_STAGED : TRANSPORT_HOST, &err) == 0,
          "%s", err.text);
}

/* tiny_open - a new model, the same weights on any number of ranks. */
static inline void tiny_open(struct tiny *t, struct tiny_setup setup) {
    *t = (struct tiny){.setup = setup, .config = setup.model ? *setup.model : tiny_config(setup.tied)};
    struct params_setup params_setup = tiny_params(t);
    t->batch = tiny_batch(params_setup.rank, params_setup.num_ranks);
    struct model_setup model_setup = {
        .config = &t->config,
        .max_tokens = t->batch.num_tokens,
        .max_positions = TINY_SEQUENCE,
        .compute = setup.compute,
        .trains = true,
        .fp8 = {.is_on = setup.is_fp8, .args = setup.fp8_args, .skip_layers = setup.fp8_skip_layers},
        .recompute = setup.recompute,
        .objective = setup.objective};
    tiny_open_device(t);
    CHECK(param_num_slots(&t->config) <= TINY_SLOTS, "%d slots are too few", (int)TINY_SLOTS);
    params_create(&t->params, &t->dev, &params_setup);
    model_create(&t->model, &t->dev, &t->params, &model_setup);
    state_init(&t->params, 5);
    params_share_masters(&t->params, &t->link);
    params_refresh(&t->params, &t->link);
}

static inline void tiny_close(struct tiny *t) {
    model_free(&t->model);
    params_free(&t->params);
    transport_close(&t->link);
    device_close(&t->dev);
    free(t->batch.tokens);
    free(t->batch.targets);
    free(t->batch.row_start);
    free(t->batch.positions);
    free(t->batch.weights);
}

/* tiny_gradients - of the whole batch, reduced; returns its mean loss. */
static inline double tiny_gradients(struct tiny *t) {
    double count = TINY_SEQUENCES * TINY_SEQUENCE;
    params_grad_reset(&t->params);
    model_step_pass(&t->model, &t->link, t->setup.comm, &t->batch, 1);
    double loss = model_train(&t->model, &t->link, &t->batch, (float)(1 / count));
    params_grad_finish(&t->params, &t->link);
    if (t->setup.comm)
        comm_sum_f64(t->setup.comm, &loss, 1);
    return loss / count;
}

/* tiny_step - one update, number from 1; returns the loss before it. */
static inline double tiny_step(struct tiny *t, const struct config *config, int64_t number) {
    double loss = tiny_gradients(t);
    struct optimizer_step step = {.number = number,
                                  .learning_rate = config->optimizer.learning_rate,
                                  .grad_norm = optimizer_grad_norm(&t->params, t->setup.comm),
                                  .loss_scale = 1};
    optimizer_update(&t->params, &t->link, config, &step);
    params_publish(&t->params, &t->link);
    return loss;
}

/* tiny_owns - of state_save: the folder is the test's own. */
static inline bool tiny_owns(const void *owner) {
    (void)owner;
    return true;
}

/* The weights as the forward reads them, each a copy of its bytes. */
struct tiny_weights {
    void *values[TINY_SLOTS]; /* by param_slot */
    size_t bytes[TINY_SLOTS];
    int64_t counts[TINY_SLOTS];
};

/* tiny_weights - of all units, gathered one after the other.  Collective. */
static inline void tiny_weights(struct tiny *t, struct tiny_weights *w) {
    *w = (struct tiny_weights){.bytes = {0}};
    for (struct segment *s = NULL; (s = params_next(&t->params, s));) {
        params_acquire(&t->params, &t->link, s->unit);
        for (int i = 0; i < s->num_tensors; i++) {
            struct param param = s->tensors[i].param;
            int64_t slot = param_slot(&t->config, param);
            struct tensor value = params_weight(&t->params, s->unit, param.role).value;
            w->counts[slot] = tensor_count(value);
            w->bytes[slot] = tensor_bytes(value);
            w->values[slot] = xmalloc(w->bytes[slot]);
            device_download(&t->dev, w->values[slot], value);
        }
    }
}

static inline void tiny_weights_free(struct tiny_weights *w) {
    for (int i = 0; i < TINY_SLOTS; i++)
        free(w->values[i]);
}
