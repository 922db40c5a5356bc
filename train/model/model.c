/* model.c - the decoder, top to bottom, then bottom to top: embedding, layers (layer.c), head (head.c).  Weights come from
 * params (gathered where they are sharded) one unit ahead of their use; gradients go back unit by unit.  Memory is in
 * model_memory.c. */
#include "train/model/model.h"

#include "train/model/head.h"
#include "train/model/layer.h"
#include "train/model/shard.h"

struct tensor model_rows(const struct model *model, struct tensor t) {
    return flight_rows(&model->flight, t);
}

static struct flight_limits limits_of(const struct model *model) {
    return (struct flight_limits){model->setup.max_tokens, model->setup.max_positions,
                                  model->setup.config->vocab_size};
}

/* place - a micro-batch with its masks on the device. */
static void place(struct model *model, const struct batch *batch) {
    struct flight_limits limits = limits_of(model);
    flight_place(&model->flight, model->dev, batch, &limits);
    flight_place_masks(&model->flight, model->dev, batch);
}

static void place_targets(struct model *model, const struct batch *batch) {
    struct flight_limits limits = limits_of(model);
    flight_place_targets(&model->flight, model->dev, batch, &limits);
}

/* embed - what enters the first layer. */
static void embed(struct model *model, struct transport *link) {
    params_acquire(model->params, link, 0);
    params_prefetch(model->params, link, 1);
    op_embedding_forward(model->dev, model_rows(model, model->flight.inputs[0]),
                         params_weight(model->params, 0, ROLE_EMBEDDING).value,
                         model_rows(model, model->flight.tokens));
}

/* stack_forward - embedding and all layers. */
static void stack_forward(struct model *model, struct transport *link) {
    struct params *params = model->params;
    int num_layers = model->setup.config->num_layers;
    embed(model, link);
    for (int layer = 0; layer < num_layers; layer++) {
        params_acquire(params, link, 1 + layer);
        params_prefetch(params, link, layer + 1 < num_layers ? 2 + layer : params_head_unit(params));
        struct layer_weights w = layer_weights(model, layer);
        layer_forward(model, &w, layer);
    }
}

/* stack_backward - all layers and the embedding, from the gradient in dx. */
static void stack_backward(struct model *model, struct transport *link) {
    struct params *params = model->params;
    for (int layer = model->setup.config->num_layers - 1; layer >= 0; layer--) {
        int unit = 1 + layer;
        params_acquire(params, link, unit);
        if (layer > 0)
            params_prefetch(params, link, unit - 1);
        params_grad_begin(params, link, unit);
        struct layer_weights w = layer_weights(model, layer);
        layer_backward(model, &w, layer);
        params_grad_end(params, link, unit);
    }
    params_grad_begin(params, link, 0);
    struct tensor dembedding = params_weight(params, 0, ROLE_EMBEDDING).grad;
    if (dembedding.data) /* not frozen */
        op_embedding_backward(model->dev, dembedding, model_rows(model, model->dx),
                              model_rows(model, model->flight.tokens));
    params_grad_end(params, link, 0);
}

double model_train(struct model *model, struct transport *link, const struct batch *batch, float grad_scale) {
    CHECK(grad_scale > 0, "a gradient scaled by %g",
          (double)grad_scale); /* 0 asks the loss for no gradient */
    place(model, batch);
    place_targets(model, batch);
    model->dev->section = SECTION_FORWARD;
    stack_forward(model, link);
    model->dev->section = SECTION_BACKWARD;
    head_train(model, link, grad_scale);
    stack_backward(model, link);
    model->dev->section = SECTION_OTHER;
    return flight_losses(&model->flight, model->dev);
}

double model_evaluate(struct model *model, struct transport *link, const struct batch *batch) {
    place(model, batch);
    place_targets(model, batch);
    stack_forward(model, link);
    head_losses(model, link);
    return flight_losses(&model->flight, model->dev);
}

void model_logits(struct model *model, struct transport *link, const struct batch *batch, float *out) {
    place(model, batch);
    stack_forward(model, link);
    head_logits(model, link, 0, out);
}

void model_decode(struct model *model, const struct kv_cache *cache, const struct batch *batch, int64_t past,
                  float *logits) {
    struct params *params = model->params;
    struct flight_limits limits = limits_of(model);
    flight_place(&model->flight, model->dev, batch, &limits);
    embed(model, NULL);
    for (int layer = 0; layer < model->setup.config->num_layers; layer++) {
        params_acquire(params, NULL, 1 + layer);
        struct layer_weights w = layer_weights(model, layer);
        layer_decode(model, &w, layer, &cache[layer], past);
    }
    head_logits(model, NULL, batch->num_tokens - 1, logits);
}
