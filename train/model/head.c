/* head.c - the final norm, the logits a piece at a time, and the losses; forward and backward. */
#include "train/model/head.h"

#include <math.h>
#include <stdlib.h>

#include "train/model/joined.h"
#include "train/model/layer.h"
#include "train/model/shard.h"
#include "train/model/vocab.h"

/* The head's operands: the final norm's weight and the output matrix. */
struct head_weights {
    struct model_norm norm;
    struct linear matrix;
};

static struct head_weights head_weights(const struct model *model) {
    const struct model_config *config = model->setup.config;
    int unit = params_head_unit(model->params);
    enum tensor_role matrix = config->tied_head ? ROLE_EMBEDDING : ROLE_HEAD;
    struct model_norm norm = {.plan = family_final_norm(config),
                              .eps = config->norm_eps,
                              .w = params_weight(model->params, unit, ROLE_FINAL_NORM)};
    if (norm.plan.bias)
        norm.bias = params_weight(model->params, unit, ROLE_FINAL_NORM_BIAS);
    return (struct head_weights){norm, {.w = params_weight(model->params, unit, matrix)}};
}

/* head_open - the head's weights at hand, and the final norm computed. */
static struct head_weights head_open(struct model *model, struct transport *link) {
    params_acquire(model->params, link, params_head_unit(model->params));
    struct head_weights w = head_weights(model);
    struct norm_target norm = {.y = model_rows(model, model->flight.final),
                               .stats = flight_stats(&model->flight, model->flight.final_stats),
                               .norm = norm_args(&w.norm)};
    layer_enter(model, &norm, model->setup.config->num_layers);
    return w;
}

/* Rows [first, first + count) of the batch, whose logits exist at one time; rows: what their product reads. */
struct head_chunk {
    int64_t first, count;
    struct tensor rows, logits, dlogits;
};

/* head_chunk - as many rows as logits has room for. */
static struct head_chunk head_chunk(struct model *model, int64_t first, struct tensor logits) {
    int64_t left = model->flight.num_tokens - first, most = logits.dims[0];
    int64_t count = left < most ? left : most;
    struct tensor rows = vocab_rows(model, model->along, tensor_rows(model->flight.final, first, count));
    return (struct head_chunk){.first = first,
                               .count = count,
                               .rows = rows,
                               .logits = tensor_rows(logits, 0, count),
                               .dlogits = tensor_rows(model->dlogits, 0, count)};
}

/* entry_of - the chunk's rows of one entry of targets, weights or losses [K, N]. */
static struct tensor entry_of(const struct model *model, struct tensor t, const struct head_chunk *chunk,
                              int entry) {
    return tensor_rows(flight_entry(&model->flight, t, entry), chunk->first, chunk->count);
}

/* chunk_losses - of one entry; grad_scale multiplies the flight's, 0: no gradient is wanted.  The logits are computed for each: their gradient takes their place where it has their type. */
static void chunk_losses(struct model *model, const struct head_chunk *chunk, const struct linear *w,
                         int entry, float grad_scale) {
    const struct flight *f = &model->flight;
    const struct model_config *config = model->setup.config;
    const struct loss_args args = {.grad_scale = grad_scale,
                                   .grad_scale_at = f->grad_scale.data,
                                   .logit_scale = family_logit_scale(config),
                                   .softcap = config->logit_softcap};
    vocab_logits(model, model->along, chunk->logits, chunk->rows, w);
    op_cross_entropy(model->dev, entry_of(model, f->losses, chunk, entry), chunk->dlogits, chunk->logits,
                     entry_of(model, f->targets, chunk, entry), entry_of(model, f->weights, chunk, entry),
                     &args);
}

/* chunk_distances - losses and divergences of a chunk whose rows have a teacher, and their gradient. */
static void chunk_distances(struct model *model, const struct head_chunk *chunk, const struct linear *w) {
    const struct flight *f = &model->flight;
    const struct model_config *config = model->setup.config;
    const struct distill_args args = {.loss = {.grad_scale = 1,
                                               .grad_scale_at = f->grad_scale.data,
                                               .logit_scale = family_logit_scale(config),
                                               .softcap = config->logit_softcap},
                                      .temperature = model->setup.teacher.temperature,
                                      .share = model->setup.teacher.share};
    const struct distill_out out = {entry_of(model, f->losses, chunk, 0),
                                    tensor_rows(f->divergences, chunk->first, chunk->count), chunk->dlogits};
    const struct distill_rows rows = {.logits = chunk->logits,
                                      .targets = entry_of(model, f->targets, chunk, 0),
                                      .weights = entry_of(model, f->weights, chunk, 0),
                                      .ids = tensor_rows(f->teacher_ids, chunk->first, chunk->count),
                                      .logps = tensor_rows(f->teacher_logps, chunk->first, chunk->count)};
    vocab_logits(model, model->along, chunk->logits, chunk->rows, w);
    op_distill(model->dev, &out, &rows, &args);
}

/* chunk_backward - of one entry: the head's gradient, and dx, or this rank's terms of it. */
static void chunk_backward(struct model *model, const struct head_chunk *chunk, struct tensor dx,
                           const struct linear *w, int entry) {
    struct tensor dlogits = vocab_dlogits(model, model->along, chunk->dlogits);
    linear_backward(model->dev, dx, dlogits, chunk->rows, w, entry ? OP_ACCUMULATE : OP_OVERWRITE);
}

/* gradients - losses and gradients of each chunk while its logits are at hand: they are never kept for the whole
 * batch. */
static void gradients(struct model *model, struct linear w) {
    bool is_divided = vocab_is_divided(&model->setup);
    for (int64_t first = 0; first < model->flight.num_tokens; first += model->grad_logits.dims[0]) {
        struct head_chunk chunk = head_chunk(model, first, model->grad_logits);
        struct tensor dx = tensor_rows(model->dnorm, first, chunk.count);
        struct tensor partial = is_divided ? joined_partial(model, dx) : dx;
        for (int entry = 0; entry < model->flight.num_entries; entry++) {
            if (model->flight.top_k > 0)
                chunk_distances(model, &chunk, &w);
            else
                chunk_losses(model, &chunk, &w, entry, 1.0f);
            chunk_backward(model, &chunk, partial, &w, entry);
            w.w.write = OP_ACCUMULATE;
        }
        if (is_divided)
            joined_sum(model, model->along, dx);
    }
}

void head_train(struct model *model, struct transport *link) {
    struct params *params = model->params;
    int unit = params_head_unit(params), num_layers = model->setup.config->num_layers;
    head_open(model, link);
    params_prefetch(params, link, num_layers); /* the last layer's, for the backward */
    params_grad_begin(params, unit);
    struct head_weights w = head_weights(model);
    gradients(model, w.matrix);

    struct tensor dx = model_rows(model, model->dx);
    device_zero(model->dev, dx);
    norm_backward(model->dev, dx, model_rows(model, model->dnorm),
                  model_rows(model, model->flight.inputs[num_layers]),
                  flight_stats(&model->flight, model->flight.final_stats), &w.norm);
    if (unit != 0) /* a tied head's gradient waits for the embedding's */
        params_grad_end(params, link, unit);
}

void head_losses(struct model *model, struct transport *link) {
    struct head_weights w = head_open(model, link);
    for (int64_t first = 0; first < model->flight.num_tokens; first += model->logits.dims[0]) {
        struct head_chunk chunk = head_chunk(model, first, model->logits);
        for (int entry = 0; entry < model->flight.num_entries; entry++)
            chunk_losses(model, &chunk, &w.matrix, entry, 0.0f);
    }
}

/* shape_logits - as the loss takes them (struct loss_args), on the host. */
static void shape_logits(const struct model_config *config, float *logits, int64_t count) {
    float scale = family_logit_scale(config), cap = config->logit_softcap;
    for (int64_t i = 0; scale != 1 && i < count; i++)
        logits[i] *= scale;
    for (int64_t i = 0; cap > 0 && i < count; i++)
        logits[i] = cap * tanhf(logits[i] / cap);
}

/* chunk_logits - of the chunk that begins with that row, to the host; returns how many rows those are. */
static int64_t chunk_logits(struct model *model, const struct linear *w, int64_t first, float *out) {
    struct head_chunk chunk = head_chunk(model, first, model->logits);
    vocab_logits(model, model->along, chunk.logits, chunk.rows, w);
    device_download(model->dev, out, chunk.logits);
    shape_logits(model->setup.config, out, tensor_count(chunk.logits));
    return chunk.count;
}

void head_logits(struct model *model, struct transport *link, int64_t first, float *out) {
    struct head_weights w = head_open(model, link);
    for (int64_t count; first < model->flight.num_tokens; first += count) {
        count = chunk_logits(model, &w.matrix, first, out);
        out += count * model->logits.dims[1];
    }
}

void head_visit(struct model *model, struct transport *link, const struct logits_visitor *visitor) {
    struct head_weights w = head_open(model, link);
    float *logits = xmalloc(tensor_bytes(model->logits));
    for (int64_t first = 0, count; first < model->flight.num_tokens; first += count) {
        count = chunk_logits(model, &w.matrix, first, logits);
        visitor->visit(visitor->user, first, count, logits);
    }
    free(logits);
}
