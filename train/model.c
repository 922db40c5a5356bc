/* model.c - the decoder, top to bottom, then bottom to top.  One function per block, one line per operation;
 * the backward of a block is its forward read in reverse.  Weights come from params (gathered where they are
 * sharded) one unit ahead of their use; gradients go back unit by unit.  Memory is in model_memory.c. */
#include "train/model.h"

#include <math.h>

#include "train/clock.h"
#include "train/shard.h"

/* The weights of one layer, and their gradients where there are any. */
struct layer_weights {
    struct tensor norm1, qkv, output, norm2, gate_up, down;
};

static struct layer_weights layer_weights(const struct params *params, int unit, void *data,
                                          enum dtype dtype) {
    return (struct layer_weights){
        .norm1 = params_tensor(params, unit, ROLE_ATTENTION_NORM, data, dtype),
        .qkv = params_fused(params, unit, ROLE_QUERY, ROLE_VALUE, data, dtype),
        .output = params_tensor(params, unit, ROLE_OUTPUT, data, dtype),
        .norm2 = params_tensor(params, unit, ROLE_MLP_NORM, data, dtype),
        .gate_up = params_fused(params, unit, ROLE_GATE, ROLE_UP, data, dtype),
        .down = params_tensor(params, unit, ROLE_DOWN, data, dtype),
    };
}

/* matrix - [N, H, D] seen as [N, H D]. */
static struct tensor matrix(struct tensor t) {
    return tensor_2d(t.data, t.dtype, t.dims[0], tensor_count(t) / t.dims[0]);
}

/* first_rows - a buffer made for the largest batch, cut to this one. */
static struct tensor first_rows(struct tensor t, const struct batch *batch) {
    return tensor_rows(t, 0, batch->num_tokens);
}

static struct layer_acts layer_acts(const struct model *model, const struct batch *batch, int layer) {
    struct layer_acts acts = model->acts[model->setup.recompute == RECOMPUTE_NONE ? layer : 0];
    struct tensor *all[] = {&acts.norm1,  &acts.rrms1, &acts.qkv,   &acts.attended, &acts.lse,
                            &acts.middle, &acts.norm2, &acts.rrms2, &acts.gate_up,  &acts.hidden};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        *all[i] = first_rows(*all[i], batch);
    return acts;
}

static struct tensor ints(int32_t *values, const struct batch *batch) {
    return tensor_1d(values, DTYPE_I32, batch->num_tokens);
}

static struct attention_args attention_args(const struct model_config *c) {
    return (struct attention_args){c->num_heads, c->num_kv_heads, c->head_dim,
                                   1.0f / sqrtf((float)c->head_dim)};
}

/* attention_input - queries, keys and values of the normalised rows, rotated. */
static void attention_input(struct model *model, const struct batch *batch, const struct layer_weights *w,
                            struct layer_acts *a, struct tensor x) {
    const struct model_config *c = model->setup.config;
    op_rmsnorm_forward(model->dev, a->norm1, a->rrms1, x, w->norm1, c->norm_eps);
    op_linear_forward(model->dev, matrix(a->qkv), a->norm1, w->qkv);
    op_rope_forward(model->dev, a->qkv, model->cos, model->sin, ints(batch->positions, batch),
                    c->num_heads + c->num_kv_heads);
}

/* after_attention - output projection, residual, and the whole feed-forward half. */
static void after_attention(struct model *model, const struct batch *batch, const struct layer_weights *w,
                            struct layer_acts *a, struct tensor x_out, struct tensor x) {
    struct device *dev = model->dev;
    struct tensor branch = first_rows(model->branch, batch);
    op_linear_forward(dev, branch, matrix(a->attended), w->output);
    op_add(dev, a->middle, x, branch);

    op_rmsnorm_forward(dev, a->norm2, a->rrms2, a->middle, w->norm2, model->setup.config->norm_eps);
    op_linear_forward(dev, a->gate_up, a->norm2, w->gate_up);
    op_swiglu_forward(dev, a->hidden, a->gate_up);
    op_linear_forward(dev, branch, a->hidden, w->down);
    op_add(dev, x_out, a->middle, branch);
}

/* layer_forward - x_out = middle + mlp(norm(middle)), middle = x + attention(norm(x)). */
static void layer_forward(struct model *model, const struct batch *batch, const struct layer_weights *w,
                          struct layer_acts *a, struct tensor x_out, struct tensor x) {
    struct attention_args attention = attention_args(model->setup.config);
    attention_input(model, batch, w, a, x);
    op_attention_forward(model->dev, a->attended, a->lse, a->qkv, ints(batch->row_start, batch), &attention);
    after_attention(model, batch, w, a, x_out, x);
}

/* layer_backward - dx enters as the gradient of x_out and leaves as that of x.  Each norm adds to it what
 * came through its branch; the residual path needs no operation at all. */
static void layer_backward(struct model *model, const struct batch *batch, const struct layer_weights *w,
                           const struct layer_weights *dw, struct layer_acts *a, struct tensor x) {
    const struct model_config *c = model->setup.config;
    struct device *dev = model->dev;
    struct tensor dx = first_rows(model->dx, batch), dnorm = first_rows(model->dnorm, batch);
    struct tensor dhidden = first_rows(model->dhidden, batch), dgate_up = a->gate_up;
    struct tensor dattended = first_rows(model->dattended, batch), dqkv = first_rows(model->dqkv, batch);
    struct attention_args attention = attention_args(c);

    op_linear_backward_weight(dev, dw->down, dx, a->hidden);
    op_linear_backward_input(dev, dhidden, dx, w->down, OP_OVERWRITE);
    op_swiglu_backward(dev, dgate_up, dhidden, a->gate_up);
    op_linear_backward_weight(dev, dw->gate_up, dgate_up, a->norm2);
    op_linear_backward_input(dev, dnorm, dgate_up, w->gate_up, OP_OVERWRITE);
    op_rmsnorm_backward(dev, dx, dw->norm2, dnorm, a->middle, w->norm2, a->rrms2);

    op_linear_backward_weight(dev, dw->output, dx, matrix(a->attended));
    op_linear_backward_input(dev, matrix(dattended), dx, w->output, OP_OVERWRITE);
    op_attention_backward(dev, dqkv, dattended, a->attended, a->lse, a->qkv, ints(batch->row_start, batch),
                          &attention);
    op_rope_backward(dev, dqkv, model->cos, model->sin, ints(batch->positions, batch),
                     c->num_heads + c->num_kv_heads);
    op_linear_backward_weight(dev, dw->qkv, matrix(dqkv), a->norm1);
    op_linear_backward_input(dev, dnorm, matrix(dqkv), w->qkv, OP_OVERWRITE);
    op_rmsnorm_backward(dev, dx, dw->norm1, dnorm, x, w->norm1, a->rrms1);
}

static struct tensor embedding_of(const struct model *model, int unit, void *data, enum dtype dtype) {
    bool tied = model->setup.config->tied_head;
    return params_tensor(model->params, unit, tied || unit == 0 ? ROLE_EMBEDDING : ROLE_HEAD, data, dtype);
}

/* stack_forward - embedding and all layers: fills inputs[0 .. L]. */
static void stack_forward(struct model *model, struct comm *comm, const struct batch *batch) {
    struct params *params = model->params;
    int num_layers = model->setup.config->num_layers;
    enum dtype compute = model->setup.compute;

    void *data = params_acquire(params, comm, 0);
    params_prefetch(params, comm, 1);
    op_embedding_forward(model->dev, first_rows(model->inputs[0], batch),
                         embedding_of(model, 0, data, compute), ints(batch->tokens, batch));
    for (int layer = 0; layer < num_layers; layer++) {
        data = params_acquire(params, comm, 1 + layer);
        params_prefetch(params, comm, layer + 1 < num_layers ? 2 + layer : params_head_unit(params));
        struct layer_weights w = layer_weights(params, 1 + layer, data, compute);
        struct layer_acts a = layer_acts(model, batch, layer);
        layer_forward(model, batch, &w, &a, first_rows(model->inputs[layer + 1], batch),
                      first_rows(model->inputs[layer], batch));
    }
}

/* The head's operands: the final norm's weight and the output matrix, in the gathered unit. */
struct head_weights {
    struct tensor norm, matrix;
};

static struct head_weights head_weights(const struct model *model, void *data, enum dtype dtype) {
    int unit = params_head_unit(model->params);
    return (struct head_weights){params_tensor(model->params, unit, ROLE_FINAL_NORM, data, dtype),
                                 embedding_of(model, unit, data, dtype)};
}

static void head_norm(struct model *model, const struct batch *batch, const struct head_weights *w) {
    op_rmsnorm_forward(model->dev, first_rows(model->final, batch), first_rows(model->rrms, batch),
                       first_rows(model->inputs[model->setup.config->num_layers], batch), w->norm,
                       model->setup.config->norm_eps);
}

/* head_chunk - losses of one chunk of rows; with a gradient (dw not NULL) also its backward, while the logits
 * are at hand: they are never kept for the whole batch. */
static void head_chunk(struct model *model, const struct batch *batch, const struct head_weights *w,
                       const struct head_weights *dw, int64_t first, int64_t count, float grad_scale) {
    struct device *dev = model->dev;
    struct tensor rows = tensor_rows(model->final, first, count),
                  logits = tensor_rows(model->logits, 0, count);
    op_linear_forward(dev, logits, rows, w->matrix);
    op_cross_entropy(dev, tensor_rows(model->losses, first, count), logits,
                     tensor_1d(batch->targets + first, DTYPE_I32, count),
                     tensor_1d(batch->weights + first, DTYPE_F32, count), grad_scale);
    if (!dw)
        return;
    struct tensor dlogits = tensor_rows(model->dlogits, 0, count);
    if (dlogits.dtype != logits.dtype)
        op_cast(dev, dlogits, logits);
    op_linear_backward_weight(dev, dw->matrix, dlogits, rows);
    op_linear_backward_input(dev, tensor_rows(model->dnorm, first, count), dlogits, w->matrix, OP_OVERWRITE);
}

/* head_losses - all chunks; returns the sum of the losses. */
static double head_losses(struct model *model, const struct batch *batch, const struct head_weights *w,
                          const struct head_weights *dw, float grad_scale) {
    int64_t chunk = model->logits.dims[0];
    for (int64_t first = 0; first < batch->num_tokens; first += chunk) {
        int64_t left = batch->num_tokens - first;
        head_chunk(model, batch, w, dw, first, left < chunk ? left : chunk, grad_scale);
    }
    const float *losses = model->losses.data;
    double sum = 0;
    for (int64_t i = 0; i < batch->num_tokens; i++)
        sum += (double)losses[i];
    return sum;
}

/* head_train - loss and gradient of the head; leaves the gradient of the stack's output in dx. */
static double head_train(struct model *model, struct comm *comm, const struct batch *batch,
                         float grad_scale) {
    struct params *params = model->params;
    int unit = params_head_unit(params);
    struct head_weights w = head_weights(model, params_acquire(params, comm, unit), model->setup.compute);
    params_prefetch(params, comm, model->setup.config->num_layers); /* the last layer's, for the backward */
    struct head_weights dw = head_weights(model, params_grad_begin(params, comm, unit), DTYPE_F32);
    head_norm(model, batch, &w);
    double loss = head_losses(model, batch, &w, &dw, grad_scale);

    struct tensor dx = first_rows(model->dx, batch);
    tensor_zero(dx);
    op_rmsnorm_backward(model->dev, dx, dw.norm, first_rows(model->dnorm, batch),
                        first_rows(model->inputs[model->setup.config->num_layers], batch), w.norm,
                        first_rows(model->rrms, batch));
    if (unit != 0) /* a tied head's gradient waits for the embedding's */
        params_grad_end(params, comm, unit);
    return loss;
}

/* stack_backward - all layers and the embedding, from the gradient in dx. */
static void stack_backward(struct model *model, struct comm *comm, const struct batch *batch) {
    struct params *params = model->params;
    enum dtype compute = model->setup.compute;
    for (int layer = model->setup.config->num_layers - 1; layer >= 0; layer--) {
        int unit = 1 + layer;
        void *data = params_acquire(params, comm, unit);
        if (layer > 0)
            params_prefetch(params, comm, unit - 1);
        struct layer_weights w = layer_weights(params, unit, data, compute);
        struct layer_weights dw =
            layer_weights(params, unit, params_grad_begin(params, comm, unit), DTYPE_F32);
        struct layer_acts a = layer_acts(model, batch, layer);
        struct tensor x = first_rows(model->inputs[layer], batch);
        if (model->setup.recompute == RECOMPUTE_LAYER)
            layer_forward(model, batch, &w, &a, first_rows(model->inputs[layer + 1], batch), x);
        layer_backward(model, batch, &w, &dw, &a, x);
        params_grad_end(params, comm, unit);
    }
    void *grad = params_grad_begin(params, comm, 0);
    op_embedding_backward(model->dev, params_tensor(params, 0, ROLE_EMBEDDING, grad, DTYPE_F32),
                          first_rows(model->dx, batch), ints(batch->tokens, batch));
    params_grad_end(params, comm, 0);
}

/* busy_s - a clock that stands still while transfers are waited for. */
static double busy_s(const struct model *model) {
    return clock_s() - model->params->comm_s;
}

double model_train(struct model *model, struct comm *comm, const struct batch *batch, float grad_scale) {
    CHECK(grad_scale > 0, "a gradient scaled by %g",
          (double)grad_scale); /* 0 asks the loss for no gradient */
    double start = busy_s(model);
    stack_forward(model, comm, batch);
    double turn = busy_s(model);
    double loss = head_train(model, comm, batch, grad_scale);
    stack_backward(model, comm, batch);
    model->forward_s += turn - start;
    model->backward_s += busy_s(model) - turn;
    return loss;
}

double model_evaluate(struct model *model, struct comm *comm, const struct batch *batch) {
    stack_forward(model, comm, batch);
    void *data = params_acquire(model->params, comm, params_head_unit(model->params));
    struct head_weights w = head_weights(model, data, model->setup.compute);
    head_norm(model, batch, &w);
    return head_losses(model, batch, &w, NULL, 0.0f);
}

void model_logits(struct model *model, struct comm *comm, const struct batch *batch, float *out) {
    stack_forward(model, comm, batch);
    void *data = params_acquire(model->params, comm, params_head_unit(model->params));
    struct head_weights w = head_weights(model, data, model->setup.compute);
    head_norm(model, batch, &w);
    op_linear_forward(model->dev,
                      tensor_2d(out, DTYPE_F32, batch->num_tokens, model->setup.config->vocab_size),
                      first_rows(model->final, batch), w.matrix);
}

void model_decode(struct model *model, const struct kv_cache *cache, const struct batch *batch, int64_t past,
                  float *logits) {
    struct params *params = model->params;
    enum dtype compute = model->setup.compute;
    struct attention_args attention = attention_args(model->setup.config);
    void *data = params_acquire(params, NULL, 0);
    op_embedding_forward(model->dev, first_rows(model->inputs[0], batch),
                         embedding_of(model, 0, data, compute), ints(batch->tokens, batch));
    for (int layer = 0; layer < model->setup.config->num_layers; layer++) {
        struct layer_weights w =
            layer_weights(params, 1 + layer, params_acquire(params, NULL, 1 + layer), compute);
        struct layer_acts a = layer_acts(model, batch, layer);
        struct tensor x = first_rows(model->inputs[layer], batch);
        attention_input(model, batch, &w, &a, x);
        op_attention_cached(model->dev, a.attended, a.qkv, cache[layer].k, cache[layer].v, past, &attention);
        after_attention(model, batch, &w, &a, first_rows(model->inputs[layer + 1], batch), x);
    }
    struct head_weights w =
        head_weights(model, params_acquire(params, NULL, params_head_unit(params)), compute);
    head_norm(model, batch, &w);
    op_linear_forward(model->dev, tensor_2d(logits, DTYPE_F32, 1, model->setup.config->vocab_size),
                      tensor_rows(model->final, batch->num_tokens - 1, 1), w.matrix);
}
