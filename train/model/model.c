/* model.c - the decoder, top to bottom, then bottom to top.  One function per block, one line per operation;
 * the backward of a block is its forward read in reverse.  Weights come from params (gathered where they are
 * sharded) one unit ahead of their use; gradients go back unit by unit.  Memory is in model_memory.c. */
#include "train/model/model.h"

#include <math.h>

#include "train/model/shard.h"

/* The weights of one layer, with their gradients between params_grad_begin and params_grad_end. */
struct layer_weights {
    struct weight norm1, qkv, output, norm2, gate_up, down;
};

static struct layer_weights layer_weights(const struct params *params, int unit) {
    return (struct layer_weights){
        .norm1 = params_weight(params, unit, ROLE_ATTENTION_NORM),
        .qkv = params_fused(params, unit, ROLE_QUERY, ROLE_VALUE),
        .output = params_weight(params, unit, ROLE_OUTPUT),
        .norm2 = params_weight(params, unit, ROLE_MLP_NORM),
        .gate_up = params_fused(params, unit, ROLE_GATE, ROLE_UP),
        .down = params_weight(params, unit, ROLE_DOWN),
    };
}

/* matrix - [N, H, D] seen as [N, H D]. */
static struct tensor matrix(struct tensor t) {
    return tensor_2d(t.data, t.dtype, t.dims[0], tensor_count(t) / t.dims[0]);
}

/* first_rows - a buffer made for the largest batch, cut to this one. */
static struct tensor first_rows(const struct model *model, struct tensor t) {
    return tensor_rows(t, 0, model->num_tokens);
}

static struct layer_acts layer_acts(const struct model *model, int layer) {
    struct layer_acts acts = model->acts[layer];
    struct tensor *all[] = {&acts.norm1,  &acts.rstd1, &acts.qkv,   &acts.attended, &acts.lse,
                            &acts.middle, &acts.norm2, &acts.rstd2, &acts.gate_up,  &acts.hidden};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        *all[i] = first_rows(model, *all[i]);
    return acts;
}

static struct attention_args attention_args(const struct model *model) {
    const struct model_config *c = model->setup.config;
    return (struct attention_args){.num_heads = c->num_heads,
                                   .num_kv_heads = c->num_kv_heads,
                                   .head_dim = c->head_dim,
                                   .scale = 1.0f / sqrtf((float)c->head_dim),
                                   .num_pairs = model->num_pairs};
}

/* rotation_of - of the micro-batch at hand. */
static struct rotation rotation_of(const struct model *model) {
    struct rotation rotation = model->rotation;
    rotation.positions = first_rows(model, rotation.positions);
    return rotation;
}

/* project - queries, keys and values of the normalised rows, rotated. */
static void project(struct model *model, const struct layer_weights *w, struct layer_acts *a) {
    struct rotation rotation = rotation_of(model);
    op_linear_forward(model->dev, matrix(a->qkv), a->norm1, w->qkv.value);
    op_rope_forward(model->dev, a->qkv, &rotation);
}

static void attend(struct model *model, const struct layer_weights *w, struct layer_acts *a) {
    struct attention_args attention = attention_args(model);
    project(model, w, a);
    op_attention_forward(model->dev, a->attended, a->lse, a->qkv, first_rows(model, model->row_start),
                         &attention);
}

/* middle_norm - middle = x + attended W, and its norm. */
static void middle_norm(struct model *model, const struct layer_weights *w, struct layer_acts *a,
                        struct tensor x) {
    struct tensor branch = first_rows(model, model->branch);
    op_linear_forward(model->dev, branch, matrix(a->attended), w->output.value);
    op_add_rmsnorm_forward(model->dev, a->norm2, a->middle, a->rstd2, x, branch, w->norm2.value,
                           model->setup.config->norm_eps);
}

static void expand(struct model *model, const struct layer_weights *w, struct layer_acts *a) {
    op_linear_forward(model->dev, a->gate_up, a->norm2, w->gate_up.value);
    op_glu_forward(model->dev, a->hidden, a->gate_up, GATE_SILU);
}

/* enter - what layer `layer` reads (the final norm: layer L), and its norm.  It is the sum of the previous
 * layer's middle and of its last branch, whose add was left to this pass over memory; the first layer reads
 * the embedding. */
static void enter(struct model *model, struct tensor norm, struct tensor rstd, struct tensor weight,
                  int layer) {
    struct tensor x = first_rows(model, model->inputs[layer]);
    float eps = model->setup.config->norm_eps;
    if (layer == 0) {
        op_rmsnorm_forward(model->dev, norm, rstd, x, weight, eps);
        return;
    }
    struct layer_acts before = layer_acts(model, layer - 1);
    op_add_rmsnorm_forward(model->dev, norm, x, rstd, before.middle, first_rows(model, model->branch), weight,
                           eps);
}

/* after_attention - output projection, residual, and the feed-forward half up to its branch. */
static void after_attention(struct model *model, const struct layer_weights *w, struct layer_acts *a,
                            int layer) {
    middle_norm(model, w, a, first_rows(model, model->inputs[layer]));
    expand(model, w, a);
    op_linear_forward(model->dev, first_rows(model, model->branch), a->hidden, w->down.value);
}

/* layer_forward - out = middle + mlp(norm(middle)), middle = x + attention(norm(x)). */
static void layer_forward(struct model *model, const struct layer_weights *w, int layer) {
    struct layer_acts a = layer_acts(model, layer);
    enter(model, a.norm1, a.rstd1, w->norm1.value, layer);
    attend(model, w, &a);
    after_attention(model, w, &a, layer);
}

/* layer_restore - before the backward of a layer: compute again what was not kept, to the same bits. */
static void layer_restore(struct model *model, const struct layer_weights *w, struct layer_acts *a,
                          struct tensor x) {
    enum recompute recompute = model->setup.recompute;
    float eps = model->setup.config->norm_eps;
    if (recompute == RECOMPUTE_ATTENTION || recompute == RECOMPUTE_LAYER) {
        op_rmsnorm_forward(model->dev, a->norm1, a->rstd1, x, w->norm1.value, eps);
        attend(model, w, a);
    }
    if (recompute == RECOMPUTE_LAYER)
        middle_norm(model, w, a, x);
    else if (recompute == RECOMPUTE_MLP)
        op_rmsnorm_forward(model->dev, a->norm2, a->rstd2, a->middle, w->norm2.value, eps);
    if (recompute == RECOMPUTE_MLP || recompute == RECOMPUTE_LAYER)
        expand(model, w, a);
}

/* weight_backward - the gradient of a product's weight, unless it is frozen. */
static void weight_backward(struct device *dev, const struct weight *w, struct tensor dy, struct tensor x,
                            enum op_write write) {
    if (w->grad.data)
        op_linear_backward_weight(dev, w->grad, dy, x, write);
}

/* layer_backward - dx enters as the gradient of the layer's output and leaves as that of its input.  Each
 * norm adds to it what came through its branch; the residual path needs no operation at all. */
static void layer_backward(struct model *model, const struct layer_weights *w, struct layer_acts *a,
                           struct tensor x) {
    struct device *dev = model->dev;
    struct tensor dx = first_rows(model, model->dx), dnorm = first_rows(model, model->dnorm);
    struct tensor dhidden = first_rows(model, model->dhidden), dgate_up = a->gate_up;
    struct tensor dattended = first_rows(model, model->dattended), dqkv = first_rows(model, model->dqkv);
    struct attention_args attention = attention_args(model);
    struct rotation rotation = rotation_of(model);

    weight_backward(dev, &w->down, dx, a->hidden, w->down.write);
    op_linear_backward_input(dev, dhidden, dx, w->down.value, OP_OVERWRITE);
    op_glu_backward(dev, dgate_up, dhidden, a->gate_up, GATE_SILU);
    weight_backward(dev, &w->gate_up, dgate_up, a->norm2, w->gate_up.write);
    op_linear_backward_input(dev, dnorm, dgate_up, w->gate_up.value, OP_OVERWRITE);
    op_rmsnorm_backward(dev, dx, w->norm2.grad, dnorm, a->middle, w->norm2.value, a->rstd2);

    weight_backward(dev, &w->output, dx, matrix(a->attended), w->output.write);
    op_linear_backward_input(dev, matrix(dattended), dx, w->output.value, OP_OVERWRITE);
    op_attention_backward(dev, dqkv, dattended, a->attended, a->lse, a->qkv,
                          first_rows(model, model->row_start), &attention, &rotation);
    weight_backward(dev, &w->qkv, matrix(dqkv), a->norm1, w->qkv.write);
    op_linear_backward_input(dev, dnorm, matrix(dqkv), w->qkv.value, OP_OVERWRITE);
    op_rmsnorm_backward(dev, dx, w->norm1.grad, dnorm, x, w->norm1.value, a->rstd1);
}

/* check_ids - a corrupt token file must not send a device to memory that is not there. */
static void check_ids(const char *what, const int32_t *ids, const float *weights, int64_t count,
                      int64_t limit) {
    for (int64_t i = 0; i < count; i++)
        CHECK((weights && weights[i] == 0) || (ids[i] >= 0 && ids[i] < limit),
              "%s %lld of the micro-batch is %d, expected 0 to %lld", what, (long long)i, ids[i],
              (long long)limit - 1);
}

/* place_inputs - tokens and positions of a micro-batch on the device. */
static void place_inputs(struct model *model, const struct batch *batch) {
    CHECK(batch->num_tokens <= model->setup.max_tokens,
          "a micro-batch of %lld tokens, the model has room for %lld", (long long)batch->num_tokens,
          (long long)model->setup.max_tokens);
    model->num_tokens = batch->num_tokens;
    check_ids("token", batch->tokens, NULL, batch->num_tokens, model->setup.config->vocab_size);
    check_ids("position", batch->positions, NULL, batch->num_tokens, model->setup.max_positions);
    device_upload(model->dev, first_rows(model, model->tokens), batch->tokens);
    device_upload(model->dev, first_rows(model, model->rotation.positions), batch->positions);
}

/* place_mask - which keys each row sees. */
static void place_mask(struct model *model, const struct batch *batch) {
    model->num_pairs = 0;
    for (int64_t i = 0; i < batch->num_tokens; i++) {
        CHECK(batch->row_start[i] >= 0 && batch->row_start[i] <= i, "row %lld sees keys from %d on",
              (long long)i, batch->row_start[i]);
        model->num_pairs += i - batch->row_start[i] + 1;
    }
    device_upload(model->dev, first_rows(model, model->row_start), batch->row_start);
}

static void place_targets(struct model *model, const struct batch *batch) {
    check_ids("target", batch->targets, batch->weights, batch->num_tokens, model->setup.config->vocab_size);
    device_upload(model->dev, first_rows(model, model->targets), batch->targets);
    device_upload(model->dev, first_rows(model, model->weights), batch->weights);
}

/* embed - what enters the first layer. */
static void embed(struct model *model, struct transport *link) {
    params_acquire(model->params, link, 0);
    params_prefetch(model->params, link, 1);
    op_embedding_forward(model->dev, first_rows(model, model->inputs[0]),
                         params_weight(model->params, 0, ROLE_EMBEDDING).value,
                         first_rows(model, model->tokens));
}

/* stack_forward - embedding and all layers. */
static void stack_forward(struct model *model, struct transport *link) {
    struct params *params = model->params;
    int num_layers = model->setup.config->num_layers;
    embed(model, link);
    for (int layer = 0; layer < num_layers; layer++) {
        params_acquire(params, link, 1 + layer);
        params_prefetch(params, link, layer + 1 < num_layers ? 2 + layer : params_head_unit(params));
        struct layer_weights w = layer_weights(params, 1 + layer);
        layer_forward(model, &w, layer);
    }
}

/* The head's operands: the final norm's weight and the output matrix. */
struct head_weights {
    struct weight norm, matrix;
};

static struct head_weights head_weights(const struct model *model) {
    int unit = params_head_unit(model->params);
    bool tied = model->setup.config->tied_head;
    return (struct head_weights){params_weight(model->params, unit, ROLE_FINAL_NORM),
                                 params_weight(model->params, unit, tied ? ROLE_EMBEDDING : ROLE_HEAD)};
}

/* head_open - the head's weights at hand, and the final norm computed. */
static struct head_weights head_open(struct model *model, struct transport *link) {
    params_acquire(model->params, link, params_head_unit(model->params));
    struct head_weights w = head_weights(model);
    enter(model, first_rows(model, model->final), first_rows(model, model->rstd), w.norm.value,
          model->setup.config->num_layers);
    return w;
}

/* Rows [first, first + count) of the batch, whose logits exist at one time. */
struct head_chunk {
    int64_t first, count;
    struct tensor rows, logits, dlogits;
};

static struct head_chunk head_chunk(struct model *model, int64_t first) {
    int64_t left = model->num_tokens - first, most = model->logits.dims[0];
    int64_t count = left < most ? left : most;
    return (struct head_chunk){first, count, tensor_rows(model->final, first, count),
                               tensor_rows(model->logits, 0, count), tensor_rows(model->dlogits, 0, count)};
}

static void chunk_losses(struct model *model, const struct head_chunk *chunk, struct tensor w,
                         float grad_scale) {
    op_linear_forward(model->dev, chunk->logits, chunk->rows, w);
    op_cross_entropy(model->dev, tensor_rows(model->losses, chunk->first, chunk->count), chunk->dlogits,
                     chunk->logits, tensor_rows(model->targets, chunk->first, chunk->count),
                     tensor_rows(model->weights, chunk->first, chunk->count), grad_scale);
}

/* head_losses - the losses alone. */
static void head_losses(struct model *model, struct tensor w) {
    for (int64_t first = 0; first < model->num_tokens; first += model->logits.dims[0]) {
        struct head_chunk chunk = head_chunk(model, first);
        chunk_losses(model, &chunk, w, 0.0f);
    }
}

/* head_gradients - losses and gradients of each chunk while its logits are at hand: they are never kept for
 * the whole batch. */
static void head_gradients(struct model *model, const struct weight *w, float grad_scale) {
    for (int64_t first = 0; first < model->num_tokens; first += model->logits.dims[0]) {
        struct head_chunk chunk = head_chunk(model, first);
        chunk_losses(model, &chunk, w->value, grad_scale);
        weight_backward(model->dev, w, chunk.dlogits, chunk.rows, first ? OP_ACCUMULATE : w->write);
        op_linear_backward_input(model->dev, tensor_rows(model->dnorm, first, chunk.count), chunk.dlogits,
                                 w->value, OP_OVERWRITE);
    }
}

/* sum_losses - of the micro-batch; the host waits for the device here, and nowhere else in a micro-batch. */
static double sum_losses(struct model *model) {
    device_download(model->dev, model->host_losses, first_rows(model, model->losses));
    double sum = 0;
    for (int64_t i = 0; i < model->num_tokens; i++)
        sum += (double)model->host_losses[i];
    return sum;
}

/* head_train - losses and gradient of the head; leaves the gradient of the stack's output in dx. */
static void head_train(struct model *model, struct transport *link, float grad_scale) {
    struct params *params = model->params;
    int unit = params_head_unit(params), num_layers = model->setup.config->num_layers;
    head_open(model, link);
    params_prefetch(params, link, num_layers); /* the last layer's, for the backward */
    params_grad_begin(params, link, unit);
    struct head_weights w = head_weights(model);
    head_gradients(model, &w.matrix, grad_scale);

    struct tensor dx = first_rows(model, model->dx);
    device_zero(model->dev, dx);
    op_rmsnorm_backward(model->dev, dx, w.norm.grad, first_rows(model, model->dnorm),
                        first_rows(model, model->inputs[num_layers]), w.norm.value,
                        first_rows(model, model->rstd));
    if (unit != 0) /* a tied head's gradient waits for the embedding's */
        params_grad_end(params, link, unit);
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
        struct layer_weights w = layer_weights(params, unit);
        struct layer_acts a = layer_acts(model, layer);
        struct tensor x = first_rows(model, model->inputs[layer]);
        layer_restore(model, &w, &a, x);
        layer_backward(model, &w, &a, x);
        params_grad_end(params, link, unit);
    }
    params_grad_begin(params, link, 0);
    struct tensor dembedding = params_weight(params, 0, ROLE_EMBEDDING).grad;
    if (dembedding.data)
        op_embedding_backward(model->dev, dembedding, first_rows(model, model->dx),
                              first_rows(model, model->tokens));
    params_grad_end(params, link, 0);
}

double model_train(struct model *model, struct transport *link, const struct batch *batch, float grad_scale) {
    CHECK(grad_scale > 0, "a gradient scaled by %g",
          (double)grad_scale); /* 0 asks the loss for no gradient */
    place_inputs(model, batch);
    place_mask(model, batch);
    place_targets(model, batch);
    model->dev->section = SECTION_FORWARD;
    stack_forward(model, link);
    model->dev->section = SECTION_BACKWARD;
    head_train(model, link, grad_scale);
    stack_backward(model, link);
    model->dev->section = SECTION_OTHER;
    return sum_losses(model);
}

double model_evaluate(struct model *model, struct transport *link, const struct batch *batch) {
    place_inputs(model, batch);
    place_mask(model, batch);
    place_targets(model, batch);
    stack_forward(model, link);
    head_losses(model, head_open(model, link).matrix.value);
    return sum_losses(model);
}

/* fetch_logits - of rows [first, num_tokens) to the host, a chunk at a time. */
static void fetch_logits(struct model *model, struct tensor w, int64_t first, float *out) {
    for (; first < model->num_tokens; first += model->logits.dims[0]) {
        struct head_chunk chunk = head_chunk(model, first);
        op_linear_forward(model->dev, chunk.logits, chunk.rows, w);
        device_download(model->dev, out, chunk.logits);
        out += tensor_count(chunk.logits);
    }
}

void model_logits(struct model *model, struct transport *link, const struct batch *batch, float *out) {
    place_inputs(model, batch);
    place_mask(model, batch);
    stack_forward(model, link);
    fetch_logits(model, head_open(model, link).matrix.value, 0, out);
}

void model_decode(struct model *model, const struct kv_cache *cache, const struct batch *batch, int64_t past,
                  float *logits) {
    struct params *params = model->params;
    struct attention_args attention = attention_args(model);
    place_inputs(model, batch);
    embed(model, NULL);
    for (int layer = 0; layer < model->setup.config->num_layers; layer++) {
        params_acquire(params, NULL, 1 + layer);
        struct layer_weights w = layer_weights(params, 1 + layer);
        struct layer_acts a = layer_acts(model, layer);
        enter(model, a.norm1, a.rstd1, w.norm1.value, layer);
        project(model, &w, &a);
        op_attention_cached(model->dev, a.attended, a.qkv, cache[layer].k, cache[layer].v, past, &attention);
        after_attention(model, &w, &a, layer);
    }
    fetch_logits(model, head_open(model, NULL).matrix.value, model->num_tokens - 1, logits);
}
