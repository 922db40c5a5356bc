/* experts_memory.c - the memory of blocks of experts, from the model's arena. */
#include "train/model/experts.h"

static struct tensor take(struct model *model, enum dtype type, int64_t rows, int64_t columns) {
    return tensor_2d(arena_take(&model->arena, rows * columns, type), type, rows, columns);
}

static struct tensor take_numbers(struct model *model, int64_t count) {
    return tensor_1d(arena_take(&model->arena, count, DTYPE_I32), DTYPE_I32, count);
}

void experts_take(struct model *model, const struct layer_plan *plan, struct layer_acts *a) {
    const struct model_config *c = model->setup.config;
    int64_t n = model_own_tokens(&model->setup), k = plan->route.num_chosen;
    enum dtype type = model->setup.compute;
    a->experts.logits = take(model, DTYPE_F32, n, plan->num_experts);
    a->experts.routes = (struct expert_routes){.experts = take(model, DTYPE_I32, n, k),
                                               .weights = take(model, DTYPE_F32, n, k),
                                               .places = take(model, DTYPE_I32, n, k),
                                               .sources = take_numbers(model, n * k),
                                               .starts = take_numbers(model, plan->num_experts + 1)};
    a->experts.gate_up = take(model, type, n * k, 2 * c->ffn_width);
    a->experts.hidden = take(model, type, n * k, c->ffn_width);
    a->experts.out = take(model, type, n * k, c->width);
}

/* widest - the plan of the layers with experts, which all send a row to as many; NULL: there are none. */
static const struct layer_plan *widest(const struct model *model) {
    for (int layer = 0; layer < model->setup.config->num_layers; layer++)
        if (model->layers[layer].plan.ffn == FFN_EXPERTS)
            return &model->layers[layer].plan;
    return NULL;
}

void experts_take_shared(struct model *model) {
    const struct model_config *c = model->setup.config;
    const struct layer_plan *plan = widest(model);
    if (!plan)
        return;
    int64_t n = model_own_tokens(&model->setup), places = n * plan->route.num_chosen;
    model->experts.spread = take(model, model->setup.compute, places, c->width);
    if (!model->setup.trains)
        return;
    model->experts.dhidden = take(model, model->setup.compute, places, c->ffn_width);
    model->experts.dweights = take(model, DTYPE_F32, n, plan->route.num_chosen);
    model->experts.dlogits = take(model, DTYPE_F32, n, plan->num_experts);
}
