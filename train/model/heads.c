/* heads.c - what happens to queries, keys and values between the projection and attention.  QK-norm and the rotation after it
 * are one operation, which keeps the heads as they were projected; the attention's backward turns the gradient back. */
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

/* norms_of - QK-norm of the layer.  rstd_of - room for its statistics; what layers share may have more. */
static struct qk_norms norms_of(const struct model *model, const struct layer_weights *w) {
    const struct model_config *c = model->setup.config;
    return (struct qk_norms){norm_args(&w->query_norm), norm_args(&w->key_norm), c->num_heads,
                             c->num_kv_heads};
}

static struct tensor rstd_of(const struct model *model, const struct layer_acts *acts, int layer) {
    struct tensor rstd = acts->head_rstd;
    if (model->layers[layer].plan.qk_norm == QK_NORM_ROWS)
        rstd.dims[1] = 2; /* one of all queries, one of all keys */
    return rstd;
}

void heads_forward(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                   int layer) {
    struct rotation rotation;
    bool rotates = rotation_of(model, layer, &rotation);
    if (model->layers[layer].plan.qk_norm) {
        struct qk_norms norms = norms_of(model, w);
        op_qk_norm_forward(model->dev, acts->qkv, acts->raw_heads, rstd_of(model, acts, layer), &norms,
                           rotates ? &rotation : NULL);
    } else if (rotates) {
        op_rope_forward(model->dev, acts->qkv, &rotation);
    }
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
        struct qk_norms norms = norms_of(model, w);
        struct qk_norm_grad dw = {w->query_norm.w.grad, w->key_norm.w.grad};
        op_qk_norm_backward(model->dev, model_rows(model, model->dqkv), dw, acts->raw_heads,
                            rstd_of(model, acts, layer), &norms);
    }
}
