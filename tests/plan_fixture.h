/* plan_fixture.h - a model of the patchwork family on the device that ATELIER_TEST_DEVICE names, beside the same model in
 * plain f64 (plan_reference.h), and the comparison of gradients with central differences of the latter. */
#pragma once

#include "kernels/half.h"
#include "kernels/rng.h"
#include "tests/check.h"
#include "tests/patchwork.h"
#include "tests/plan_reference.h"
#include "train/model/model.h"
#include "train/model/optimizer.h"
#include "train/model/shard.h"

enum { PLAN_ROW_TOKENS = 14, PLAN_TOKENS = 2 * PLAN_ROW_TOKENS };

struct plan_fixture {
    struct model_config config;
    struct device dev;
    struct params params;
    struct model model;
    int32_t tokens[PLAN_TOKENS], targets[PLAN_TOKENS], row_start[PLAN_TOKENS], positions[PLAN_TOKENS];
    float target_weights[PLAN_TOKENS];
    struct batch batch;
    struct reference reference;
};

/* plan_batch - documents of 9, 5 and 14 tokens; two rows without weight. */
static inline void plan_batch(struct plan_fixture *f) {
    for (int i = 0; i < PLAN_TOKENS; i++) {
        int first = i < 9 ? 0 : i < PLAN_ROW_TOKENS ? 9 : PLAN_ROW_TOKENS;
        f->tokens[i] = (int32_t)rng_below(3, rng_stream(RNG_TEST, 1), (uint64_t)i, 61);
        f->targets[i] = (int32_t)rng_below(3, rng_stream(RNG_TEST, 2), (uint64_t)i, 61);
        f->row_start[i] = first;
        f->positions[i] = i - first;
        f->target_weights[i] = i == 4 || i == 20 ? 0.0f : 0.5f + (float)(i % 3) * 0.25f;
    }
    f->batch = (struct batch){.num_tokens = PLAN_TOKENS,
                              .tokens = f->tokens,
                              .targets = f->targets,
                              .row_start = f->row_start,
                              .positions = f->positions,
                              .weights = f->target_weights};
}

/* plan_middle - what the values of a vector lie about: norms multiply by about one, all else is about what it starts with. */
static inline double plan_middle(const struct plan_fixture *f, struct param param,
                                 const struct param_spec *spec) {
    struct norm_plan norm = spec->place == PLACE_LAYER ? family_layer_plan(&f->config, param.layer).norm
                                                       : family_final_norm(&f->config);
    return spec->init == INIT_ONE ? 1 - (double)norm.offset : param_first_value(spec->init);
}

/* plan_upload - values, rounded to the tensor's type. */
static inline void plan_upload(struct device *dev, struct tensor to, const float *values) {
    int64_t count = tensor_count(to);
    uint16_t *rounded = xcalloc((size_t)count, sizeof *rounded);
    for (int64_t i = 0; i < count; i++)
        rounded[i] = to.dtype == DTYPE_BF16 ? bf16_from_f32(values[i]) : f16_from_f32(values[i]);
    device_upload(dev, to, to.dtype == DTYPE_F32 ? (const void *)values : rounded);
    free(rounded);
}

/* plan_weight - random values of one parameter, in the model and in the reference. */
static inline void plan_weight(struct plan_fixture *f, struct param param) {
    const struct param_spec *spec = param_spec(&f->config, param.role);
    int unit = spec->place == PLACE_LAYER   ? 1 + param.layer
               : spec->place == PLACE_INPUT ? 0
                                            : params_head_unit(&f->params);
    struct tensor value = params_weight(&f->params, unit, param.role).value;
    int64_t count = tensor_count(value);
    double *exact = xcalloc((size_t)count, sizeof *exact);
    float *values = xcalloc((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++) {
        double noise =
            rng_normal(9, rng_stream(RNG_TEST, (uint64_t)(10 + param_slot(&f->config, param))), (uint64_t)i);
        values[i] = (float)(value.ndim < 2 ? plan_middle(f, param, spec) + 0.3 * noise : 0.25 * noise);
        exact[i] = (double)values[i];
    }
    plan_upload(&f->dev, value, values);
    f->reference.weights[param.role][param.layer] = exact;
    free(values);
}

/* plan_open_setup - compute type, objective, recomputation and teacher as `more` has them. */
static inline void plan_open_setup(struct plan_fixture *f, const struct model_config *config,
                                   const struct model_setup *more) {
    *f = (struct plan_fixture){.config = *config};
    struct params_setup params_setup = {.model = &f->config,
                                        .compute = more->compute,
                                        .moments = DTYPE_F32,
                                        .optimizer = &optimizer_adamw,
                                        .trains = true,
                                        .num_ranks = 1};
    struct model_setup model_setup = *more;
    model_setup.config = &f->config;
    model_setup.max_tokens = model_setup.max_positions = PLAN_TOKENS;
    model_setup.head_rows = 11; /* chunks that do not divide the batch */
    model_setup.trains = true;
    test_device_open(&f->dev, 1);
    params_create(&f->params, &f->dev, &params_setup);
    model_create(&f->model, &f->dev, &f->params, &model_setup);
    plan_batch(f);
    f->reference = (struct reference){.config = f->config,
                                      .num_tokens = PLAN_TOKENS,
                                      .tokens = f->tokens,
                                      .targets = f->targets,
                                      .row_start = f->row_start,
                                      .positions = f->positions,
                                      .target_weights = f->target_weights};
    for (int layer = 0; layer < f->config.num_layers; layer++)
        f->reference.plans[layer] = family_layer_plan(&f->config, layer);
    f->reference.final_norm = family_final_norm(&f->config);
    f->reference.embedding_scale = (double)family_embedding_scale(&f->config);
    struct param at = PARAM_START;
    while (family_next_param(&f->config, &at))
        plan_weight(f, at);
}

static inline void plan_open_config(struct plan_fixture *f, const struct model_config *config,
                                    enum recompute recompute, const struct objective_use *objective) {
    struct model_setup more = {.recompute = recompute};
    if (objective)
        more.objective = *objective;
    plan_open_setup(f, config, &more);
}

static inline void plan_open(struct plan_fixture *f, bool tied, enum recompute recompute,
                             const struct objective_use *objective) {
    struct model_config config = patchwork_config(tied);
    plan_open_config(f, &config, recompute, objective);
}

static inline void plan_close(struct plan_fixture *f) {
    for (int role = 0; role < ROLE_COUNT; role++)
        for (int layer = 0; layer < REFERENCE_LAYERS; layer++)
            free(f->reference.weights[role][layer]);
    model_free(&f->model);
    params_free(&f->params);
    device_close(&f->dev);
}

/* plan_gradients - of the batch as it is, not a mean; returns the loss. */
static inline double plan_gradients(struct plan_fixture *f) {
    params_grad_reset(&f->params);
    double loss = model_train(&f->model, NULL, &f->batch, 1.0f);
    params_grad_finish(&f->params, NULL);
    return loss;
}

/* plan_gradient_of - of one tensor, malloc'ed. */
static inline float *plan_gradient_of(struct plan_fixture *f, const struct segment *segment,
                                      const struct unit_tensor *tensor) {
    float *values = xcalloc((size_t)tensor->count, sizeof *values);
    device_download(
        &f->dev, values,
        tensor_1d(params_own_grad(&f->params, segment) + tensor->offset, DTYPE_F32, tensor->count));
    return values;
}

typedef double plan_loss(const struct reference *, void *user);

/* plan_slope - central difference of the reference's loss by one element. */
static inline double plan_slope(struct reference *r, double *element, plan_loss *loss, void *user) {
    const double step = 1e-5, kept = *element;
    *element = kept + step;
    double above = loss(r, user);
    *element = kept - step;
    double below = loss(r, user);
    *element = kept;
    return (above - below) / (2 * step);
}

/* plan_worst - of every trained tensor the largest gradient and two others, against central differences; the largest error
 * relative to the tensor's largest gradient.  A tensor of one value is a sum over all tokens and elements, of which most may
 * cancel: it is measured by the tensor before it as well, a vector of its layer.  factor: what the gradients are multiplied by first (a control). */
static inline double plan_worst(struct plan_fixture *f, plan_loss *loss, void *user, double factor) {
    double worst = 0, size = 0;
    for (struct segment *s = NULL; (s = params_next_trained(&f->params, s, NULL));)
        for (int t = 0; t < s->num_tensors; t++) {
            struct param param = s->tensors[t].param;
            float *gradient = plan_gradient_of(f, s, &s->tensors[t]);
            int64_t count = s->tensors[t].count, places[3] = {0, count / 2, count - 1};
            for (int64_t i = 0; i < count; i++)
                if (fabsf(gradient[i]) > fabsf(gradient[places[0]]))
                    places[0] = i;
            double largest = fabs((double)gradient[places[0]]) + 1e-30;
            size = count > 1 ? largest : fmax(size, largest);
            for (int p = 0; p < 3; p++) {
                double *element = &f->reference.weights[param.role][param.layer][places[p]];
                double want = plan_slope(&f->reference, element, loss, user);
                worst = fmax(worst, fabs(factor * (double)gradient[places[p]] - want) / size);
            }
            free(gradient);
        }
    return worst;
}
