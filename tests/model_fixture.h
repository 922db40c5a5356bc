/* model_fixture.h - a golden model (tests/golden/README.md) with everything it takes to train it, for the tests that compare with what
 * transformers computed of it. */
#pragma once

#include "checkpoints/safetensors/safetensors.h"
#include "data/corpus/json.h"
#include "tests/check.h"
#include "train/model/optimizer.h"
#include "train/model/session.h"
#include "train/model/shard.h"
#include "train/model/state.h"

enum { ROWS = 2, ROW_TOKENS = 24, NUM_TOKENS = ROWS * ROW_TOKENS };

/* One golden model with everything it takes to train it. */
struct fixture {
    char *folder;
    struct st_files *expected;
    json_t *numbers;
    struct weights *weights;
    struct model_config config;
    struct device dev;
    struct params params;
    struct model model;
    int32_t tokens[NUM_TOKENS], targets[NUM_TOKENS], row_start[NUM_TOKENS], positions[NUM_TOKENS];
    float target_weights[NUM_TOKENS];
    double num_targets;
    struct batch batch;
};

static float *read_expected(const struct fixture *f, const char *name, int64_t *count) {
    struct err err = {""};
    int64_t index = st_find(f->expected, name);
    if (index < 0)
        fail_msg("%s has no tensor %s", f->folder, name);
    *count = st_entry(f->expected, index).count;
    float *values = xmalloc((size_t)*count * sizeof *values);
    if (st_read_f32(f->expected, index, 0, *count, values, &err))
        fail_msg("%s", err.text);
    return values;
}

static void read_ints(const struct fixture *f, const char *name, int32_t *out) {
    int64_t count;
    float *values = read_expected(f, name, &count);
    assert_int_equal(count, NUM_TOKENS);
    for (int i = 0; i < NUM_TOKENS; i++)
        out[i] = (int32_t)values[i];
    free(values);
}

/* make_batch - row_start from the document numbers; a target of -1 has no weight. */
static void make_batch(struct fixture *f) {
    int32_t documents[NUM_TOKENS];
    read_ints(f, "tokens", f->tokens);
    read_ints(f, "targets", f->targets);
    read_ints(f, "positions", f->positions);
    read_ints(f, "documents", documents);
    f->num_targets = 0;
    for (int i = 0; i < NUM_TOKENS; i++) {
        bool first = i % ROW_TOKENS == 0 || documents[i] != documents[i - 1];
        f->row_start[i] = first ? i : f->row_start[i - 1];
        f->target_weights[i] = f->targets[i] >= 0 ? 1.0f : 0.0f;
        f->num_targets += (double)f->target_weights[i];
        if (f->targets[i] < 0)
            f->targets[i] = 0;
    }
    f->batch = (struct batch){.num_tokens = NUM_TOKENS,
                              .tokens = f->tokens,
                              .targets = f->targets,
                              .row_start = f->row_start,
                              .positions = f->positions,
                              .weights = f->target_weights};
}

static void fixture_open(struct fixture *f, const char *name, enum recompute recompute, int zero_stage) {
    struct err err = {""};
    memset(f, 0, sizeof *f);
    f->folder = xasprintf("tests/golden/models/%s", name);
    char *path = xasprintf("%s/expected.safetensors", f->folder),
         *json = xasprintf("%s/expected.json", f->folder);
    f->expected = st_open(path, &err);
    f->numbers = f->expected ? json_load_path(json, 1 << 20, &err) : NULL;
    f->weights = f->numbers ? weights_open(f->folder, &err) : NULL;
    if (!f->weights)
        fail_msg("%s", err.text);
    free(path);
    free(json);
    f->config = *weights_config(f->weights);
    struct params_setup params_setup = {.model = &f->config,
                                        .compute = DTYPE_F32,
                                        .optimizer = &optimizer_adamw,
                                        .zero_stage = zero_stage,
                                        .trains = true,
                                        .num_ranks = 1};
    struct model_setup model_setup = {.config = &f->config,
                                      .max_tokens = NUM_TOKENS,
                                      .max_positions = ROW_TOKENS,
                                      .compute = DTYPE_F32,
                                      .recompute = recompute,
                                      .trains = true};
    test_device_open(&f->dev, 1);
    params_create(&f->params, &f->dev, &params_setup);
    model_create(&f->model, &f->dev, &f->params, &model_setup);
    if (state_load_weights(&f->params, f->weights, value_type_of(DTYPE_F32), &err))
        fail_msg("%s", err.text);
    params_refresh(&f->params, NULL);
    make_batch(f);
}

static void fixture_close(struct fixture *f) {
    model_free(&f->model);
    params_free(&f->params);
    device_close(&f->dev);
    weights_close(f->weights);
    st_close(f->expected);
    json_decref(f->numbers);
    free(f->folder);
}

static inline double number(const struct fixture *f, const char *key) {
    double value;
    struct err err = {""};
    if (json_get_double(f->numbers, key, &value, &err))
        fail_msg("%s", err.text);
    return value;
}

static inline double gradients(struct fixture *f) {
    params_grad_reset(&f->params);
    double loss = model_train(&f->model, NULL, &f->batch, (float)(1.0 / f->num_targets));
    params_grad_finish(&f->params, NULL);
    return loss / f->num_targets;
}
