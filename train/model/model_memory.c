/* model_memory.c - the activations, taken from one arena that is measured before it is allocated. */
#include <stdlib.h>
#include <string.h>

#include "train/model/model.h"

/* Rows of logits computed at a time on a CPU: enough for an efficient product, small beside the weights. */
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

static void place_attention(struct model *model, struct layer_acts *a) {
    const struct model_config *c = model->setup.config;
    int64_t n = model->setup.max_tokens;
    enum dtype type = model->setup.compute;
    a->norm1 = take_2d(model, type, n, c->width);
    a->rstd1 = take_1d(model, DTYPE_F32, n);
    a->qkv = take_3d(model, type, n, c->num_heads + 2 * c->num_kv_heads, c->head_dim);
    a->attended = take_3d(model, type, n, c->num_heads, c->head_dim);
    a->lse = take_2d(model, DTYPE_F32, n, c->num_heads);
}

static void place_mlp(struct model *model, struct layer_acts *a) {
    const struct model_config *c = model->setup.config;
    int64_t n = model->setup.max_tokens;
    enum dtype type = model->setup.compute;
    a->norm2 = take_2d(model, type, n, c->width);
    a->rstd2 = take_1d(model, DTYPE_F32, n);
    a->gate_up = take_2d(model, type, n, 2 * c->ffn_width);
    a->hidden = take_2d(model, type, n, c->ffn_width);
}

/* place_layer - memory of its own for what is kept until the backward; the first layer's serves all others
 * where it is recomputed. */
static void place_layer(struct model *model, int layer) {
    struct layer_acts *a = &model->flight.acts[layer];
    enum recompute recompute = model->setup.recompute;
    *a = model->flight.acts[0];
    if (layer == 0 || recompute == RECOMPUTE_NONE || recompute == RECOMPUTE_MLP)
        place_attention(model, a);
    if (layer == 0 || recompute != RECOMPUTE_LAYER)
        a->middle = take_2d(model, model->setup.compute, model->setup.max_tokens, model->setup.config->width);
    if (layer == 0 || recompute == RECOMPUTE_NONE || recompute == RECOMPUTE_ATTENTION)
        place_mlp(model, a);
}

static void place_batch(struct model *model) {
    int64_t n = model->setup.max_tokens;
    model->flight.tokens = take_1d(model, DTYPE_I32, n);
    model->flight.targets = take_1d(model, DTYPE_I32, n);
    model->flight.mask.row_start = take_1d(model, DTYPE_I32, n);
    model->flight.positions = take_1d(model, DTYPE_I32, n);
    model->flight.weights = take_1d(model, DTYPE_F32, n);
}

static void place_head(struct model *model) {
    const struct model_config *c = model->setup.config;
    int64_t n = model->setup.max_tokens;
    int64_t rows = model->setup.head_rows ? model->setup.head_rows : HEAD_CHUNK_ROWS;
    int64_t chunk = n < rows ? n : rows;
    enum dtype type = model->setup.compute;
    model->flight.final = take_2d(model, type, n, c->width);
    model->flight.rstd = take_1d(model, DTYPE_F32, n);
    model->flight.losses = take_1d(model, DTYPE_F32, n);
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
    place_batch(model);
    for (int layer = 0; layer < c->num_layers; layer++)
        place_layer(model, layer);
    for (int i = 0; i <= c->num_layers; i++) /* without a backward two inputs take turns */
        model->flight.inputs[i] = i < 2 || model->setup.trains ? take_2d(model, model->setup.compute,
                                                                         model->setup.max_tokens, c->width)
                                                               : model->flight.inputs[i - 2];
    model->branch = take_2d(model, model->setup.compute, model->setup.max_tokens, c->width);
    model->rotation.cos = take_2d(model, DTYPE_F32, model->setup.max_positions, c->head_dim / 2);
    model->rotation.sin = take_2d(model, DTYPE_F32, model->setup.max_positions, c->head_dim / 2);
    model->rotation.layout = ROPE_HALVES; /* as all families that are read come */
    model->rotation.num_rotated = c->num_heads + c->num_kv_heads;
    place_head(model);
    if (model->setup.trains)
        place_gradients(model);
}

void model_plan(struct model *model, const struct model_setup *setup) {
    memset(model, 0, sizeof *model);
    model->setup = *setup;
    if (!setup->trains)
        model->setup.recompute = RECOMPUTE_LAYER; /* one layer's activations serve all */
    model->arena.name = "activations";
    model->flight.acts = xcalloc((size_t)setup->config->num_layers, sizeof *model->flight.acts);
    model->flight.inputs = xcalloc((size_t)setup->config->num_layers + 1, sizeof *model->flight.inputs);
    place_all(model);
}

struct device_limits model_limits(const struct model *model) {
    const struct model_config *c = model->setup.config;
    return (struct device_limits){.max_tokens = model->setup.max_tokens,
                                  .width = c->width,
                                  .ffn_width = c->ffn_width,
                                  .vocab_size = c->vocab_size,
                                  .chunk_rows = model->logits.dims[0],
                                  .num_heads = c->num_heads,
                                  .num_kv_heads = c->num_kv_heads,
                                  .head_dim = c->head_dim};
}

/* upload_rope_tables - computed on the host, by the family's own rounding. */
static void upload_rope_tables(struct model *model) {
    size_t table_bytes = tensor_bytes(model->rotation.cos);
    float *cos = xcalloc(1, 2 * table_bytes), *sin = cos + table_bytes / sizeof(float);
    model_rope_tables(model->setup.config, model->setup.max_positions, cos, sin);
    device_upload(model->dev, model->rotation.cos, cos);
    device_upload(model->dev, model->rotation.sin, sin);
    free(cos);
}

void model_create(struct model *model, struct device *dev, struct params *params,
                  const struct model_setup *setup) {
    model_plan(model, setup);
    model->dev = dev;
    model->params = params;
    model->flight.host_losses = xcalloc((size_t)setup->max_tokens, sizeof *model->flight.host_losses);
    arena_allocate(&model->arena, dev);
    place_all(model);
    upload_rope_tables(model);
    struct device_limits limits = model_limits(model);
    device_reserve(dev, &limits);
}

void model_free(struct model *model) {
    arena_free(&model->arena);
    free(model->flight.acts);
    free(model->flight.inputs);
    free(model->flight.host_losses);
}
