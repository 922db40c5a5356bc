/* model_memory.c - the activations, taken from one arena that is measured before it is allocated. */
#include <stdlib.h>
#include <string.h>

#include "train/model.h"

/* Rows of logits computed at a time: enough for an efficient product, small beside the weights. */
enum { HEAD_CHUNK_ROWS = 256 };

static struct tensor take_1d(struct model *model, enum dtype dtype, int64_t d0) {
    return tensor_1d(arena_take(&model->arena, d0, dtype), dtype, d0);
}

static struct tensor take_2d(struct model *model, enum dtype dtype, int64_t d0, int64_t d1) {
    return tensor_2d(arena_take(&model->arena, d0 * d1, dtype), dtype, d0, d1);
}

static struct tensor take_3d(struct model *model, enum dtype dtype, int64_t d0, int64_t d1, int64_t d2) {
    return tensor_3d(arena_take(&model->arena, d0 * d1 * d2, dtype), dtype, d0, d1, d2);
}

static void place_layer(struct model *model, struct layer_acts *a) {
    const struct model_config *c = model->setup.config;
    int64_t n = model->setup.max_tokens;
    enum dtype type = model->setup.compute;
    a->norm1 = take_2d(model, type, n, c->width);
    a->rrms1 = take_1d(model, DTYPE_F32, n);
    a->qkv = take_3d(model, type, n, c->num_heads + 2 * c->num_kv_heads, c->head_dim);
    a->attended = take_3d(model, type, n, c->num_heads, c->head_dim);
    a->lse = take_2d(model, DTYPE_F32, n, c->num_heads);
    a->middle = take_2d(model, type, n, c->width);
    a->norm2 = take_2d(model, type, n, c->width);
    a->rrms2 = take_1d(model, DTYPE_F32, n);
    a->gate_up = take_2d(model, type, n, 2 * c->ffn_width);
    a->hidden = take_2d(model, type, n, c->ffn_width);
}

/* A model that only evaluates, or recomputes, keeps the activations of one layer. */
static int kept_layers(const struct model *model) {
    return model->setup.recompute == RECOMPUTE_NONE ? model->setup.config->num_layers : 1;
}

static void place_head(struct model *model) {
    const struct model_config *c = model->setup.config;
    int64_t n = model->setup.max_tokens, chunk = n < HEAD_CHUNK_ROWS ? n : HEAD_CHUNK_ROWS;
    enum dtype type = model->setup.compute;
    model->final = take_2d(model, type, n, c->width);
    model->rrms = take_1d(model, DTYPE_F32, n);
    model->losses = take_1d(model, DTYPE_F32, n);
    model->logits = take_2d(model, DTYPE_F32, chunk, c->vocab_size);
    model->dlogits = model->logits;
    if (model->setup.trains && type != DTYPE_F32)
        model->dlogits = take_2d(model, type, chunk, c->vocab_size);
}

static void place_gradients(struct model *model) {
    const struct model_config *c = model->setup.config;
    int64_t n = model->setup.max_tokens;
    enum dtype type = model->setup.compute;
    model->dx = take_2d(model, type, n, c->width);
    model->dnorm = take_2d(model, type, n, c->width);
    model->dattended = take_3d(model, type, n, c->num_heads, c->head_dim);
    model->dqkv = take_3d(model, type, n, c->num_heads + 2 * c->num_kv_heads, c->head_dim);
    model->dhidden = take_2d(model, type, n, c->ffn_width);
}

static void place_all(struct model *model) {
    const struct model_config *c = model->setup.config;
    for (int i = 0; i < kept_layers(model); i++)
        place_layer(model, &model->acts[i]);
    for (int i = 0; i <= c->num_layers; i++) /* without a backward two inputs take turns */
        model->inputs[i] = i < 2 || model->setup.trains
                               ? take_2d(model, model->setup.compute, model->setup.max_tokens, c->width)
                               : model->inputs[i - 2];
    model->branch = take_2d(model, model->setup.compute, model->setup.max_tokens, c->width);
    model->cos = take_2d(model, DTYPE_F32, model->setup.max_positions, c->head_dim / 2);
    model->sin = take_2d(model, DTYPE_F32, model->setup.max_positions, c->head_dim / 2);
    place_head(model);
    if (model->setup.trains)
        place_gradients(model);
}

void model_plan(struct model *model, struct device *dev, struct params *params,
                const struct model_setup *setup) {
    memset(model, 0, sizeof *model);
    model->setup = *setup;
    if (!setup->trains)
        model->setup.recompute = RECOMPUTE_LAYER; /* one layer's activations serve all */
    model->dev = dev;
    model->params = params;
    model->arena.name = "activations";
    model->acts = xcalloc((size_t)kept_layers(model), sizeof *model->acts);
    model->inputs = xcalloc((size_t)setup->config->num_layers + 1, sizeof *model->inputs);
    place_all(model);
}

void model_create(struct model *model, struct device *dev, struct params *params,
                  const struct model_setup *setup) {
    model_plan(model, dev, params, setup);
    arena_allocate(&model->arena);
    place_all(model);
    model_rope_tables(setup->config, setup->max_positions, model->cos.data, model->sin.data);
}

void model_free(struct model *model) {
    arena_free(&model->arena);
    free(model->acts);
    free(model->inputs);
}
