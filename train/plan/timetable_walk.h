/* timetable_walk.h - what the files of the timetable share: a rank at work on one step, without its memory. */
#pragma once

#include "train/model/publish.h"
#include "train/plan/timetable.h"

/* A slot of params.h: what is in it, and which event began what is under way. */
struct walk_slot {
    int unit;
    bool sending, closes;
    int64_t begun[EXCHANGE_AXES]; /* the last one of each axis; -1: none */
};

/* What the flags of struct unit say. */
struct walk_unit {
    bool sent, crossed;
};

struct walk {
    struct timetable *table;
    const struct layout *layout;
    struct params params; /* measured alone */
    struct walk_unit *units;
    struct walk_slot gathered[SLOT_COUNT], gradient[SLOT_COUNT], crossing[SLOT_COUNT];
    struct publishing publishing;
    enum step_part part;
    int64_t micro;
    bool is_last;
};

/* One exchange, as it begins; slot: which waits for it, or NULL. */
struct walk_start {
    enum exchange_kind what;
    enum exchange_axis axis;
    int unit, segment;
    int64_t bytes;
    struct walk_slot *slot;
};

/* walk_compute, walk_begin, walk_wait - one more event; an exchange of no bytes, and a wait for nothing, are none. */
void walk_compute(struct walk *walk, int unit);
void walk_begin(struct walk *walk, const struct walk_start *start);
void walk_wait(struct walk *walk, struct walk_slot *slot);
/* walk_at_once - an exchange that is waited for as soon as it has begun. */
void walk_at_once(struct walk *walk, struct walk_start start);
void walk_slot_clear(struct walk_slot *slot);

/* What train/model/shard.c and publish.c do under the same names, optimizer_update, and outer_step. */
void walk_prefetch(struct walk *walk, int unit);
void walk_acquire(struct walk *walk, int unit);
void walk_grad_begin(struct walk *walk, int unit);
void walk_grad_end(struct walk *walk, int unit);
void walk_grad_finish(struct walk *walk);
void walk_publish_start(struct walk *walk);
void walk_update(struct walk *walk);
void walk_outer(struct walk *walk);

/* walk_layer_forward, walk_layer_backward - what ranks exchange in the middle of a layer of a micro-batch; walk_look_up,
 * walk_look_up_backward - of the embedding; walk_head - of the head, forward and backward. */
void walk_look_up(struct walk *walk);
void walk_look_up_backward(struct walk *walk);
void walk_head(struct walk *walk, int unit);
void walk_layer_forward(struct walk *walk, int unit);
void walk_layer_backward(struct walk *walk, int unit);
