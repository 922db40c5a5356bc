/* head.c - see head.h. */
#include "train/model/head.h"

#include "train/model/layer.h"
#include "train/model/shard.h"

/* The head's operands: the final norm's weight and the output matrix. */
struct head_weights {
    struct weight norm;
    struct linear matrix;
};

static struct head_weights head_weights(const struct model *model) {
    int unit = params_head_unit(model->params);
    bool tied = model->setup.config->tied_head;
    return (struct head_weights){params_weight(model->params, unit, ROLE_FINAL_NORM),
                                 {params_weight(model->params, unit, tied ? ROLE_EMBEDDING : ROLE_HEAD)}};
}

/* head_open - the head's weights at hand, and the final norm computed. */
static struct head_weights head_open(struct model *model, struct transport *link) {
    params_acquire(model->params, link, params_head_unit(model->params));
    struct head_weights w = head_weights(model);
    struct norm_target norm = {model_rows(model, model->flight.final), model_rows(model, model->flight.rstd),
                               w.norm.value};
    layer_enter(model, &norm, model->setup.config->num_layers);
    return w;
}

/* Rows [first, first + count) of the batch, whose logits exist at one time. */
struct head_chunk {
    int64_t first, count;
    struct tensor rows, logits, dlogits;
};

static struct head_chunk head_chunk(struct model *model, int64_t first) {
    int64_t left = model->flight.num_tokens - first, most = model->logits.dims[0];
    int64_t count = left < most ? left : most;
    return (struct head_chunk){first, count, tensor_rows(model->flight.final, first, count),
                               tensor_rows(model->logits, 0, count), tensor_rows(model->dlogits, 0, count)};
}

static void chunk_losses(struct model *model, const struct head_chunk *chunk, const struct linear *w,
                         float grad_scale) {
    linear_forward(model->dev, chunk->logits, chunk->rows, w);
    op_cross_entropy(model->dev, tensor_rows(model->flight.losses, chunk->first, chunk->count),
                     chunk->dlogits, chunk->logits,
                     tensor_rows(model->flight.targets, chunk->first, chunk->count),
                     tensor_rows(model->flight.weights, chunk->first, chunk->count), grad_scale);
}

/* gradients - losses and gradients of each chunk while its logits are at hand: they are never kept for the whole
 * batch. */
static void gradients(struct model *model, struct linear w, float grad_scale) {
    for (int64_t first = 0; first < model->flight.num_tokens; first += model->logits.dims[0]) {
        struct head_chunk chunk = head_chunk(model, first);
        chunk_losses(model, &chunk, &w, grad_scale);
        linear_backward(model->dev, tensor_rows(model->dnorm, first, chunk.count), chunk.dlogits, chunk.rows,
                        &w);
        w.w.write = OP_ACCUMULATE;
    }
}

void head_train(struct model *model, struct transport *link, float grad_scale) {
    struct params *params = model->params;
    int unit = params_head_unit(params), num_layers = model->setup.config->num_layers;
    head_open(model, link);
    params_prefetch(params, link, num_layers); /* the last layer's, for the backward */
    params_grad_begin(params, link, unit);
    struct head_weights w = head_weights(model);
    gradients(model, w.matrix, grad_scale);

    struct tensor dx = model_rows(model, model->dx);
    device_zero(model->dev, dx);
    op_rmsnorm_backward(model->dev, dx, w.norm.grad, model_rows(model, model->dnorm),
                        model_rows(model, model->flight.inputs[num_layers]), w.norm.value,
                        model_rows(model, model->flight.rstd));
    if (unit != 0) /* a tied head's gradient waits for the embedding's */
        params_grad_end(params, link, unit);
}

void head_losses(struct model *model, struct transport *link) {
    struct head_weights w = head_open(model, link);
    for (int64_t first = 0; first < model->flight.num_tokens; first += model->logits.dims[0]) {
        struct head_chunk chunk = head_chunk(model, first);
        chunk_losses(model, &chunk, &w.matrix, 0.0f);
    }
}

void head_logits(struct model *model, struct transport *link, int64_t first, float *out) {
    struct head_weights w = head_open(model, link);
    for (; first < model->flight.num_tokens; first += model->logits.dims[0]) {
        struct head_chunk chunk = head_chunk(model, first);
        linear_forward(model->dev, chunk.logits, chunk.rows, &w.matrix);
        device_download(model->dev, out, chunk.logits);
        out += tensor_count(chunk.logits);
    }
}
