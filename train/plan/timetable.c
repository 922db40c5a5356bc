/* timetable.c - the walk of a step: the order of train/model/model.c and of the trainer, over units that are measured and not
 * allocated.  What each unit exchanges is in timetable_moves.c, rows in the middle of a pass in timetable_rows.c, the list in
 * timetable_events.c. */
#include "train/plan/timetable.h"

#include <stdlib.h>

#include "train/model/kept.h"
#include "train/plan/timetable_walk.h"

/* --- the model --- */

static void forward(struct walk *walk) {
    int num_layers = walk->layout->model.config->num_layers, head = params_head_unit(&walk->params);
    walk->part = PART_FORWARD;
    for (int unit = 0; unit < params_num_first(&walk->params); unit++)
        walk_prefetch(walk, unit);
    walk_acquire(walk, 0);
    walk_prefetch(walk, 1);
    walk_compute(walk, 0);
    walk_look_up(walk);
    for (int layer = 0; layer < num_layers; layer++) {
        walk_acquire(walk, 1 + layer);
        walk_prefetch(walk, layer + 1 < num_layers ? 2 + layer : head);
        walk_compute(walk, 1 + layer);
        walk_layer_forward(walk, 1 + layer);
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
    walk_head(walk, unit);
    if (unit != 0)
        walk_grad_end(walk, unit);
}

static void layer_back(struct walk *walk, int layer, int first_backward) {
    int unit = 1 + layer;
    walk_acquire(walk, unit);
    if (layer > first_backward)
        walk_prefetch(walk, layer);
    else if (!walk->is_last)
        walk_prefetch(walk, 0);
    walk_grad_begin(walk, unit);
    walk_compute(walk, unit);
    walk_layer_backward(walk, unit);
    walk_grad_end(walk, unit);
}

static void backward(struct walk *walk) {
    int first_backward = kept_first(&walk->layout->model);
    for (int layer = walk->layout->model.config->num_layers - 1; layer >= first_backward; layer--)
        layer_back(walk, layer, first_backward);
    walk_grad_begin(walk, 0);
    walk_look_up_backward(walk);
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
    walk_outer(walk);
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
