/* experts.c - a block of experts, forward and backward, one line per operation. */
#include "train/model/experts.h"

#include "checkpoints/family/family_adapter.h"
#include "train/model/expert_pairs.h"
#include "train/model/experts_clamped.h"
#include "train/model/experts_sent.h"

struct expert_weights experts_weights(const struct model *model, int layer) {
    const struct params *params = model->params;
    const struct layer_plan *plan = &model->layers[layer].plan;
    const struct weight none = {.value = {.data = NULL}};
    int unit = 1 + layer;
    bool is_corrected = plan->route.score == ROUTER_SIGMOID;
    if (plan->clamps_experts)
        return clamped_weights(model, layer);
    return (struct expert_weights){
        .router = {.w = params_weight(params, unit, ROLE_ROUTER)},
        .correction = is_corrected ? params_weight(params, unit, ROLE_ROUTER_CORRECTION) : none,
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

bool experts_learn(const struct model_config *config, int layer) {
    return param_is_trained(config, ROLE_EXPERT_GATE) || param_is_trained(config, ROLE_EXPERT_UP) ||
           param_is_trained(config, ROLE_EXPERT_GATE_UP) || adapter_has(config, ROLE_EXPERT_GATE, layer) ||
           adapter_has(config, ROLE_EXPERT_UP, layer);
}

/* spread - rows x to the places where this rank's experts read them, which are those of `at`. */
static void spread(struct model *model, const struct experts *block, const struct expert_acts *at,
                   struct tensor x) {
    struct tensor read = experts_at_places(model->experts.spread, at);
    if (!experts_are_divided(model)) {
        op_spread(model->dev, read, x, &block->acts->routes);
        return;
    }
    struct tensor outgoing = experts_at_places(model->experts.outgoing, block->acts);
    op_spread(model->dev, outgoing, x, &block->acts->routes);
    experts_send(model, model->between, block, read, outgoing);
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
    op_glu_forward(dev, acts->hidden, acts->gate_up, block->plan->gate, NULL);
    op_grouped_forward(dev, acts->out, acts->hidden, w->down.value, starts, &gate);
    expert_pair_forward(model, &products.down, acts->out, acts->hidden);
}

void experts_compute(struct model *model, const struct experts *block, struct tensor x) {
    const struct expert_acts *acts = block->acts;
    struct linear router = router_of(model, block->w);
    linear_forward(model->dev, acts->logits, x, &router);
    op_route(model->dev, &acts->routes, acts->logits, block->w->correction.value, &block->plan->route);
    experts_meet(model, model->between, block);
    struct expert_acts at = experts_received(model, block);
    const struct experts own = {&at, block->w, block->plan, block->layer};
    spread(model, block, &at, x);
    (block->plan->clamps_experts ? clamped_forward
                                 : gated_forward)(model, &own, experts_at_places(model->experts.spread, &at));
    if (experts_are_divided(model))
        experts_return(model, model->between, block, acts->out, at.out);
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
static void spread_again(struct model *model, struct tensor x, const struct experts *block,
                         const struct expert_acts *at) {
    if (!experts_learn(model->setup.config, block->layer))
        return;
    CHECK(x.data, "experts of %lld rows learn, and what they read was not kept", (long long)at->out.dims[0]);
    spread(model, block, at, x);
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
    op_glu_backward(model->dev, acts->gate_up, dhidden, acts->gate_up, block->plan->gate, NULL);
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
    struct expert_acts at = experts_received(model, block);
    const struct experts own = {&at, block->w, block->plan, block->layer};
    spread_again(model, x, block, &at);
    if (experts_are_divided(model))
        experts_send(model, model->between, block, at.out, acts->out);
    (block->plan->clamps_experts ? clamped_backward : gated_backward)(model, &own);
    if (experts_are_divided(model))
        experts_return(model, model->between, block, acts->out, at.out);
    op_collect(dev, dx, acts->out, none, routes);
    op_route_backward(dev, dlogits, dweights, acts->logits, routes, &block->plan->route);
    router_backward(model, dlogits, acts->logits);
    linear_backward(dev, dx, dlogits, x, &router, OP_ACCUMULATE);
}
