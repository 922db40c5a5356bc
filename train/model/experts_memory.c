/* experts_memory.c - the memory of blocks of experts, from the model's arena. */
#include "train/model/experts_sent.h"

void experts_take(struct model *model, const struct layer_plan *plan, struct layer_acts *a) {
    const struct model_config *c = model->setup.config;
    struct arena *arena = &model->arena;
    int64_t n = model_own_tokens(&model->setup), k = plan->route.num_chosen;
    enum dtype type = model->setup.compute;
    a->experts.logits = arena_take_2d(arena, DTYPE_F32, n, plan->num_experts);
    a->experts.routes =
        (struct expert_routes){.experts = arena_take_2d(arena, DTYPE_I32, n, k),
                               .weights = arena_take_2d(arena, DTYPE_F32, n, k),
                               .lse = arena_take_1d(arena, DTYPE_F32, n),
                               .places = arena_take_2d(arena, DTYPE_I32, n, k),
                               .sources = arena_take_1d(arena, DTYPE_I32, n * k),
                               .starts = arena_take_1d(arena, DTYPE_I32, plan->num_experts + 1)};
    if (experts_are_divided(model))
        experts_sent_take(model, &a->experts);
    a->experts.gate_up = arena_take_2d(arena, type, experts_most_places(model), 2 * c->ffn_width);
    a->experts.hidden = arena_take_2d(arena, type, experts_most_places(model), c->ffn_width);
    a->experts.out = arena_take_2d(arena, type, n * k, c->width);
}

/* first_with_experts - a layer's plan, or NULL: no layer has some.  All that have send a row to as many. */
static const struct layer_plan *first_with_experts(const struct model *model) {
    for (int layer = 0; layer < model->setup.config->num_layers; layer++)
        if (model->layers[layer].plan.ffn == FFN_EXPERTS)
            return &model->layers[layer].plan;
    return NULL;
}

void experts_take_shared(struct model *model) {
    const struct model_config *c = model->setup.config;
    const struct layer_plan *plan = first_with_experts(model);
    struct arena *arena = &model->arena;
    if (!plan)
        return;
    int64_t n = model_own_tokens(&model->setup), places = experts_most_places(model);
    if (plan->clamps_experts)
        model->experts.router_bias = arena_take_1d(arena, DTYPE_F32, plan->num_experts);
    if (experts_are_divided(model))
        experts_sent_take_shared(model);
    if (plan->block_width > 0)
        model->experts.shared = arena_take_2d(arena, model->setup.compute, n, c->width);
    model->experts.spread = arena_take_2d(arena, model->setup.compute, places, c->width);
    if (!model->setup.trains)
        return;
    model->experts.dhidden = arena_take_2d(arena, model->setup.compute, places, c->ffn_width);
    model->experts.dweights = arena_take_2d(arena, DTYPE_F32, n, plan->route.num_chosen);
    model->experts.dlogits = arena_take_2d(arena, DTYPE_F32, n, plan->num_experts);
}

struct tensor experts_at_places(struct tensor buffer, const struct expert_acts *acts) {
    return tensor_rows(buffer, 0, acts->out.dims[0]);
}
