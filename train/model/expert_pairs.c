/* expert_pairs.c - pairs on experts: two grouped products of the rank's width in each direction.  The scale goes into x A^T, which is
 * narrow, so that all grouped products are plain ones. */
#include "train/model/expert_pairs.h"

#include "checkpoints/family/family_adapter.h"
#include "train/model/experts_sent.h"

struct expert_pair expert_pair_of(const struct model *model, int layer, enum tensor_role matrix) {
    const struct model_config *config = model->setup.config;
    enum adapter_target target = adapter_target_of(matrix);
    if (!adapter_has(config, matrix, layer))
        return (struct expert_pair){.scale = 0};
    return (struct expert_pair){
        .a = params_experts(model->params, 1 + layer, adapter_pair_role(target, ADAPTER_A)),
        .b = params_experts(model->params, 1 + layer, adapter_pair_role(target, ADAPTER_B)),
        .scale = (float)adapter_scale(config, target),
        .down = model->flight.acts[layer].pair_rows[target]};
}

/* pair_rank - R of a pair that is there. */
static int64_t pair_rank(const struct expert_pair *pair) {
    return pair->b.value.dims[1];
}

/* working_rows - [M, R] that all pairs share. */
static struct tensor working_rows(const struct model *model, const struct expert_product *product) {
    struct tensor room = model->experts.pair_rows;
    return tensor_2d(room.data, room.dtype, product->acts->out.dims[0], pair_rank(product->pair));
}

/* down_rows - where the forward leaves scale x A^T: rows of the layer's own, or where nothing is trained those that all share. */
static struct tensor down_rows(const struct model *model, const struct expert_product *product) {
    struct tensor own = product->pair->down;
    return own.data ? experts_at_places(own, product->acts) : working_rows(model, product);
}

static void scale_rows(struct model *model, struct tensor rows, float scale) {
    op_take_columns(model->dev, rows, rows, &(struct column_args){.scale = scale});
}

void expert_pair_forward(struct model *model, const struct expert_product *product, struct tensor y,
                         struct tensor x) {
    const struct expert_pair *pair = product->pair;
    const struct column_args whole = {.scale = 1},
                             added = {.first = product->first, .scale = 1, .write = OP_ACCUMULATE};
    struct tensor starts = product->acts->routes.starts;
    if (!pair->a.value.data)
        return;
    struct tensor down = down_rows(model, product);
    op_grouped_forward(model->dev, down, x, pair->a.value, starts, &whole);
    scale_rows(model, down, pair->scale);
    op_grouped_forward(model->dev, y, down, pair->b.value, starts, &added);
}

void expert_pair_backward(struct model *model, const struct expert_product *product, struct tensor dx,
                          struct tensor dy, struct tensor x) {
    const struct expert_pair *pair = product->pair;
    struct device *dev = model->dev;
    struct tensor starts = product->acts->routes.starts;
    if (!pair->a.value.data)
        return;
    const struct column_args columns = {.first = product->first, .scale = 1},
                             of_b = {.first = product->first, .scale = 1, .write = pair->b.write},
                             of_a = {.scale = 1, .write = pair->a.write},
                             added = {.scale = 1, .write = OP_ACCUMULATE};
    struct tensor back = working_rows(model, product);
    if (pair->b.grad.data)
        op_grouped_backward_weight(dev, pair->b.grad, dy, down_rows(model, product), starts, &of_b);
    op_grouped_backward_input(dev, back, dy, pair->b.value, starts, &columns);
    scale_rows(model, back, pair->scale);
    if (pair->a.grad.data)
        op_grouped_backward_weight(dev, pair->a.grad, back, x, starts, &of_a);
    op_grouped_backward_input(dev, dx, back, pair->a.value, starts, &added);
}

struct tensor expert_pairs_take(struct model *model, enum adapter_target target) {
    return arena_take_2d(&model->arena, model->setup.compute, experts_most_places(model),
                         model->setup.config->adapter.ranks[target]);
}

void expert_pairs_take_shared(struct model *model) {
    const struct model_config *config = model->setup.config;
    int64_t most = 0;
    for (int t = 0; model_has_adapter(config) && t < ADAPTER_TARGET_COUNT; t++)
        if (config->adapter.ranks[t] > most && adapter_is_of_experts(config, (enum adapter_target)t))
            most = config->adapter.ranks[t];
    if (most > 0)
        model->experts.pair_rows =
            arena_take_2d(&model->arena, model->setup.compute, experts_most_places(model), most);
}
