/* layer.c - one decoder layer by its plan, forward and backward, one line per operation.  Memory is in model_memory.c,
 * what happens between projections and attention in heads.c. */
#include "train/model/layer.h"

#include "train/model/context.h"
#include "train/model/experts.h"
#include "train/model/fp8_layers.h"
#include "train/model/heads.h"
#include "train/model/joined.h"
#include "train/model/pairs.h"

static bool has_norm_before(const struct layer_plan *plan) {
    return plan->place != NORM_POST;
}

static bool has_norm_after(const struct layer_plan *plan) {
    return plan->place != NORM_PRE;
}

static bool has_xielu(const struct layer_plan *plan) {
    return plan->ffn == FFN_PLAIN && plan->act == ACT_XIELU;
}

/* norm_of - a norm of a layer, by its roles. */
static struct model_norm norm_of(const struct model *model, int layer, enum tensor_role weight,
                                 enum tensor_role bias) {
    const struct layer_plan *plan = &model->layers[layer].plan;
    struct model_norm norm = {.plan = plan->norm,
                              .eps = model->setup.config->norm_eps,
                              .w = params_weight(model->params, 1 + layer, weight)};
    if (plan->norm.bias)
        norm.bias = params_weight(model->params, 1 + layer, bias);
    return norm;
}

/* head_norm_of - of queries or keys: as the layer's, but with no mean taken away and no bias. */
static struct model_norm head_norm_of(const struct model *model, int layer, enum tensor_role weight) {
    struct norm_plan plan = model->layers[layer].plan.norm;
    plan.kind = plan.kind == NORM_LAYER ? NORM_RMS_ONCE : plan.kind;
    plan.bias = false;
    return (struct model_norm){.plan = plan,
                               .eps = model->setup.config->norm_eps,
                               .w = params_weight(model->params, 1 + layer, weight)};
}

/* product_weight - the matrices of the roles first to last, which are one product; `whole` in a family that has them so. */
static struct weight product_weight(const struct model *model, int unit, enum tensor_role whole,
                                    enum tensor_role first, enum tensor_role last) {
    if (param_spec(model->setup.config, whole))
        return params_weight(model->params, unit, whole);
    return params_fused(model->params, unit, first, last);
}

/* add_pairs - the adapter's, on the layer's four products. */
static void add_pairs(const struct model *model, struct layer_weights *w, int layer) {
    const struct model_config *config = model->setup.config;
    enum tensor_role first = model->layers[layer].plan.ffn == FFN_GATED ? ROLE_GATE : ROLE_UP;
    if (param_spec(config, ROLE_QKV))
        pairs_add(&w->qkv, model, layer, ROLE_QKV, ROLE_QKV);
    else
        pairs_add(&w->qkv, model, layer, ROLE_QUERY, ROLE_VALUE);
    pairs_add(&w->output, model, layer, ROLE_OUTPUT, ROLE_OUTPUT);
    if (model->layers[layer].plan.ffn == FFN_EXPERTS) /* nor have shared ones any */
        return;
    if (param_spec(config, ROLE_GATE_UP))
        pairs_add(&w->gate_up, model, layer, ROLE_GATE_UP, ROLE_GATE_UP);
    else
        pairs_add(&w->gate_up, model, layer, first, ROLE_UP);
    pairs_add(&w->down, model, layer, ROLE_DOWN, ROLE_DOWN);
}

/* add_ffn - the matrices of the feed-forward block. */
static void add_ffn(const struct model *model, struct layer_weights *w, int layer) {
    const struct layer_plan *plan = &model->layers[layer].plan;
    enum tensor_role first = plan->ffn == FFN_GATED ? ROLE_GATE : ROLE_UP;
    if (plan->ffn == FFN_EXPERTS) {
        w->experts = experts_weights(model, layer);
        if (plan->block_width == 0)
            return;
        w->gate_up.w = params_fused(model->params, 1 + layer, ROLE_SHARED_GATE, ROLE_SHARED_UP);
        w->down.w = params_weight(model->params, 1 + layer, ROLE_SHARED_DOWN);
        return;
    }
    w->gate_up.w = product_weight(model, 1 + layer, ROLE_GATE_UP, first, ROLE_UP);
    w->down.w = params_weight(model->params, 1 + layer, ROLE_DOWN);
}

struct layer_weights layer_weights(const struct model *model, int layer) {
    const struct params *params = model->params;
    const struct layer_plan *plan = &model->layers[layer].plan;
    int unit = 1 + layer;
    struct layer_weights w = {.qkv = {.w = product_weight(model, unit, ROLE_QKV, ROLE_QUERY, ROLE_VALUE)},
                              .output = {.w = params_weight(params, unit, ROLE_OUTPUT)}};
    add_ffn(model, &w, layer);
    if (model_has_adapter(model->setup.config))
        add_pairs(model, &w, layer);
    if (has_norm_before(plan)) {
        w.norm1 = norm_of(model, layer, ROLE_ATTENTION_NORM, ROLE_ATTENTION_NORM_BIAS);
        w.norm2 = norm_of(model, layer, ROLE_FFN_NORM, ROLE_FFN_NORM_BIAS);
    }
    if (has_norm_after(plan)) {
        w.post_norm1 = norm_of(model, layer, ROLE_ATTENTION_POST_NORM, ROLE_ATTENTION_POST_NORM_BIAS);
        w.post_norm2 = norm_of(model, layer, ROLE_FFN_POST_NORM, ROLE_FFN_POST_NORM_BIAS);
    }
    if (plan->qkv_bias)
        w.qkv.bias = params_fused(params, unit, ROLE_QUERY_BIAS, ROLE_VALUE_BIAS);
    if (plan->output_bias)
        w.output.bias = params_weight(params, unit, ROLE_OUTPUT_BIAS);
    if (plan->qk_norm) {
        w.query_norm = head_norm_of(model, layer, ROLE_QUERY_NORM);
        w.key_norm = head_norm_of(model, layer, ROLE_KEY_NORM);
    }
    if (plan->sinks)
        w.sinks = params_weight(params, unit, ROLE_SINK);
    if (has_xielu(plan)) {
        w.xielu.alpha_p = params_weight(params, unit, ROLE_XIELU_ALPHA_P);
        w.xielu.alpha_n = params_weight(params, unit, ROLE_XIELU_ALPHA_N);
        w.xielu.beta = params_weight(params, unit, ROLE_XIELU_BETA);
        w.xielu.eps = params_weight(params, unit, ROLE_XIELU_EPS);
    }
    fp8_layers_lend(model, &w, layer);
    return w;
}

/* One layer of one micro-batch at work. */
struct work {
    const struct layer_plan *plan;
    int layer;
    unsigned kept; /* of enum kept */
    const struct layer_weights *w;
    struct layer_acts a;
    struct tensor x;                    /* what enters it */
    struct tensor attention_in, ffn_in; /* what its branches read: a norm, or the residual stream itself */
    struct tensor branch;               /* model->branch */
};

static struct work work_on(const struct model *model, const struct layer_weights *w, int layer) {
    struct work work = {.plan = &model->layers[layer].plan,
                        .layer = layer,
                        .kept = model->layers[layer].kept,
                        .w = w,
                        .a = flight_acts(&model->flight, layer),
                        .x = model_rows(model, model->flight.inputs[layer]),
                        .branch = model_rows(model, model->branch)};
    int64_t width = joined_block(&model->setup, work.plan);
    work.a.gate_up.dims[1] =
        (work.plan->ffn == FFN_PLAIN ? 1 : 2) * width; /* what layers share may be wider */
    work.a.hidden.dims[1] = width;
    work.a.projected = heads_projected(model, &work.a, layer);
    work.attention_in = has_norm_before(work.plan) ? work.a.norm1 : work.x;
    work.ffn_in = has_norm_before(work.plan) ? work.a.norm2 : work.a.middle;
    return work;
}

static void attend(struct model *model, struct work *l, int layer) {
    linear_forward(model->dev, heads_matrix(l->a.projected),
                   joined_gather(model, model->along, l->attention_in), &l->w->qkv);
    heads_forward(model, l->w, &l->a, layer);
    heads_attend(model, l->w, &l->a, layer);
}

/* scale_branch - by the plan's factor.  The operation wants another tensor of that size; it counts zero times. */
static void scale_branch(struct model *model, const struct work *l) {
    if (l->plan->branch_scale != 1)
        op_axpby(model->dev, l->branch, l->x, 0, l->plan->branch_scale);
}

/* attention_branch - what attention adds to the residual stream, into branch. */
static void attention_branch(struct model *model, struct work *l) {
    bool after = has_norm_after(l->plan);
    struct norm norm = norm_args(&l->w->post_norm1);
    struct tensor out = after ? l->a.attention_out : l->branch;
    linear_forward(model->dev, joined_partial(model, out), heads_matrix(l->a.attended), &l->w->output);
    joined_sum(model, model->along, out);
    if (after)
        op_norm_forward(model->dev, l->branch, l->a.attention_stats, l->a.attention_out, &norm);
    scale_branch(model, l);
}

/* middle - x + the attention's branch, and its norm. */
static void middle(struct model *model, struct work *l) {
    struct norm norm = norm_args(&l->w->norm2);
    attention_branch(model, l);
    if (has_norm_before(l->plan))
        op_add_norm_forward(model->dev, l->a.norm2, l->a.middle, l->a.stats2, l->x, l->branch, &norm);
    else
        op_add(model->dev, l->a.middle, l->x, l->branch);
}

/* xielu_args - as the operations take them. */
static struct xielu xielu_args(const struct layer_weights *w) {
    return (struct xielu){w->xielu.alpha_p.value, w->xielu.alpha_n.value, w->xielu.beta.value,
                          w->xielu.eps.value};
}

/* block_hidden - of a gated or plain block, and of shared experts, which are a gated one: what the last matrix multiplies. */
static void block_hidden(struct model *model, struct work *l) {
    struct xielu xielu = xielu_args(l->w);
    linear_forward(model->dev, l->a.gate_up, joined_gather(model, model->along, l->ffn_in), &l->w->gate_up);
    if (l->plan->ffn != FFN_PLAIN)
        op_glu_forward(model->dev, l->a.hidden, l->a.gate_up, l->plan->gate,
                       linear_word_of(&l->w->down.x_word));
    else if (has_xielu(l->plan))
        op_xielu_forward(model->dev, l->a.hidden, l->a.gate_up, &xielu);
    else
        op_act_forward(model->dev, l->a.hidden, l->a.gate_up, l->plan->act);
}

/* ffn_hidden - what is left to be added up, or multiplied by the last matrix. */
static void ffn_hidden(struct model *model, struct work *l) {
    struct experts block = {&l->a.experts, &l->w->experts, l->plan, l->layer};
    if (l->plan->ffn == FFN_EXPERTS)
        experts_compute(model, &block, l->ffn_in);
    if (l->plan->block_width > 0)
        block_hidden(model, l);
}

/* experts_branch - what experts add up to, and beside them shared ones. */
static void experts_branch(struct model *model, struct work *l, struct tensor out) {
    experts_collect(model, out, &l->a.experts);
    if (l->plan->block_width == 0)
        return;
    struct tensor shared = model_rows(model, model->experts.shared);
    linear_forward(model->dev, shared, l->a.hidden, &l->w->down);
    op_add(model->dev, out, out, shared);
}

/* ffn_branch - what the feed-forward block adds to the residual stream, into branch. */
static void ffn_branch(struct model *model, struct work *l) {
    bool after = has_norm_after(l->plan);
    struct norm norm = norm_args(&l->w->post_norm2);
    struct tensor out = after ? l->a.ffn_out : l->branch;
    if (l->plan->ffn == FFN_EXPERTS) {
        experts_branch(model, l, out);
    } else {
        linear_forward(model->dev, joined_partial(model, out), l->a.hidden, &l->w->down);
        joined_sum(model, model->along, out);
    }
    if (after)
        op_norm_forward(model->dev, l->branch, l->a.ffn_stats, l->a.ffn_out, &norm);
    scale_branch(model, l);
}

void layer_enter(struct model *model, const struct norm_target *norm, int layer) {
    struct tensor x = model_rows(model, model->flight.inputs[layer]),
                  branch = model_rows(model, model->branch);
    if (layer == 0) {
        if (norm)
            op_norm_forward(model->dev, norm->y, norm->stats, x, &norm->norm);
        return;
    }
    struct tensor before = flight_acts(&model->flight, layer - 1).middle;
    if (norm)
        op_add_norm_forward(model->dev, norm->y, x, norm->stats, before, branch, &norm->norm);
    else
        op_add(model->dev, x, before, branch);
}

/* enter - into the layer at work. */
static void enter(struct model *model, struct work *l, int layer) {
    struct norm_target norm = {l->a.norm1, l->a.stats1, norm_args(&l->w->norm1)};
    layer_enter(model, has_norm_before(l->plan) ? &norm : NULL, layer);
}

void layer_forward(struct model *model, const struct layer_weights *w, int layer) {
    struct work l = work_on(model, w, layer);
    enter(model, &l, layer);
    attend(model, &l, layer);
    middle(model, &l);
    ffn_hidden(model, &l);
    if (l.plan->ffn == FFN_EXPERTS)
        router_count(model, layer, &l.a.experts);
    ffn_branch(model, &l);
}

void layer_decode(struct model *model, const struct layer_weights *w, int layer, const struct kv_cache *cache,
                  int64_t past) {
    struct work l = work_on(model, w, layer);
    enter(model, &l, layer);
    linear_forward(model->dev, heads_matrix(l.a.projected), l.attention_in, &w->qkv);
    heads_forward(model, w, &l.a, layer);
    heads_attend_cached(model, w, &l.a, layer, cache, past);
    middle(model, &l);
    ffn_hidden(model, &l);
    ffn_branch(model, &l);
}

/* restore - before the backward of a layer: compute again what was not kept, to the same bits. */
static void restore(struct model *model, struct work *l, int layer) {
    enum recompute recompute = model->setup.recompute;
    bool normed = has_norm_before(l->plan);
    struct norm norm1 = norm_args(&l->w->norm1), norm2 = norm_args(&l->w->norm2);
    if (recompute == RECOMPUTE_ATTENTION || recompute == RECOMPUTE_LAYER) {
        if (normed)
            op_norm_forward(model->dev, l->a.norm1, l->a.stats1, l->x, &norm1);
        attend(model, l, layer);
    }
    if (recompute == RECOMPUTE_LAYER)
        middle(model, l);
    else if (recompute == RECOMPUTE_FFN && normed)
        op_norm_forward(model->dev, l->a.norm2, l->a.stats2, l->a.middle, &norm2);
    if (recompute == RECOMPUTE_FFN || recompute == RECOMPUTE_LAYER) {
        ffn_hidden(model, l);
        if (has_norm_after(l->plan))
            ffn_branch(model, l);
    }
}

/* what_was_read - x, if it was kept: other layers have written since then where it stood otherwise. */
static struct tensor what_was_read(const struct work *l, enum kept which, struct tensor x) {
    if (!(l->kept & which))
        x.data = NULL;
    return x;
}

/* after_backward - the gradient of a branch before the norm after it, from dx, that of what it added.  Without that norm
 * they are one. */
static struct tensor after_backward(struct model *model, const struct model_norm *norm, struct tensor out,
                                    struct norm_stats stats) {
    struct tensor dx = model_rows(model, model->dx), dbranch = model_rows(model, model->dbranch);
    device_zero(model->dev, dbranch);
    norm_backward(model->dev, dbranch, dx, out, stats, norm);
    return dbranch;
}

/* branch_gradient - of what a branch without a norm after it computed: that of what it added, by the plan's factor. */
static struct tensor branch_gradient(struct model *model, const struct layer_plan *plan) {
    struct tensor dx = model_rows(model, model->dx);
    if (plan->branch_scale == 1)
        return dx;
    CHECK(!has_norm_after(plan), "a branch is scaled by %g after a norm: its gradient is not written",
          (double)plan->branch_scale);
    struct tensor dbranch = model_rows(model, model->dbranch);
    op_axpby(model->dev, dbranch, dx, plan->branch_scale, 0);
    return dbranch;
}

/* before_backward - what came through a branch joins dx, through the norm before it where there is one.  The residual
 * path itself needs no operation. */
static void before_backward(struct model *model, const struct layer_plan *plan, const struct model_norm *norm,
                            struct tensor x, struct norm_stats stats) {
    struct tensor dx = model_rows(model, model->dx), dnorm = model_rows(model, model->dnorm);
    if (has_norm_before(plan))
        norm_backward(model->dev, dx, dnorm, x, stats, norm);
    else
        op_add(model->dev, dx, dx, dnorm);
}

/* block_backward - of a gated or plain block: from dy, the gradient of its output, to that of what it read, dnorm as write says. */
static void block_backward(struct model *model, struct work *l, struct tensor dnorm, struct tensor dy,
                           struct tensor ffn_in, enum op_write write) {
    struct tensor dhidden = joined_rows(model, model->dhidden), dgate_up = l->a.gate_up;
    struct xielu xielu = xielu_args(l->w);
    struct xielu_grad dxielu = {l->w->xielu.alpha_p.grad, l->w->xielu.alpha_n.grad};
    dhidden.dims[1] = l->a.hidden.dims[1];
    linear_backward(model->dev, dhidden, joined_gather(model, model->along, dy),
                    what_was_read(l, KEPT_HIDDEN, l->a.hidden), &l->w->down, OP_OVERWRITE);
    if (l->plan->ffn != FFN_PLAIN)
        op_glu_backward(model->dev, dgate_up, dhidden, l->a.gate_up, l->plan->gate,
                        linear_word_of(&l->w->gate_up.dy_word));
    else if (has_xielu(l->plan))
        op_xielu_backward(model->dev, dgate_up, dxielu, dhidden, l->a.gate_up, &xielu);
    else
        op_act_backward(model->dev, dgate_up, dhidden, l->a.gate_up, l->plan->act);
    linear_backward(model->dev, joined_partial(model, dnorm), dgate_up,
                    joined_gather(model, model->along, ffn_in), &l->w->gate_up, write);
    joined_sum(model, model->along, dnorm);
}

static void ffn_backward(struct model *model, struct work *l) {
    struct tensor dy = branch_gradient(model, l->plan), dnorm = model_rows(model, model->dnorm);
    if (has_norm_after(l->plan))
        dy = after_backward(model, &l->w->post_norm2, l->a.ffn_out, l->a.ffn_stats);
    struct tensor ffn_in = what_was_read(l, has_norm_before(l->plan) ? KEPT_NORM2 : KEPT_MIDDLE, l->ffn_in);
    struct experts block = {&l->a.experts, &l->w->experts, l->plan, l->layer};
    if (l->plan->ffn == FFN_EXPERTS)
        experts_backward(model, dnorm, dy, ffn_in, &block);
    if (l->plan->block_width > 0)
        block_backward(model, l, dnorm, dy, ffn_in,
                       l->plan->ffn == FFN_EXPERTS ? OP_ACCUMULATE : OP_OVERWRITE);
    before_backward(model, l->plan, &l->w->norm2, l->a.middle, l->a.stats2);
}

static void attention_backward(struct model *model, struct work *l, int layer) {
    struct tensor dx = branch_gradient(model, l->plan), dnorm = model_rows(model, model->dnorm);
    struct tensor dattended = joined_rows(model, model->dattended), dqkv = joined_rows(model, model->dqkv);
    if (has_norm_after(l->plan))
        dx = after_backward(model, &l->w->post_norm1, l->a.attention_out, l->a.attention_stats);
    struct tensor attention_in =
        what_was_read(l, has_norm_before(l->plan) ? KEPT_NORM1 : KEPT_INPUT, l->attention_in);
    linear_backward(model->dev, heads_matrix(dattended), joined_gather(model, model->along, dx),
                    heads_matrix(l->a.attended), &l->w->output, OP_OVERWRITE);
    heads_backward(model, l->w, &l->a, layer);
    linear_backward(model->dev, joined_partial(model, dnorm), heads_matrix(dqkv),
                    joined_gather(model, model->along, attention_in), &l->w->qkv, OP_OVERWRITE);
    joined_sum(model, model->along, dnorm);
    before_backward(model, l->plan, &l->w->norm1, l->x, l->a.stats1);
}

void layer_backward(struct model *model, const struct layer_weights *w, int layer) {
    struct work l = work_on(model, w, layer);
    restore(model, &l, layer);
    ffn_backward(model, &l);
    attention_backward(model, &l, layer);
}
