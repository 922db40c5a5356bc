/* layer.c - see layer.h.  Memory is in model_memory.c. */
#include "train/model/layer.h"

#include <math.h>

struct layer_weights layer_weights(const struct params *params, int layer) {
    int unit = 1 + layer;
    return (struct layer_weights){
        .norm1 = params_weight(params, unit, ROLE_ATTENTION_NORM),
        .norm2 = params_weight(params, unit, ROLE_MLP_NORM),
        .qkv = {params_fused(params, unit, ROLE_QUERY, ROLE_VALUE)},
        .output = {params_weight(params, unit, ROLE_OUTPUT)},
        .gate_up = {params_fused(params, unit, ROLE_GATE, ROLE_UP)},
        .down = {params_weight(params, unit, ROLE_DOWN)},
    };
}

/* matrix - [N, H, D] seen as [N, H D]. */
static struct tensor matrix(struct tensor t) {
    return tensor_2d(t.data, t.dtype, t.dims[0], tensor_count(t) / t.dims[0]);
}

static struct attention_args attention_args(const struct model *model) {
    const struct model_config *c = model->setup.config;
    return (struct attention_args){.num_heads = c->num_heads,
                                   .num_kv_heads = c->num_kv_heads,
                                   .head_dim = c->head_dim,
                                   .scale = 1.0f / sqrtf((float)c->head_dim),
                                   .num_pairs = model->flight.mask.num_pairs};
}

/* rotation_of - of the micro-batch at hand. */
static struct rotation rotation_of(const struct model *model) {
    struct rotation rotation = model->rotation;
    rotation.positions = model_rows(model, model->flight.positions);
    return rotation;
}

/* project - queries, keys and values of the normalised rows, rotated. */
static void project(struct model *model, const struct layer_weights *w, struct layer_acts *a) {
    struct rotation rotation = rotation_of(model);
    linear_forward(model->dev, matrix(a->qkv), a->norm1, &w->qkv);
    op_rope_forward(model->dev, a->qkv, &rotation);
}

static void attend(struct model *model, const struct layer_weights *w, struct layer_acts *a) {
    struct attention_args attention = attention_args(model);
    project(model, w, a);
    op_attention_forward(model->dev, a->attended, a->lse, a->qkv,
                         model_rows(model, model->flight.mask.row_start), &attention);
}

/* middle_norm - middle = x + attended W, and its norm. */
static void middle_norm(struct model *model, const struct layer_weights *w, struct layer_acts *a,
                        struct tensor x) {
    struct tensor branch = model_rows(model, model->branch);
    linear_forward(model->dev, branch, matrix(a->attended), &w->output);
    op_add_rmsnorm_forward(model->dev, a->norm2, a->middle, a->rstd2, x, branch, w->norm2.value,
                           model->setup.config->norm_eps);
}

static void expand(struct model *model, const struct layer_weights *w, struct layer_acts *a) {
    linear_forward(model->dev, a->gate_up, a->norm2, &w->gate_up);
    op_glu_forward(model->dev, a->hidden, a->gate_up, GATE_SILU);
}

void layer_enter(struct model *model, struct tensor norm, struct tensor rstd, struct tensor weight,
                 int layer) {
    struct tensor x = model_rows(model, model->flight.inputs[layer]);
    float eps = model->setup.config->norm_eps;
    if (layer == 0) {
        op_rmsnorm_forward(model->dev, norm, rstd, x, weight, eps);
        return;
    }
    struct layer_acts before = flight_acts(&model->flight, layer - 1);
    op_add_rmsnorm_forward(model->dev, norm, x, rstd, before.middle, model_rows(model, model->branch), weight,
                           eps);
}

/* after_attention - output projection, residual, and the feed-forward half up to its branch. */
static void after_attention(struct model *model, const struct layer_weights *w, struct layer_acts *a,
                            int layer) {
    middle_norm(model, w, a, model_rows(model, model->flight.inputs[layer]));
    expand(model, w, a);
    linear_forward(model->dev, model_rows(model, model->branch), a->hidden, &w->down);
}

void layer_forward(struct model *model, const struct layer_weights *w, int layer) {
    struct layer_acts a = flight_acts(&model->flight, layer);
    layer_enter(model, a.norm1, a.rstd1, w->norm1.value, layer);
    attend(model, w, &a);
    after_attention(model, w, &a, layer);
}

void layer_decode(struct model *model, const struct layer_weights *w, int layer, const struct kv_cache *cache,
                  int64_t past) {
    struct layer_acts a = flight_acts(&model->flight, layer);
    struct attention_args attention = attention_args(model);
    layer_enter(model, a.norm1, a.rstd1, w->norm1.value, layer);
    project(model, w, &a);
    op_attention_cached(model->dev, a.attended, a.qkv, cache->k, cache->v, past, &attention);
    after_attention(model, w, &a, layer);
}

/* restore - before the backward of a layer: compute again what was not kept, to the same bits. */
static void restore(struct model *model, const struct layer_weights *w, struct layer_acts *a,
                    struct tensor x) {
    enum recompute recompute = model->setup.recompute;
    float eps = model->setup.config->norm_eps;
    if (recompute == RECOMPUTE_ATTENTION || recompute == RECOMPUTE_LAYER) {
        op_rmsnorm_forward(model->dev, a->norm1, a->rstd1, x, w->norm1.value, eps);
        attend(model, w, a);
    }
    if (recompute == RECOMPUTE_LAYER)
        middle_norm(model, w, a, x);
    else if (recompute == RECOMPUTE_MLP)
        op_rmsnorm_forward(model->dev, a->norm2, a->rstd2, a->middle, w->norm2.value, eps);
    if (recompute == RECOMPUTE_MLP || recompute == RECOMPUTE_LAYER)
        expand(model, w, a);
}

/* Each norm adds to dx what came through its branch; the residual path needs no operation at all. */
void layer_backward(struct model *model, const struct layer_weights *w, int layer) {
    struct device *dev = model->dev;
    struct layer_acts acts = flight_acts(&model->flight, layer), *a = &acts;
    struct tensor x = model_rows(model, model->flight.inputs[layer]);
    struct tensor dx = model_rows(model, model->dx), dnorm = model_rows(model, model->dnorm);
    struct tensor dhidden = model_rows(model, model->dhidden), dgate_up = a->gate_up;
    struct tensor dattended = model_rows(model, model->dattended), dqkv = model_rows(model, model->dqkv);
    struct attention_args attention = attention_args(model);
    struct rotation rotation = rotation_of(model);

    restore(model, w, a, x);
    linear_backward(dev, dhidden, dx, a->hidden, &w->down);
    op_glu_backward(dev, dgate_up, dhidden, a->gate_up, GATE_SILU);
    linear_backward(dev, dnorm, dgate_up, a->norm2, &w->gate_up);
    op_rmsnorm_backward(dev, dx, w->norm2.grad, dnorm, a->middle, w->norm2.value, a->rstd2);

    linear_backward(dev, matrix(dattended), dx, matrix(a->attended), &w->output);
    op_attention_backward(dev, dqkv, dattended, a->attended, a->lse, a->qkv,
                          model_rows(model, model->flight.mask.row_start), &attention, &rotation);
    linear_backward(dev, dnorm, matrix(dqkv), a->norm1, &w->qkv);
    op_rmsnorm_backward(dev, dx, w->norm1.grad, dnorm, x, w->norm1.value, a->rstd1);
}
