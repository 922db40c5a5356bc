/* experts_clamped.c - gpt-oss's experts, one line per operation.  Their matrices are [inputs, outputs], the other way round than those
 * of all other products: the forward through W is what elsewhere is the gradient of what a product read, and the other way round. */
#include "train/model/experts_clamped.h"

struct expert_weights clamped_weights(const struct model *model, int layer) {
    const struct params *params = model->params;
    int unit = 1 + layer;
    return (struct expert_weights){.router = {.w = params_weight(params, unit, ROLE_ROUTER),
                                              .bias = params_weight(params, unit, ROLE_ROUTER_BIAS)},
                                   .gate_up = params_experts(params, unit, ROLE_EXPERT_GATE_UP),
                                   .gate_up_bias = params_experts(params, unit, ROLE_EXPERT_GATE_UP_BIAS),
                                   .turned_down = params_experts(params, unit, ROLE_EXPERT_DOWN),
                                   .down_bias = params_experts(params, unit, ROLE_EXPERT_DOWN_BIAS)};
}

/* product - y [M, O] = x [M, I] W + b, with the W [I, O] of each place's expert. */
static void product(struct model *model, struct tensor y, struct tensor x, const struct weight *w,
                    const struct weight *bias, struct tensor starts) {
    const struct column_args whole = {.scale = 1};
    op_grouped_backward_input(model->dev, y, x, w->value, starts, &whole);
    op_grouped_bias_forward(model->dev, y, bias->value, starts);
}

/* learn - the gradients of W and b, where they are wanted. */
static void learn(struct model *model, struct tensor dy, struct tensor x, const struct weight *w,
                  const struct weight *bias, struct tensor starts) {
    const struct column_args args = {.scale = 1, .write = w->write};
    if (bias->grad.data)
        op_grouped_bias_backward(model->dev, bias->grad, dy, starts);
    if (w->grad.data)
        op_grouped_backward_weight(model->dev, w->grad, x, dy, starts, &args);
}

void clamped_forward(struct model *model, const struct experts *block, struct tensor spread) {
    const struct expert_acts *acts = block->acts;
    const struct expert_weights *w = block->w;
    product(model, acts->gate_up, spread, &w->gate_up, &w->gate_up_bias, acts->routes.starts);
    op_clamped_glu_forward(model->dev, acts->hidden, acts->gate_up, &block->plan->clamp);
    product(model, acts->out, acts->hidden, &w->turned_down, &w->down_bias, acts->routes.starts);
}

void clamped_backward(struct model *model, const struct experts *block) {
    const struct expert_acts *acts = block->acts;
    const struct expert_weights *w = block->w;
    struct device *dev = model->dev;
    struct tensor dhidden = experts_at_places(model->experts.dhidden, acts),
                  spread = experts_at_places(model->experts.spread, acts), starts = acts->routes.starts;
    const struct column_args whole = {.scale = 1};
    learn(model, acts->out, acts->hidden, &w->turned_down, &w->down_bias, starts);
    op_grouped_forward(dev, dhidden, acts->out, w->turned_down.value, starts, &whole);
    op_clamped_glu_backward(dev, acts->gate_up, dhidden, acts->gate_up, &block->plan->clamp);
    learn(model, acts->gate_up, spread, &w->gate_up, &w->gate_up_bias, starts);
    op_grouped_forward(dev, acts->out, acts->gate_up, w->gate_up.value, starts, &whole);
}
