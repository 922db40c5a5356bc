/* model.c - the decoder, top to bottom, then bottom to top: embedding, layers (layer.c), head (head.c).  Weights come from
 * params (gathered where they are sharded) one unit ahead of their use; gradients go back unit by unit.  Memory is in
 * model_memory.c. */
#include "train/model/model.h"

#include <string.h>

#include "kernels/rounded.h"
#include "train/model/head.h"
#include "train/model/heads.h"
#include "train/model/layer.h"
#include "train/model/shard.h"
#include "train/model/vocab.h"
#include "train/ranks/comm.h"

static struct flight_limits limits_of(const struct model *model) {
    return (struct flight_limits){model->setup.max_tokens, model->setup.max_positions,
                                  model->setup.config->vocab_size};
}

/* place - a micro-batch with its masks on the device. */
static void place(struct model *model, const struct batch *batch) {
    struct flight_limits limits = limits_of(model);
    flight_place(&model->flight, model->dev, batch, &limits);
    flight_place_masks(&model->flight, model->dev, batch);
    heads_plan(model);
    vocab_place(model, batch);
}

static void place_targets(struct model *model, const struct batch *batch) {
    struct flight_limits limits = limits_of(model);
    flight_place_targets(&model->flight, model->dev, batch, &limits);
}

static void place_teacher(struct model *model, const struct batch *batch) {
    struct flight_limits limits = limits_of(model);
    flight_place_teacher(&model->flight, model->dev, batch, &limits);
}

/* embedding_scale - rounded to the type that is computed in, as the reference programs round it. */
static float embedding_scale(const struct model *model) {
    return rounded_to(model->setup.compute, family_embedding_scale(model->setup.config));
}

/* scale_rows - to = the embedding's scale times from, rows of width C. */
static void scale_rows(struct model *model, struct tensor to, struct tensor from) {
    struct column_args columns = {.first = 0, .scale = embedding_scale(model), .write = OP_OVERWRITE};
    op_take_columns(model->dev, to, from, &columns);
}

static bool is_scaled(const struct model *model) {
    return family_embedding_scale(model->setup.config) != 1.0f;
}

/* look_up - the rows of the tokens at hand. */
static void look_up(struct model *model, struct tensor rows) {
    if (vocab_is_divided(&model->setup)) {
        vocab_look_up(model, model->along, rows);
        return;
    }
    struct weight w = params_weight(model->params, 0, ROLE_EMBEDDING);
    struct tensor tokens = model_rows(model, model->flight.tokens);
    if (w.stored.num_parts > 0)
        op_embedding_stored(model->dev, rows, &w.stored, tokens);
    else
        op_embedding_forward(model->dev, rows, w.value, tokens);
}

/* embed - what enters the first layer. */
static void embed(struct model *model, struct transport *link) {
    for (int unit = 0; unit < params_num_first(model->params); unit++)
        params_prefetch(model->params, link, unit);
    params_acquire(model->params, link, 0);
    params_prefetch(model->params, link, 1);
    struct tensor x = model_rows(model, model->flight.inputs[0]), rows = model_rows(model, model->branch);
    look_up(model, is_scaled(model) ? rows : x);
    if (is_scaled(model))
        scale_rows(model, x, rows);
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

/* weigh - ask the objective for the weight of every target; returns the loss where the objective has one of its own. */
static double weigh(struct model *model, struct transport *link, const struct batch *batch) {
    const struct objective_use *objective = &model->setup.objective;
    struct flight *f = &model->flight;
    if (!objective->kind->coefficients)
        return 0;
    CHECK(f->num_tokens == f->whole_tokens, "the objective '%s' weighs rows, of which other ranks have some",
          objective->kind->name);
    if (objective->kind->needs_losses_first) {
        head_losses(model, link);
        flight_losses(f, model->dev);
    }
    memcpy(f->host_weights, batch->weights,
           (size_t)(f->num_entries * f->num_tokens) * sizeof *f->host_weights);
    objective->kind->coefficients(objective->state, batch,
                                  objective->kind->needs_losses_first ? f->host_losses : NULL,
                                  f->host_weights);
    flight_weigh(f, model->dev);
    return objective->kind->loss ? objective->kind->loss(objective->state, batch, f->host_losses) : 0;
}

/* layer_term - of the objective, with its gradient. */
static double layer_term(struct model *model, int layer, float grad_scale) {
    const struct objective_use *objective = &model->setup.objective;
    struct layer_output output = {.dev = model->dev,
                                  .layer = layer,
                                  .x = model_rows(model, model->flight.inputs[layer + 1]),
                                  .dx = model_rows(model, model->dx),
                                  .scale = grad_scale};
    return objective->kind->layer_loss ? objective->kind->layer_loss(objective->state, &output) : 0;
}

/* prefetch_below - what is needed after the backward of a layer: the layer under it, or after the last the embedding of the next
 * micro-batch.  That is in the head's slot, which is free then; after a step's last micro-batch the weights change. */
static void prefetch_below(struct model *model, struct transport *link, int layer) {
    if (layer > model->first_backward)
        params_prefetch(model->params, link, layer);
    else if (model->flight.followed)
        params_prefetch(model->params, link, 0);
}

/* embed_backward - the embedding's gradient, unless it is frozen. */
static void embed_backward(struct model *model) {
    struct tensor dembedding = params_weight(model->params, 0, ROLE_EMBEDDING).grad;
    struct tensor dx = model_rows(model, model->dx), drows = model_rows(model, model->dnorm);
    if (!dembedding.data)
        return;
    if (is_scaled(model))
        scale_rows(model, drows, dx);
    else
        drows = dx;
    if (vocab_is_divided(&model->setup))
        vocab_add_gradients(model, model->along, dembedding, drows);
    else
        op_embedding_backward(model->dev, dembedding, drows, model_rows(model, model->flight.tokens));
}

/* stack_backward - the layers that have a backward, and the embedding, from the gradient in dx; returns the objective's terms of
 * layers. */
static double stack_backward(struct model *model, struct transport *link, float grad_scale) {
    struct params *params = model->params;
    double terms = 0;
    for (int layer = model->setup.config->num_layers - 1; layer >= model->first_backward; layer--) {
        int unit = 1 + layer;
        params_acquire(params, link, unit);
        prefetch_below(model, link, layer);
        params_grad_begin(params, unit);
        struct layer_weights w = layer_weights(model, layer);
        terms += layer_term(model, layer, grad_scale);
        layer_backward(model, &w, layer);
        params_grad_end(params, link, unit);
    }
    params_grad_begin(params, 0);
    embed_backward(model);
    params_grad_end(params, link, 0);
    return terms;
}

void model_step_pass(struct model *model, struct transport *link, struct comm *comm,
                     const struct batch *micros, int64_t num_micros) {
    const struct objective_use *objective = &model->setup.objective;
    double sums[OBJECTIVE_MAX_SUMS] = {0};
    if (!objective->kind->needs_step_pass)
        return;
    for (int64_t m = 0; m < num_micros; m++) {
        model_evaluate(model, link, &micros[m]);
        objective->kind->step_losses(objective->state, &micros[m], model->flight.host_losses, sums);
    }
    if (comm)
        comm_sum_f64(comm, sums, OBJECTIVE_MAX_SUMS);
    objective->kind->step_sums(objective->state, sums);
}

void model_train_start(struct model *model, struct transport *link, const struct batch *batch,
                       float grad_scale) {
    CHECK(grad_scale > 0, "a gradient scaled by %g",
          (double)grad_scale); /* 0 asks the loss for no gradient */
    place(model, batch);
    place_targets(model, batch);
    flight_place_drops(&model->flight, model->dev, batch);
    place_teacher(model, batch);
    flight_place_scale(&model->flight, model->dev, grad_scale);
    router_begin(model, batch);
    device_record(model->dev);
    model->dev->section = SECTION_FORWARD;
    stack_forward(model, link);
    double loss = weigh(model, link, batch);
    model->dev->section = SECTION_BACKWARD;
    head_train(model, link);
    double terms = stack_backward(model, link, grad_scale);
    device_play(model->dev);
    model->flight.drops = false;
    model->dev->section = SECTION_OTHER;
    readback_start(model, loss, terms);
    device_keep_pace(model->dev);
}

double model_train_take(struct model *model) {
    return readback_take(model);
}

double model_train(struct model *model, struct transport *link, const struct batch *batch, float grad_scale) {
    model_train_start(model, link, batch, grad_scale);
    return model_train_take(model);
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

void model_visit_logits(struct model *model, struct transport *link, const struct batch *batch,
                        const struct logits_visitor *visitor) {
    place(model, batch);
    stack_forward(model, link);
    head_visit(model, link, visitor);
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
