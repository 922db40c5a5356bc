/* heads.c - what happens to queries, keys and values between the projection and attention.
 *
 * QK-norm works on one kind of head at a time: its columns are taken out of the fused projection, normalised as rows of
 * width D, or of all the heads' widths together, and put back.  In both directions two buffers are at hand that are not in
 * use at that moment: `attended` before attention has written it and after its backward has read it, and `dattended` after
 * that backward. */
#include "train/model/heads.h"

struct tensor heads_matrix(struct tensor t) {
    return tensor_2d(t.data, t.dtype, t.dims[0], tensor_count(t) / t.dims[0]);
}

static struct attention_args attention_args(const struct model *model, int layer) {
    const struct model_config *c = model->setup.config;
    const struct layer_setup *own = &model->layers[layer];
    return (struct attention_args){.num_heads = c->num_heads,
                                   .num_kv_heads = c->num_kv_heads,
                                   .head_dim = c->head_dim,
                                   .scale = own->plan.scale,
                                   .softcap = own->plan.softcap,
                                   .num_pairs = model->flight.masks[own->mask].num_pairs};
}

/* mask_of - the layer's, of the micro-batch. */
static struct attention_mask mask_of(const struct model *model, int layer) {
    const struct mask *mask = &model->flight.masks[model->layers[layer].mask];
    struct attention_mask rows = {.first_key = model_rows(model, mask->first_key)};
    if (mask->block)
        rows.last_key = model_rows(model, mask->last_key);
    return rows;
}

/* rotation_of - the layer's, at the positions of the micro-batch; false: it has none. */
static bool rotation_of(const struct model *model, int layer, struct rotation *rotation) {
    int number = model->layers[layer].rotation;
    if (number < 0)
        return false;
    *rotation = model->rotations[number];
    rotation->positions = model_rows(model, model->flight.positions);
    return true;
}

/* temper - what multiplies a row's queries by its temperature; of their gradient it does the same. */
static void temper(struct model *model, struct tensor qkv, int layer) {
    if (!model->layers[layer].tempers)
        return;
    struct rotation temperature = model->temperature;
    temperature.positions = model_rows(model, model->flight.positions);
    op_rope_forward(model->dev, qkv, &temperature);
}

/* The heads of one kind inside the fused projection, and their norm. */
struct head_kind {
    int64_t first, num_heads;
    int64_t num_norms; /* of a row: one for each head, or one for all */
    const struct model_norm *norm;
    struct tensor raw, rstd; /* [N, heads D] before the norm, [N, heads] or [N, 1] */
};

static int64_t num_norms(const struct model *model, int layer, int num_heads) {
    return model->layers[layer].plan.qk_norm == QK_NORM_ROWS ? 1 : num_heads;
}

static struct head_kind query_kind(const struct model *model, const struct layer_weights *w,
                                   const struct layer_acts *acts, int layer) {
    int num_heads = model->setup.config->num_heads;
    return (struct head_kind){
        0, num_heads, num_norms(model, layer, num_heads), &w->query_norm, acts->queries, acts->query_rstd};
}

static struct head_kind key_kind(const struct model *model, const struct layer_weights *w,
                                 const struct layer_acts *acts, int layer) {
    const struct model_config *c = model->setup.config;
    return (struct head_kind){c->num_heads, c->num_kv_heads, num_norms(model, layer, c->num_kv_heads),
                              &w->key_norm, acts->keys,      acts->key_rstd};
}

/* rows_of - memory for the heads of a kind, seen as rows of what is normalised together: [N norms, heads D / norms]. */
static struct tensor rows_of(const struct head_kind *kind, struct tensor t, int head_dim) {
    return tensor_2d(t.data, t.dtype, kind->rstd.dims[0] * kind->num_norms,
                     kind->num_heads / kind->num_norms * head_dim);
}

/* stats_of - as many as there are rows; what layers share may have room for more. */
static struct norm_stats stats_of(const struct head_kind *kind) {
    int64_t count = kind->rstd.dims[0] * kind->num_norms;
    return (struct norm_stats){.rstd = tensor_1d(kind->rstd.data, DTYPE_F32, count)};
}

/* columns_of - the same memory as columns of the projection: [N, heads D]. */
static struct tensor columns_of(const struct head_kind *kind, struct tensor t, int head_dim) {
    return tensor_2d(t.data, t.dtype, kind->rstd.dims[0], kind->num_heads * head_dim);
}

static void norm_kind(struct model *model, const struct layer_acts *acts, const struct head_kind *kind) {
    int head_dim = model->setup.config->head_dim;
    struct column_args columns = {.first = kind->first * head_dim, .scale = 1, .write = OP_OVERWRITE};
    op_take_columns(model->dev, kind->raw, heads_matrix(acts->qkv), &columns);
    struct norm norm = norm_args(kind->norm);
    op_norm_forward(model->dev, rows_of(kind, acts->attended, head_dim), stats_of(kind),
                    rows_of(kind, kind->raw, head_dim), &norm);
    op_put_columns(model->dev, heads_matrix(acts->qkv), columns_of(kind, acts->attended, head_dim), &columns);
}

void heads_forward(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                   int layer) {
    struct rotation rotation;
    if (model->layers[layer].plan.qk_norm) {
        struct head_kind queries = query_kind(model, w, acts, layer), keys = key_kind(model, w, acts, layer);
        norm_kind(model, acts, &queries);
        norm_kind(model, acts, &keys);
    }
    if (rotation_of(model, layer, &rotation))
        op_rope_forward(model->dev, acts->qkv, &rotation);
    temper(model, acts->qkv, layer);
}

/* sink - what attention computed becomes what it is with the layer's sinks. */
static void sink(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                 int layer) {
    if (model->layers[layer].plan.sinks)
        op_sinks_forward(model->dev, acts->attended, acts->lse, w->sinks.value);
}

void heads_attend(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                  int layer) {
    struct attention_args attention = attention_args(model, layer);
    struct attention_mask mask = mask_of(model, layer);
    op_attention_forward(model->dev, acts->attended, acts->lse, acts->qkv, &mask, &attention);
    sink(model, w, acts, layer);
}

/* attend_windowed - row by row: each sees another part of the cache.  All rows were stored first. */
static void attend_windowed(struct model *model, const struct layer_acts *acts, int64_t window,
                            const struct kv_cache *cache, const struct attention_args *attention,
                            int64_t past) {
    for (int64_t i = 0; i < acts->qkv.dims[0]; i++) {
        int64_t end = past + i + 1, first = end > window ? end - window : 0;
        struct tensor k = tensor_rows(cache->k, first, end - first),
                      v = tensor_rows(cache->v, first, end - first);
        op_attention_cached(model->dev, tensor_rows(acts->attended, i, 1), tensor_rows(acts->lse, i, 1),
                            tensor_rows(acts->qkv, i, 1), k, v, end - first - 1, attention);
    }
}

void heads_attend_cached(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                         int layer, const struct kv_cache *cache, int64_t past) {
    struct attention_args attention = attention_args(model, layer);
    int64_t window = model->layers[layer].plan.window;
    CHECK(!model->layers[layer].plan.block,
          "layer %d sees tokens that come after a row: it cannot decode a text one token after the other",
          layer);
    if (window && past + acts->qkv.dims[0] > window) /* before, all see all of the text */
        attend_windowed(model, acts, window, cache, &attention, past);
    else
        op_attention_cached(model->dev, acts->attended, acts->lse, acts->qkv, cache->k, cache->v, past,
                            &attention);
    sink(model, w, acts, layer);
}

/* unnorm_kind - the gradient of the heads of a kind in dqkv, from after their norm to before it. */
static void unnorm_kind(struct model *model, const struct layer_acts *acts, const struct head_kind *kind) {
    int head_dim = model->setup.config->head_dim;
    struct tensor dqkv = heads_matrix(model_rows(model, model->dqkv));
    struct tensor after = rows_of(kind, model->dattended, head_dim),
                  before = rows_of(kind, acts->attended, head_dim);
    struct column_args columns = {.first = kind->first * head_dim, .scale = 1, .write = OP_OVERWRITE};
    op_take_columns(model->dev, columns_of(kind, after, head_dim), dqkv, &columns);
    device_zero(model->dev, before);
    norm_backward(model->dev, before, after, rows_of(kind, kind->raw, head_dim), stats_of(kind), kind->norm);
    op_put_columns(model->dev, dqkv, columns_of(kind, before, head_dim), &columns);
}

void heads_backward(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                    int layer) {
    struct attention_args attention = attention_args(model, layer);
    struct attention_mask mask = mask_of(model, layer);
    struct rotation rotation;
    bool rotates = rotation_of(model, layer, &rotation);
    if (w->sinks.grad.data)
        op_sinks_backward(model->dev, w->sinks.grad, model_rows(model, model->dattended), acts->attended,
                          acts->lse, w->sinks.value);
    op_attention_backward(model->dev, model_rows(model, model->dqkv), model_rows(model, model->dattended),
                          acts->attended, acts->lse, acts->qkv, &mask, &attention,
                          rotates ? &rotation : NULL);
    temper(model, model_rows(model, model->dqkv), layer);
    if (model->layers[layer].plan.qk_norm) {
        struct head_kind queries = query_kind(model, w, acts, layer), keys = key_kind(model, w, acts, layer);
        unnorm_kind(model, acts, &queries);
        unnorm_kind(model, acts, &keys);
    }
}
