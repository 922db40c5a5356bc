/* lora_fixture.h - an adapter that peft wrote on a tiny model, ready to be trained in f32 on one rank, on the device that
 * ATELIER_TEST_DEVICE names, and its comparison with what peft and transformers computed (tests/golden/README.md): logits, gradients
 * and ten AdamW steps of everything that is trained, merged weights. */
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family_adapter.h"
#include "checkpoints/files.h"
#include "checkpoints/safetensors/safetensors.h"
#include "checkpoints/weights.h"
#include "data/corpus/json.h"
#include "tests/check.h"
#include "train/model/model.h"
#include "train/model/optimizer.h"
#include "train/model/shard.h"
#include "train/model/state.h"

enum { ROWS = 2, ROW_TOKENS = 24, NUM_TOKENS = ROWS * ROW_TOKENS };

/* An adapter on its base, ready to be trained. */
struct fixture {
    char *folder, *base;
    struct st_files *expected, *inputs;
    json_t *numbers;
    struct weights *weights;
    struct model_config config;
    struct device dev;
    struct params params;
    struct model model;
    int32_t tokens[NUM_TOKENS], targets[NUM_TOKENS], row_start[NUM_TOKENS], positions[NUM_TOKENS],
        places[NUM_TOKENS];
    float target_weights[NUM_TOKENS];
    double num_targets;
    struct batch batch;
};

static inline float *read_tensor(const struct st_files *files, const char *name, int64_t *count) {
    struct err err = {""};
    int64_t index = st_find(files, name);
    if (index < 0)
        fail_msg("there is no tensor %s", name);
    *count = st_entry(files, index).count;
    float *values = xmalloc((size_t)*count * sizeof *values);
    if (st_read_f32(files, index, 0, *count, values, &err))
        fail_msg("%s", err.text);
    return values;
}

static inline void read_ints(const struct fixture *f, const char *name, int32_t *out) {
    int64_t count;
    float *values = read_tensor(f->inputs, name, &count);
    assert_int_equal(count, NUM_TOKENS);
    for (int i = 0; i < NUM_TOKENS; i++)
        out[i] = (int32_t)values[i];
    free(values);
}

static inline void make_batch(struct fixture *f) {
    int32_t documents[NUM_TOKENS];
    read_ints(f, "tokens", f->tokens);
    read_ints(f, "targets", f->targets);
    read_ints(f, "positions", f->positions);
    read_ints(f, "documents", documents);
    f->num_targets = 0;
    for (int i = 0; i < NUM_TOKENS; i++) {
        bool first = i % ROW_TOKENS == 0 || documents[i] != documents[i - 1];
        f->row_start[i] = first ? i : f->row_start[i - 1];
        f->places[i] = i;
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
                              .places = f->places,
                              .weights = f->target_weights};
}

static inline struct st_files *open_expected(const char *folder) {
    struct err err = {""};
    char *path = xasprintf("%s/expected.safetensors", folder);
    struct st_files *files = st_open(path, &err);
    if (!files)
        fail_msg("%s", err.text);
    free(path);
    return files;
}

/* open_files - the adapter's folder with what is expected, on its base, which is called as the adapter is up to a hyphen. */
static inline void open_files(struct fixture *f, const char *name) {
    struct err err = {""};
    memset(f, 0, sizeof *f);
    f->folder = xasprintf("tests/golden/lora/%s", name);
    f->base = xasprintf("tests/golden/models/%.*s", (int)strcspn(name, "-"), name);
    char *json = xasprintf("%s/expected.json", f->folder);
    f->expected = open_expected(f->folder);
    f->inputs = open_expected(f->base);
    f->numbers = json_load_path(json, 1 << 20, &err);
    f->weights = f->numbers ? weights_open_adapter(f->folder, NULL, &err) : NULL;
    if (!f->weights)
        fail_msg("%s", err.text);
    free(json);
    f->config = *weights_config(f->weights);
    f->config.adapter.dropout = json_number_value(json_object_get(f->numbers, "dropout"));
}

static inline void fixture_open(struct fixture *f, const char *name, enum recompute recompute) {
    struct err err = {""};
    open_files(f, name);
    struct params_setup params_setup = {.model = &f->config,
                                        .compute = DTYPE_F32,
                                        .optimizer = &optimizer_adamw,
                                        .trains = true,
                                        .num_ranks = 1};
    struct model_setup model_setup = {.config = &f->config,
                                      .max_tokens = NUM_TOKENS,
                                      .max_positions = ROW_TOKENS,
                                      .compute = DTYPE_F32,
                                      .recompute = recompute,
                                      .seed =
                                          (uint64_t)json_integer_value(json_object_get(f->numbers, "seed")),
                                      .trains = true};
    test_device_open(&f->dev, 1);
    params_create(&f->params, &f->dev, &params_setup);
    model_create(&f->model, &f->dev, &f->params, &model_setup);
    if (state_load_weights(&f->params, f->weights, value_type_of(DTYPE_F32), &err))
        fail_msg("%s", err.text);
    params_refresh(&f->params, NULL);
    make_batch(f);
}

static inline void close_files(struct fixture *f) {
    weights_close(f->weights);
    st_close(f->expected);
    st_close(f->inputs);
    json_decref(f->numbers);
    free(f->folder);
    free(f->base);
}

static inline void fixture_close(struct fixture *f) {
    model_free(&f->model);
    params_free(&f->params);
    device_close(&f->dev);
    close_files(f);
}

static inline double number(const struct fixture *f, const char *key) {
    double value;
    struct err err = {""};
    if (json_get_double(f->numbers, key, &value, &err))
        fail_msg("%s", err.text);
    return value;
}

static inline double listed(const struct fixture *f, const char *key, size_t index) {
    json_t *list;
    struct err err = {""};
    assert_int_equal(json_get_array(f->numbers, key, &list, &err), 0);
    return json_number_value(json_array_get(list, index));
}

static inline double gradients(struct fixture *f) {
    params_grad_reset(&f->params);
    double loss = model_train(&f->model, NULL, &f->batch, (float)(1.0 / f->num_targets));
    params_grad_finish(&f->params, NULL);
    return loss / f->num_targets;
}

static inline double logits_error(struct fixture *f) {
    int64_t count;
    float *want = read_tensor(f->expected, "logits", &count), *got = xmalloc((size_t)count * sizeof *got);
    assert_int_equal(count, NUM_TOKENS * f->config.vocab_size);
    model_logits(&f->model, NULL, &f->batch, got);
    double error = relative_error(got, want, count);
    free(got);
    free(want);
    return error;
}

/* scale_b - every B multiplied. */
static inline void scale_b(struct fixture *f, float factor) {
    for (struct segment *s = NULL; (s = params_next_trained(&f->params, s, &adamw_pair_b_rule));) {
        struct tensor b = tensor_1d(s->master, DTYPE_F32, s->count);
        float *values = xmalloc(tensor_bytes(b));
        device_download(&f->dev, values, b);
        for (int64_t i = 0; i < s->count; i++)
            values[i] *= factor;
        device_upload(&f->dev, b, values);
        free(values);
    }
    params_refresh(&f->params, NULL);
}

/* worst_pair - of a tensor of every half, grad or final, against the golden file. */
static inline double worst_pair(struct fixture *f, const char *prefix, bool of_weights, int *num_compared) {
    double worst = 0;
    *num_compared = 0;
    for (struct segment *s = NULL; (s = params_next_trained(&f->params, s, NULL));)
        for (int i = 0; i < s->num_tensors; i++) {
            char name[PARAM_NAME_ROOM], full[PARAM_NAME_ROOM + 16];
            const struct unit_tensor *t = &s->tensors[i];
            int64_t count;
            snprintf(full, sizeof full, "%s%s", prefix, param_saved_name(&f->config, t->param, name));
            float *want = read_tensor(f->expected, full, &count);
            assert_int_equal(count, t->count);
            const float *all = of_weights ? s->master : params_own_grad(&f->params, s);
            float *got = xmalloc((size_t)count * sizeof *got);
            device_download(&f->dev, got, tensor_1d((float *)(uintptr_t)(all + t->offset), DTYPE_F32, count));
            worst = fmax(worst, relative_error(got, want, count));
            (*num_compared)++;
            free(got);
            free(want);
        }
    return worst;
}

/* ten_steps - the run of the golden file; returns the largest relative error of losses and gradient norms. */
static inline double ten_steps(struct fixture *f, double ratio_factor) {
    struct config config = {.adapter.b_rate_ratio = number(f, "b_learning_rate_ratio") * ratio_factor};
    double worst = 0;
    config.optimizer.beta1 = number(f, "adamw/beta1");
    config.optimizer.beta2 = number(f, "adamw/beta2");
    config.optimizer.eps = number(f, "adamw/eps");
    config.optimizer.weight_decay = number(f, "adamw/weight_decay");
    config.train.grad_clip = number(f, "adamw/max_grad_norm");
    for (int step = 1; step <= 10; step++) {
        f->batch.step = step - 1;
        double loss = gradients(f), norm = optimizer_grad_norm(&f->params, NULL);
        double want_loss = listed(f, "run/loss", (size_t)step - 1);
        double want_norm = listed(f, "run/grad_norm", (size_t)step - 1);
        worst = fmax(worst, fmax(fabs(loss - want_loss) / want_loss, fabs(norm - want_norm) / want_norm));
        struct optimizer_step update = {step, number(f, "adamw/lr"), norm, 1.0};
        optimizer_update(&f->params, NULL, &config, &update);
        params_publish(&f->params, NULL);
    }
    return worst;
}

/* check_merged_tensor - one of the golden file, read whole and in odd pieces; differs: from the base's. */
static inline void check_merged_tensor(const struct fixture *f, const struct weights *plain,
                                       struct param param, bool differs) {
    struct err err = {""};
    char name[PARAM_NAME_ROOM], full[PARAM_NAME_ROOM + 16];
    int64_t count;
    snprintf(full, sizeof full, "merged.%s", param_name(&f->config, param, name));
    float *want = read_tensor(f->expected, full, &count), *got = xmalloc((size_t)count * sizeof *got);
    for (int64_t first = 0, now; first < count; first += now) {
        now = count - first < 17 ? count - first : 17;
        assert_int_equal(weights_read(f->weights, param, first, now, got + first, &err), 0);
    }
    assert_true(relative_error(got, want, count) < 1e-6);
    assert_int_equal(weights_read(plain, param, 0, count, got, &err), 0); /* the control */
    assert_true(differs == (relative_error(got, want, count) > 1e-3));
    free(got);
    free(want);
}

/* check_merged - matrices of the first layer, and one tensor that is trained whole where there are some. */
static inline void check_merged(const struct fixture *f, const struct weights *plain) {
    static const enum tensor_role roles[] = {ROLE_QUERY, ROLE_KEY, ROLE_QKV, ROLE_DOWN};
    unsigned whole = f->config.adapter.whole;
    bool has_down = family_layer_plan(&f->config, 0).ffn != FFN_EXPERTS;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (param_spec(&f->config, roles[i]) && (has_down || roles[i] != ROLE_DOWN))
            check_merged_tensor(f, plain, param_at(roles[i], 0), adapter_has(&f->config, roles[i], 0));
    for (int target = ADAPTER_GATE; target <= ADAPTER_DOWN && adapter_has_experts(&f->config); target++)
        if (f->config.adapter.ranks[target] > 0)
            check_merged_tensor(
                f, plain, (struct param){adapter_target_role(&f->config, (enum adapter_target)target), 0, 1},
                true);
    if (whole)
        check_merged_tensor(f, plain, param_at(whole & ADAPTER_NORMS ? ROLE_FINAL_NORM : ROLE_EMBEDDING, 0),
                            true);
}

/* --- what is checked of every variant: against the golden file, each with a control --- */

/* check_logits - with B a little off, and without it, they are others. */
static inline void check_logits(const char *variant) {
    struct fixture f;
    fixture_open(&f, variant, RECOMPUTE_NONE);
    double error = logits_error(&f);
    print_message("%-16s logits: relative error %.2e\n", variant, error);
    assert_true(error < 1e-5);
    scale_b(&f, 1.001f);
    assert_true(logits_error(&f) > 1e-5);
    scale_b(&f, 0);
    assert_true(logits_error(&f) > 1e-3);
    fixture_close(&f);
}

/* num_trained - tensors that the adapter trains. */
static inline int num_trained(const struct model_config *config) {
    struct param at = PARAM_START;
    int count = 0;
    while (family_next_param(config, &at))
        count += param_is_trained(config, at.role);
    return count;
}

static inline void check_gradients(const char *variant, enum recompute recompute) {
    struct fixture f;
    int num_compared;
    fixture_open(&f, variant, recompute);
    double loss = gradients(&f), want = listed(&f, "run/loss", 0);
    double error = worst_pair(&f, "grad.", false, &num_compared);
    print_message("%-16s %d gradients: relative error %.2e\n", variant, num_compared, error);
    assert_true(fabs(loss - want) < 1e-5 * want);
    assert_true(error < 1e-5);
    assert_int_equal(num_compared, num_trained(&f.config));
    scale_b(&f, 1.001f);
    gradients(&f);
    assert_true(worst_pair(&f, "grad.", false, &num_compared) > 1e-5);
    fixture_close(&f);
}

/* check_ten_steps - a rate of B that is 1 % off gives others. */
static inline void check_ten_steps(const char *variant) {
    struct fixture f;
    int num_compared;
    fixture_open(&f, variant, RECOMPUTE_NONE);
    double worst = ten_steps(&f, 1), error = worst_pair(&f, "final.", true, &num_compared);
    print_message("%-16s ten AdamW steps: losses and norms %.2e, final weights %.2e\n", variant, worst,
                  error);
    assert_true(worst < 1e-5);
    assert_true(error < 1e-5);
    fixture_close(&f);
    fixture_open(&f, variant, RECOMPUTE_NONE);
    assert_true(ten_steps(&f, 1.01) > 1e-5);
    fixture_close(&f);
}

static inline void check_merged_weights(const char *variant) {
    struct err err = {""};
    struct fixture f;
    open_files(&f, variant);
    struct weights *plain = weights_open(f.base, &err);
    assert_non_null(plain);
    weights_merge(f.weights);
    assert_false(model_has_adapter(weights_config(f.weights)));
    check_merged(&f, plain);
    weights_close(plain);
    close_files(&f);
}
