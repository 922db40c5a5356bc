/* timetable.c - the walk of a step: the order of train/model/model.c and of the trainer, over units that are measured and not
 * allocated.  What each unit exchanges is in timetable_moves.c, the list in timetable_events.c. */
#include "train/plan/timetable.h"

#include <stdlib.h>

#include "train/model/kept.h"
#include "train/plan/timetable_walk.h"

/* --- the model --- */

/* exchange_rows - heads of width elements each, all rows of some for some rows of all: train/model/context.c. */
static void exchange_rows(struct walk *walk, int unit, int64_t num_heads) {
    const struct model_setup *model = &walk->layout->model;
    int64_t ranks = model->num_context,
            values = model_own_tokens(model) * num_heads * model->config->head_dim;
    struct walk_start start = {.what = EXCHANGE_ROWS, .axis = EXCHANGE_CONTEXT, .unit = unit};
    if (ranks > 1)
        start.bytes = (ranks - 1) * (values / ranks) * (int64_t)dtype_bytes(model->compute);
    walk_at_once(walk, start);
}

/* attend - queries, keys and values of the rows to those who have the heads, and what attention wrote back. */
static void attend(struct walk *walk, int unit) {
    const struct model_config *config = walk->layout->model.config;
    exchange_rows(walk, unit, config->num_heads + 2 * config->num_kv_heads);
    exchange_rows(walk, unit, config->num_heads);
}

static void forward(struct walk *walk) {
    int num_layers = walk->layout->model.config->num_layers, head = params_head_unit(&walk->params);
    walk->part = PART_FORWARD;
    walk_acquire(walk, 0);
    walk_prefetch(walk, 1);
    walk_compute(walk, 0);
    for (int layer = 0; layer < num_layers; layer++) {
        walk_acquire(walk, 1 + layer);
        walk_prefetch(walk, layer + 1 < num_layers ? 2 + layer : head);
        walk_compute(walk, 1 + layer);
        attend(walk, 1 + layer);
    }
}

/* head - its forward and backward are one. */
static void head(struct walk *walk) {
    int unit = params_head_unit(&walk->params);
    walk->part = PART_BACKWARD;
    walk_acquire(walk, unit);
    walk_prefetch(walk, walk->layout->model.config->num_layers);
    walk_grad_begin(walk, unit);
    walk_compute(walk, unit);
    if (unit != 0)
        walk_grad_end(walk, unit);
}

/* layer_back - the backward of attention is an exchange of its gradients, the other way round. */
static void layer_back(struct walk *walk, int layer, int first_backward) {
    enum recompute recompute = walk->layout->model.recompute;
    const struct model_config *config = walk->layout->model.config;
    int unit = 1 + layer;
    walk_acquire(walk, unit);
    if (layer > first_backward)
        walk_prefetch(walk, layer);
    else if (!walk->is_last)
        walk_prefetch(walk, 0);
    walk_grad_begin(walk, unit);
    walk_compute(walk, unit);
    if (recompute == RECOMPUTE_ATTENTION || recompute == RECOMPUTE_LAYER)
        attend(walk, unit);
    exchange_rows(walk, unit, config->num_heads);
    exchange_rows(walk, unit, config->num_heads + 2 * config->num_kv_heads);
    walk_grad_end(walk, unit);
}

static void backward(struct walk *walk) {
    int first_backward = kept_first(&walk->layout->model);
    for (int layer = walk->layout->model.config->num_layers - 1; layer >= first_backward; layer--)
        layer_back(walk, layer, first_backward);
    walk_grad_begin(walk, 0);
    walk_grad_end(walk, 0);
}

/* step - from one update to the next: the values of the first travel with the forward of its first micro-batch. */
static void step(struct walk *walk, int64_t num_micros) {
    walk->part = PART_FORWARD;
    walk_publish_start(walk);
    for (int u = 0; u < walk->params.num_units; u++)
        walk->units[u] = (struct walk_unit){false, false};
    for (walk->micro = 0; walk->micro < num_micros; walk->micro++) {
        walk->is_last = walk->micro == num_micros - 1;
        forward(walk);
        head(walk);
        backward(walk);
    }
    walk->micro = num_micros - 1;
    walk->part = PART_REDUCE;
    walk_grad_finish(walk);
    walk->part = PART_UPDATE;
    walk_compute(walk, 0);
    walk_update(walk);
}

void timetable_make(struct timetable *table, const struct layout *layout, int64_t num_micros) {
    struct walk walk = {.table = table, .layout = layout};
    *table = (struct timetable){.num_layers = layout->model.config->num_layers};
    params_measure(&walk.params, &layout->params);
    table->head_unit = params_head_unit(&walk.params);
    walk.units = xcalloc((size_t)walk.params.num_units, sizeof *walk.units);
    for (int s = 0; s < SLOT_COUNT; s++) {
        walk_slot_clear(&walk.gathered[s]);
        walk_slot_clear(&walk.gradient[s]);
        walk_slot_clear(&walk.crossing[s]);
    }
    step(&walk, num_micros);
    free(walk.units);
    params_free(&walk.params);
}
