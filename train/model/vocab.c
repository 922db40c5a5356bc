/* vocab.c - see vocab.h. */
#include "train/model/vocab.h"

#include <stdlib.h>

#include "train/model/exchange.h"
#include "train/model/joined.h"

bool vocab_is_divided(const struct model_setup *setup) {
    return setup->tensor.size > 1 && setup->config->vocab_size % setup->tensor.size == 0;
}

static int64_t run_count(const struct model_setup *setup) {
    return setup->config->vocab_size / setup->tensor.size;
}

void vocab_take(struct model *model, int64_t chunk_rows) {
    struct vocab *v = &model->vocab;
    int64_t joined = model_joined_tokens(&model->setup), ranks = model->setup.tensor.size;
    if (!vocab_is_divided(&model->setup))
        return;
    v->asked = arena_take_1d(&model->arena, DTYPE_I32, joined);
    v->picked = arena_take_1d(&model->arena, DTYPE_I32, model_own_tokens(&model->setup));
    v->own_rows = arena_take_1d(&model->arena, DTYPE_I32, joined);
    v->own_ids = arena_take_1d(&model->arena, DTYPE_I32, joined);
    v->logits = arena_take_2d(&model->arena, DTYPE_F32, chunk_rows * ranks, run_count(&model->setup));
    v->pieces = arena_take_2d(&model->arena, DTYPE_F32, chunk_rows * ranks, run_count(&model->setup));
}

/* upload - the first of a list, where there are some. */
static void upload(struct model *model, struct tensor list, const int32_t *ids, int64_t count) {
    if (count > 0)
        device_upload(model->dev, tensor_rows(list, 0, count), ids);
}

void vocab_place(struct model *model, const struct batch *batch) {
    struct vocab *v = &model->vocab;
    const struct flight *f = &model->flight;
    if (!vocab_is_divided(&model->setup))
        return;
    int64_t run = run_count(&model->setup), first = f->tensor_rank * run;
    const int32_t *tokens = batch->tokens + f->context_rank * f->num_joined;
    int32_t *asked = xcalloc((size_t)(3 * f->num_joined + f->num_tokens), sizeof *asked);
    int32_t *rows = asked + f->num_joined, *ids = rows + f->num_joined, *picked = ids + f->num_joined;
    v->num_own = 0;
    for (int64_t i = 0; i < f->num_joined; i++) {
        bool is_own = tokens[i] / run == f->tensor_rank;
        asked[i] = is_own ? (int32_t)(tokens[i] - first) : 0;
        if (!is_own)
            continue;
        rows[v->num_own] = (int32_t)i;
        ids[v->num_own++] = asked[i];
    }
    for (int64_t i = 0; i < f->num_tokens; i++)
        picked[i] = (int32_t)(tokens[f->tensor_rank * f->num_tokens + i] / run * f->num_tokens + i);
    upload(model, v->asked, asked, f->num_joined);
    upload(model, v->own_rows, rows, v->num_own);
    upload(model, v->own_ids, ids, v->num_own);
    upload(model, v->picked, picked, f->num_tokens);
    free(asked);
}

void vocab_look_up(struct model *model, struct transport *along, struct tensor rows) {
    struct weight w = params_weight(model->params, 0, ROLE_EMBEDDING);
    struct tensor sent = joined_rows(model, model->partial), received = joined_rows(model, model->joined);
    op_embedding_forward(model->dev, sent, w.value, joined_rows(model, model->vocab.asked));
    exchange_pieces(along, model->setup.tensor.size, received.data, sent.data, tensor_bytes(rows));
    op_embedding_forward(model->dev, rows, received, flight_rows(&model->flight, model->vocab.picked));
}

/* In the order of the rows, as one rank would add them. */
void vocab_add_gradients(struct model *model, struct transport *along, struct tensor dembedding,
                         struct tensor drows) {
    const struct vocab *v = &model->vocab;
    struct tensor joined = joined_gather(model, along, drows),
                  own = tensor_rows(model->partial, 0, v->num_own);
    if (v->num_own == 0)
        return;
    op_embedding_forward(model->dev, own, joined, tensor_rows(v->own_rows, 0, v->num_own));
    op_embedding_backward(model->dev, dembedding, own, tensor_rows(v->own_ids, 0, v->num_own));
}

struct tensor vocab_rows(struct model *model, struct transport *along, struct tensor rows) {
    return vocab_is_divided(&model->setup) ? joined_gather(model, along, rows) : rows;
}

/* piece - of rank r: M rows of its run, in a buffer of all ranks' pieces. */
static struct tensor piece(struct tensor pieces, enum dtype dtype, int64_t num_rows, int r) {
    int64_t width = pieces.dims[1], at = r * num_rows * width;
    return tensor_2d((char *)pieces.data + (size_t)at * dtype_bytes(dtype), dtype, num_rows, width);
}

void vocab_logits(struct model *model, struct transport *along, struct tensor logits, struct tensor rows,
                  const struct linear *w) {
    const struct vocab *v = &model->vocab;
    int ranks = model->setup.tensor.size;
    if (!vocab_is_divided(&model->setup)) {
        linear_forward(model->dev, logits, rows, w);
        return;
    }
    struct tensor own_run = tensor_rows(v->logits, 0, rows.dims[0]);
    linear_forward(model->dev, own_run, rows, w);
    exchange_pieces(along, ranks, v->pieces.data, own_run.data, tensor_bytes(logits) / (size_t)ranks);
    for (int r = 0; r < ranks; r++) {
        struct column_args columns = {
            .first = r * run_count(&model->setup), .scale = 1, .write = OP_OVERWRITE};
        op_put_columns(model->dev, logits, piece(v->pieces, DTYPE_F32, logits.dims[0], r), &columns);
    }
}

struct tensor vocab_dlogits(struct model *model, struct transport *along, struct tensor dlogits) {
    const struct vocab *v = &model->vocab;
    int ranks = model->setup.tensor.size;
    if (!vocab_is_divided(&model->setup))
        return dlogits;
    for (int r = 0; r < ranks; r++) {
        struct column_args columns = {
            .first = r * run_count(&model->setup), .scale = 1, .write = OP_OVERWRITE};
        op_take_columns(model->dev, piece(v->pieces, dlogits.dtype, dlogits.dims[0], r), dlogits, &columns);
    }
    exchange_pieces(along, ranks, v->logits.data, v->pieces.data, tensor_bytes(dlogits) / (size_t)ranks);
    return tensor_2d(v->logits.data, dlogits.dtype, dlogits.dims[0] * ranks, v->logits.dims[1]);
}
