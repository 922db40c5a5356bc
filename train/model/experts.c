/* experts.c - a block of experts, forward and backward, one line per operation. */
#include "train/model/experts.h"

#include "train/model/expert_pairs.h"
#include "train/model/experts_clamped.h"

struct expert_weights experts_weights(const struct model *model, int layer) {
    const struct params *params = model->params;
    int unit = 1 + layer;
    if (model->layers[layer].plan.clamps_experts)
        return clamped_weights(model, layer);
    return (struct expert_weights){.router = {.w = params_weight(params, unit, ROLE_ROUTER)},
                                   .gate = params_experts(params, unit, ROLE_EXPERT_GATE),
                                   .up = params_experts(params, unit, ROLE_EXPERT_UP),
                                   .down = params_experts(params, unit, ROLE_EXPERT_DOWN),
                                   .gate_pair = expert_pair_of(model, layer, ROLE_EXPERT_GATE),
                                   .up_pair = expert_pair_of(model, layer, ROLE_EXPERT_UP),
                                   .down_pair = expert_pair_of(model, layer, ROLE_EXPERT_DOWN)};
}

/* router_of - the layer's, its bias in the logits' type. */
static struct linear router_of(struct model *model, const struct expert_weights *w) {
    struct linear router = w->router;
    if (router.bias.value.data) {
        op_cast(model->dev, model->experts.router_bias, router.bias.value);
        router.bias.value = model->experts.router_bias;
    }
    return router;
}

/* The three products of gated experts, to which pairs may belong. */
struct gated_products {
    struct expert_product gate, up, down;
};

static struct gated_products products_of(const struct experts *block) {
    const struct expert_acts *acts = block->acts;
    const struct expert_weights *w = block->w;
    return (struct gated_products){
        {&w->gate_pair, acts, 0}, {&w->up_pair, acts, acts->hidden.dims[1]}, {&w->down_pair, acts, 0}};
}

/* gated_forward - from the rows at their places, spread [M, C], to acts->out. */
static void gated_forward(struct model *model, const struct experts *block, struct tensor spread) {
    const struct expert_acts *acts = block->acts;
    const struct expert_weights *w = block->w;
    const struct gated_products products = products_of(block);
    struct device *dev = model->dev;
    struct tensor starts = acts->routes.starts;
    const struct column_args gate = {.first = 0, .scale = 1},
                             up = {.first = acts->hidden.dims[1], .scale = 1};
    op_grouped_forward(dev, acts->gate_up, spread, w->gate.value, starts, &gate);
    op_grouped_forward(dev, acts->gate_up, spread, w->up.value, starts, &up);
    expert_pair_forward(model, &products.gate, acts->gate_up, spread);
    expert_pair_forward(model, &products.up, acts->gate_up, spread);
    op_glu_forward(dev, acts->hidden, acts->gate_up, block->plan->gate);
    op_grouped_forward(dev, acts->out, acts->hidden, w->down.value, starts, &gate);
    expert_pair_forward(model, &products.down, acts->out, acts->hidden);
}

void experts_compute(struct model *model, const struct experts *block, struct tensor x) {
    const struct expert_acts *acts = block->acts;
    const struct expert_weights *w = block->w;
    struct device *dev = model->dev;
    struct tensor spread = experts_at_places(model->experts.spread, acts);
    struct linear router = router_of(model, w);
    linear_forward(dev, acts->logits, x, &router);
    op_route(dev, &acts->routes, acts->logits, &block->plan->route);
    op_spread(dev, spread, x, &acts->routes);
    (block->plan->clamps_experts ? clamped_forward : gated_forward)(model, block, spread);
}

void experts_collect(struct model *model, struct tensor y, const struct expert_acts *acts) {
    op_collect(model->dev, y, acts->out, acts->routes.weights, &acts->routes);
}

/* matrix_backward - the gradient of one of the experts' matrices, where it is wanted; x: what stands at the places. */
static void matrix_backward(struct model *model, const struct weight *w, struct tensor dy, struct tensor x,
                            struct tensor starts, int64_t first) {
    const struct column_args args = {.first = first, .scale = 1, .write = w->write};
    if (w->grad.data)
        op_grouped_backward_weight(model->dev, w->grad, dy, x, starts, &args);
}

/* inputs_backward - from the gradient of gate and up: those of their matrices, and of what experts read, which takes the
 * place of their outputs. */
static void inputs_backward(struct model *model, const struct experts *block) {
    const struct expert_acts *acts = block->acts;
    const struct expert_weights *w = block->w;
    const struct gated_products products = products_of(block);
    struct device *dev = model->dev;
    struct tensor spread = experts_at_places(model->experts.spread, acts), starts = acts->routes.starts;
    int64_t half = acts->hidden.dims[1];
    const struct column_args gate = {.first = 0, .scale = 1},
                             up = {.first = half, .scale = 1, .write = OP_ACCUMULATE};
    matrix_backward(model, &w->gate, acts->gate_up, spread, starts, 0);
    matrix_backward(model, &w->up, acts->gate_up, spread, starts, half);
    op_grouped_backward_input(dev, acts->out, acts->gate_up, w->gate.value, starts, &gate);
    op_grouped_backward_input(dev, acts->out, acts->gate_up, w->up.value, starts, &up);
    expert_pair_backward(model, &products.gate, acts->out, acts->gate_up, spread);
    expert_pair_backward(model, &products.up, acts->out, acts->gate_up, spread);
}

/* spread_again - what the experts read, where a matrix learns from it. */
static void spread_again(struct model *model, struct tensor x, const struct experts *block) {
    const struct expert_weights *w = block->w;
    if (!w->gate.grad.data && !w->up.grad.data && !w->gate_up.grad.data && !w->gate_pair.a.grad.data &&
        !w->up_pair.a.grad.data)
        return;
    struct tensor spread = experts_at_places(model->experts.spread, block->acts);
    CHECK(x.data, "experts of %lld rows learn, and what they read was not kept", (long long)spread.dims[0]);
    op_spread(model->dev, spread, x, &block->acts->routes);
}

/* gated_backward - from the gradient of the experts' outputs, in acts, to that of what they read, in its place. */
static void gated_backward(struct model *model, const struct experts *block) {
    const struct expert_acts *acts = block->acts;
    const struct expert_weights *w = block->w;
    struct tensor dhidden = experts_at_places(model->experts.dhidden, acts), starts = acts->routes.starts;
    const struct gated_products products = products_of(block);
    const struct column_args whole = {.scale = 1};
    matrix_backward(model, &w->down, acts->out, acts->hidden, starts, 0);
    op_grouped_backward_input(model->dev, dhidden, acts->out, w->down.value, starts, &whole);
    expert_pair_backward(model, &products.down, dhidden, acts->out, acts->hidden);
    op_glu_backward(model->dev, acts->gate_up, dhidden, acts->gate_up, block->plan->gate);
    inputs_backward(model, block);
}

void experts_backward(struct model *model, struct tensor dx, struct tensor dy, struct tensor x,
                      const struct experts *block) {
    const struct expert_acts *acts = block->acts;
    struct device *dev = model->dev;
    const struct expert_routes *routes = &acts->routes;
    struct tensor none = {0};
    struct tensor dweights = model_rows(model, model->experts.dweights),
                  dlogits = model_rows(model, model->experts.dlogits);
    struct linear router = router_of(model, block->w);
    op_collect_backward(dev, acts->out, dweights, dy, acts->out, routes);
    spread_again(model, x, block);
    (block->plan->clamps_experts ? clamped_backward : gated_backward)(model, block);
    op_collect(dev, dx, acts->out, none, routes);
    op_route_backward(dev, dlogits, dweights, acts->logits, routes, &block->plan->route);
    router_backward(model, dlogits, acts->logits);
    linear_backward(dev, dx, dlogits, x, &router, OP_ACCUMULATE);
}
