/* timetable_rows.c - the exchanges of rows in the middle of a pass, by ranks that share texts and by ranks that divide tensors or experts: function by
 * function those of train/model/layer.c and heads.c, vocab.c and head.c. */
#include "train/model/experts.h"
#include "train/model/joined.h"
#include "train/model/kept.h"
#include "train/model/vocab.h"
#include "train/plan/timetable_walk.h"

/* exchange_heads - heads of a rank's part of the tensors, all rows of some for some rows of all: train/model/context.c.
 * It is the most: where texts are short or windows narrow, neighbours exchange less (train/model/halo.h), which no timetable knows. */
static void exchange_heads(struct walk *walk, int unit, int64_t num_heads) {
    const struct model_setup *model = &walk->layout->model;
    int64_t ranks = model->num_context,
            values = model_joined_tokens(model) * num_heads * model->config->head_dim;
    struct walk_start start = {.what = EXCHANGE_ROWS, .axis = EXCHANGE_CONTEXT, .unit = unit};
    if (ranks > 1)
        start.bytes = (ranks - 1) * (values / ranks) * (int64_t)dtype_bytes(model->compute);
    walk_at_once(walk, start);
}

/* exchange_qkv, exchange_attended - queries, keys and values of the rows to those who have the heads, what attention wrote back;
 * their gradients go the other way. */
static void exchange_qkv(struct walk *walk, int unit) {
    struct layer_part part = joined_part(&walk->layout->model);
    exchange_heads(walk, unit, part.num_heads + 2 * part.num_kv_heads);
}

static void exchange_attended(struct walk *walk, int unit) {
    exchange_heads(walk, unit, joined_part(&walk->layout->model).num_heads);
}

/* along - that many bytes to every other rank that divides tensors with this one. */
static void along(struct walk *walk, int unit, enum exchange_kind what, int64_t bytes_each) {
    struct walk_start start = {.what = what, .axis = EXCHANGE_TENSOR, .unit = unit};
    int ranks = walk->layout->model.tensor.size;
    if (ranks > 1)
        start.bytes = (ranks - 1) * bytes_each;
    walk_at_once(walk, start);
}

/* row_bytes - of the residual stream. */
static int64_t row_bytes(const struct model_setup *model) {
    return model->config->width * (int64_t)dtype_bytes(model->compute);
}

/* own_rows - all of this rank. */
static void own_rows(struct walk *walk, int unit, enum exchange_kind what) {
    const struct model_setup *model = &walk->layout->model;
    along(walk, unit, what, model_own_tokens(model) * row_bytes(model));
}

static void attend(struct walk *walk, int unit) {
    own_rows(walk, unit, EXCHANGE_JOINED);
    exchange_qkv(walk, unit);
    exchange_attended(walk, unit);
}

/* route - so many times between a row's own rank and that of its expert, where ranks divide experts and the layer has some: of N K rows
 * as many to each. */
static void route(struct walk *walk, int unit, int times) {
    const struct model_setup *model = &walk->layout->model;
    struct layer_plan plan = family_layer_plan(model->config, unit - 1);
    struct walk_start start = {.what = EXCHANGE_ROUTED, .axis = EXCHANGE_EXPERT, .unit = unit};
    int64_t ranks = model->experts.size, rows = model_own_tokens(model) * plan.route.num_chosen;
    if (ranks <= 1 || plan.ffn != FFN_EXPERTS)
        return;
    start.bytes = (ranks - 1) * (rows / ranks) * row_bytes(model);
    for (int i = 0; i < times; i++)
        walk_at_once(walk, start);
}

void walk_layer_forward(struct walk *walk, int unit) {
    attend(walk, unit);
    own_rows(walk, unit, EXCHANGE_TERMS);
    own_rows(walk, unit, EXCHANGE_JOINED);
    route(walk, unit, 2);
    own_rows(walk, unit, EXCHANGE_TERMS);
}

/* restore - the output of the feed-forward is a norm's input, or nobody reads it again. */
static void restore(struct walk *walk, int unit, const struct layer_plan *plan) {
    enum recompute recompute = walk->layout->model.recompute;
    if (recompute == RECOMPUTE_ATTENTION || recompute == RECOMPUTE_LAYER)
        attend(walk, unit);
    if (recompute == RECOMPUTE_LAYER)
        own_rows(walk, unit, EXCHANGE_TERMS);
    if (recompute == RECOMPUTE_FFN || recompute == RECOMPUTE_LAYER) {
        own_rows(walk, unit, EXCHANGE_JOINED);
        route(walk, unit, 2);
        if (plan->place != NORM_PRE)
            own_rows(walk, unit, EXCHANGE_TERMS);
    }
}

/* What a product read is joined again where its matrix learns from it. */
void walk_layer_backward(struct walk *walk, int unit) {
    const struct model_setup *model = &walk->layout->model;
    struct layer_plan plan = family_layer_plan(model->config, unit - 1);
    unsigned kept = kept_of(model, unit - 1);
    bool is_normed = plan.place != NORM_POST;
    restore(walk, unit, &plan);
    own_rows(walk, unit, EXCHANGE_JOINED);
    if (kept & (is_normed ? KEPT_NORM2 : KEPT_MIDDLE))
        own_rows(walk, unit, EXCHANGE_JOINED);
    route(walk, unit, experts_learn(model->config, unit - 1) ? 3 : 2);
    own_rows(walk, unit, EXCHANGE_TERMS);
    own_rows(walk, unit, EXCHANGE_JOINED);
    exchange_attended(walk, unit);
    exchange_qkv(walk, unit);
    if (kept & (is_normed ? KEPT_NORM1 : KEPT_INPUT))
        own_rows(walk, unit, EXCHANGE_JOINED);
    own_rows(walk, unit, EXCHANGE_TERMS);
}

void walk_look_up(struct walk *walk) {
    if (vocab_is_divided(&walk->layout->model))
        own_rows(walk, 0, EXCHANGE_ROWS);
}

void walk_look_up_backward(struct walk *walk) {
    const struct model_setup *model = &walk->layout->model;
    if (vocab_is_divided(model) && param_is_trained(model->config, ROLE_EMBEDDING))
        own_rows(walk, 0, EXCHANGE_JOINED);
}

/* head_chunk - of so many rows; logits are f32, and computed for each entry of the objective. */
static void head_chunk(struct walk *walk, int unit, int64_t num_rows) {
    const struct model_setup *model = &walk->layout->model;
    int64_t piece_count = num_rows * model->config->vocab_size / model->tensor.size;
    int num_entries = model->objective.kind ? model->objective.kind->num_entries : 1;
    along(walk, unit, EXCHANGE_JOINED, num_rows * row_bytes(model));
    for (int entry = 0; entry < num_entries; entry++) {
        along(walk, unit, EXCHANGE_LOGITS, piece_count * (int64_t)sizeof(float));
        along(walk, unit, EXCHANGE_LOGITS, piece_count * (int64_t)dtype_bytes(model->compute));
    }
    along(walk, unit, EXCHANGE_TERMS, num_rows * row_bytes(model));
}

void walk_head(struct walk *walk, int unit) {
    const struct model_setup *model = &walk->layout->model;
    int64_t own = model_own_tokens(model), most = model_head_rows(model);
    for (int64_t first = 0; vocab_is_divided(model) && first < own; first += most)
        head_chunk(walk, unit, own - first < most ? own - first : most);
}
