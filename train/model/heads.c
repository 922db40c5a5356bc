/* heads.c - what happens to queries, keys and values between the projection and attention.  QK-norm and the rotation after it
 * are one operation, which keeps the heads as they were projected; the attention's backward turns the gradient back. */
#include "train/model/heads.h"

#include "train/model/context.h"
#include "train/model/halo_attend.h"
#include "train/model/joined.h"

/* halo_of - what neighbours exchange for a layer; NULL: rows for heads, or nothing. */
static const struct halo *halo_of(const struct model *model, int layer) {
    const struct halo *halo = &model->flight.masks[model->layers[layer].mask].halo;
    return halo->is_on ? halo : NULL;
}

static struct attention_args attention_args(const struct model *model, int layer) {
    const struct model_config *c = model->setup.config;
    const struct layer_setup *own = &model->layers[layer];
    struct layer_part part = joined_part(&model->setup);
    int at_once = halo_of(model, layer) ? part.num_kv_heads : model->flight.num_context; /* one of so many */
    return (struct attention_args){.num_heads = part.num_heads / at_once,
                                   .num_kv_heads = part.num_kv_heads / at_once,
                                   .head_dim = c->head_dim,
                                   .scale = own->plan.scale,
                                   .softcap = own->plan.softcap,
                                   .num_pairs = model->flight.masks[own->mask].num_pairs};
}

/* mask_of - the layer's, of the micro-batch. */
static struct attention_mask mask_of(const struct model *model, int layer) {
    const struct mask *mask = &model->flight.masks[model->layers[layer].mask];
    struct attention_mask rows = {.first_key = flight_whole_rows(&model->flight, mask->first_key)};
    if (mask->halo.is_on) {
        struct halo_run run = halo_run(&mask->halo, model->flight.context_rank);
        rows.first_key = tensor_rows(mask->first_key, 0, run.end - run.first);
        rows.run_first = run.first;
        rows.run_of = model->flight.whole_tokens;
    }
    if (mask->block)
        rows.last_key = flight_whole_rows(&model->flight, mask->last_key);
    rows.plan = mask->plan;
    return rows;
}

void heads_plan(struct model *model) {
    for (int m = 0; m < model->flight.num_masks; m++) {
        int layer = 0;
        while (model->layers[layer].mask != m)
            layer++;
        struct attention_args attention = attention_args(model, layer);
        struct attention_mask mask = mask_of(model, layer);
        op_attention_plan(model->dev, &mask, &attention);
        model->flight.masks[m].plan = mask.plan;
    }
}

/* rotation_of - the layer's, at the positions of the micro-batch; false: it has none. */
static bool rotation_of(const struct model *model, int layer, struct rotation *rotation) {
    int number = model->layers[layer].rotation;
    if (number < 0)
        return false;
    *rotation = model->rotations[number];
    rotation->positions = joined_rows(model, model->flight.positions);
    return true;
}

/* heads_rotation - the same for what attention works on: all rows of this rank's heads. */
static bool heads_rotation(const struct model *model, int layer, struct rotation *rotation) {
    bool rotates = rotation_of(model, layer, rotation);
    if (rotates && context_is_shared(model)) {
        rotation->positions = flight_whole_rows(&model->flight, model->flight.whole_positions);
        rotation->num_rotated /= model->flight.num_context;
    }
    return rotates;
}

/* halo_rotation - for the run of rows that this rank computes, a key head with its queries. */
static bool halo_rotation(const struct model *model, int layer, struct rotation *rotation) {
    struct halo_run run = halo_run(halo_of(model, layer), model->flight.context_rank);
    bool rotates = rotation_of(model, layer, rotation);
    if (!rotates)
        return false;
    rotation->positions = tensor_rows(model->flight.whole_positions, run.first, run.end - run.first);
    rotation->num_rotated /= joined_part(&model->setup).num_kv_heads;
    return true;
}

/* halo_call - attention between neighbours; rotation: memory for it. */
static struct halo_call halo_call(const struct model *model, const struct layer_weights *w, int layer,
                                  struct rotation *rotation) {
    struct halo_call call = {
        .halo = halo_of(model, layer), .mask = mask_of(model, layer), .args = attention_args(model, layer)};
    if (model->layers[layer].plan.sinks) {
        call.sinks = w->sinks.value;
        call.dsinks = w->sinks.grad;
    }
    if (halo_rotation(model, layer, rotation))
        call.rotation = rotation;
    return call;
}

struct tensor heads_projected(const struct model *model, const struct layer_acts *acts, int layer) {
    if (halo_of(model, layer))
        return halo_own_qkv(model, acts);
    return context_is_shared(model) ? joined_rows(model, model->dqkv) : acts->qkv; /* dqkv is idle */
}

/* own_sinks - those of this rank's heads. */
static struct tensor own_sinks(const struct model *model, struct tensor sinks) {
    int64_t count = sinks.dims[0] / model->flight.num_context;
    return tensor_rows(sinks, model->flight.context_rank * count, count);
}

/* temper - what multiplies a row's queries by its temperature; of their gradient it does the same. */
static void temper(struct model *model, struct tensor qkv, int layer) {
    if (!model->layers[layer].tempers)
        return;
    struct rotation temperature = model->temperature;
    temperature.positions = joined_rows(model, model->flight.positions);
    op_rope_forward(model->dev, qkv, &temperature);
}

/* norms_of - QK-norm of the layer.  rstd_of - room for its statistics; what layers share may have more. */
static struct qk_norms norms_of(const struct model *model, const struct layer_weights *w) {
    struct layer_part part = joined_part(&model->setup);
    return (struct qk_norms){norm_args(&w->query_norm), norm_args(&w->key_norm), part.num_heads,
                             part.num_kv_heads};
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
        op_qk_norm_forward(model->dev, acts->projected, acts->raw_heads, rstd_of(model, acts, layer), &norms,
                           rotates ? &rotation : NULL);
    } else if (rotates) {
        op_rope_forward(model->dev, acts->projected, &rotation);
    }
    temper(model, acts->projected, layer);
}

/* sink - what attention computed becomes what it is with the layer's sinks. */
static void sink(struct model *model, const struct layer_weights *w, struct tensor attended,
                 struct tensor lse, int layer) {
    if (model->layers[layer].plan.sinks)
        op_sinks_forward(model->dev, attended, lse, own_sinks(model, w->sinks.value));
}

/* attended_of - what attention itself writes. */
static struct tensor attended_of(const struct model *model, const struct layer_acts *acts) {
    return context_is_shared(model) ? acts->attended_heads : acts->attended;
}

void heads_attend(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                  int layer) {
    struct attention_args attention = attention_args(model, layer);
    struct attention_mask mask = mask_of(model, layer);
    struct tensor attended = attended_of(model, acts);
    struct rotation rotation;
    if (halo_of(model, layer)) {
        struct halo_call call = halo_call(model, w, layer, &rotation);
        halo_attend(model, model->context, acts, &call);
        return;
    }
    if (context_is_shared(model))
        context_to_heads(model, model->context, acts->qkv, acts->projected);
    op_attention_forward(model->dev, attended, acts->lse, acts->qkv, &mask, &attention);
    sink(model, w, attended, acts->lse, layer);
    if (context_is_shared(model))
        context_to_rows(model, model->context, acts->attended, attended);
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
    sink(model, w, acts->attended, acts->lse, layer);
}

/* attend_backward - the gradient of what attention read, from that of what it wrote; both of this rank's heads. */
static void attend_backward(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                            int layer, struct tensor dqkv, struct tensor dattended) {
    struct attention_args attention = attention_args(model, layer);
    struct attention_mask mask = mask_of(model, layer);
    struct tensor attended = attended_of(model, acts);
    struct rotation rotation;
    bool rotates = heads_rotation(model, layer, &rotation);
    if (w->sinks.grad.data)
        op_sinks_backward(model->dev, own_sinks(model, w->sinks.grad), dattended, attended, acts->lse,
                          own_sinks(model, w->sinks.value));
    op_attention_backward(model->dev, dqkv, dattended, attended, acts->lse, acts->qkv, &mask, &attention,
                          rotates ? &rotation : NULL);
}

/* shared_backward - the same between ranks that share the rows: from dattended of this rank's rows to dqkv of them. */
static void shared_backward(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                            int layer) {
    struct tensor dqkv = acts->qkv, dattended = acts->attended_heads; /* their shapes */
    dqkv.data = model->dqkv.data;
    dattended.data = model->pieces[1].data;
    context_to_heads(model, model->context, dattended, joined_rows(model, model->dattended));
    attend_backward(model, w, acts, layer, dqkv, dattended);
    context_to_rows(model, model->context, joined_rows(model, model->dqkv), dqkv);
}

void heads_backward(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                    int layer) {
    struct tensor dqkv = joined_rows(model, model->dqkv);
    struct rotation rotation;
    if (halo_of(model, layer)) {
        struct halo_call call = halo_call(model, w, layer, &rotation);
        halo_attend_backward(model, model->context, acts, &call);
    } else if (context_is_shared(model))
        shared_backward(model, w, acts, layer);
    else
        attend_backward(model, w, acts, layer, dqkv, joined_rows(model, model->dattended));
    temper(model, dqkv, layer);
    if (model->layers[layer].plan.qk_norm) {
        struct qk_norms norms = norms_of(model, w);
        struct qk_norm_grad dw = {w->query_norm.w.grad, w->key_norm.w.grad};
        op_qk_norm_backward(model->dev, dqkv, dw, acts->raw_heads, rstd_of(model, acts, layer), &norms);
    }
}
