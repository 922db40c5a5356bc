/* timetable_events.c - the list of a step: what the walk adds to it, and how it is told. */
#include <stdlib.h>

#include "train/plan/timetable_walk.h"

static struct event *add(struct walk *walk, enum event_kind kind, int unit) {
    struct timetable *table = walk->table;
    if (table->num_events == table->room) {
        table->room = table->room ? 2 * table->room : 64;
        table->events = xrealloc(table->events, (size_t)table->room * sizeof *table->events);
    }
    struct event *event = &table->events[table->num_events++];
    *event = (struct event){.kind = kind, .part = walk->part, .micro = walk->micro, .unit = unit};
    return event;
}

void walk_compute(struct walk *walk, int unit) {
    add(walk, EVENT_COMPUTE, unit);
}

void walk_begin(struct walk *walk, const struct walk_start *start) {
    if (start->bytes == 0)
        return;
    struct event *event = add(walk, EVENT_START, start->unit);
    event->what = start->what;
    event->axis = start->axis;
    event->segment = start->segment;
    event->bytes = start->bytes;
    walk->table->sent_bytes[start->axis] += start->bytes;
    if (start->slot)
        start->slot->begun[start->axis] = walk->table->num_events - 1;
}

void walk_wait(struct walk *walk, struct walk_slot *slot) {
    for (int axis = 0; axis < EXCHANGE_AXES; axis++) {
        int64_t begun = slot->begun[axis];
        slot->begun[axis] = -1;
        if (begun < 0)
            continue;
        struct event *event = add(walk, EVENT_WAIT, walk->table->events[begun].unit);
        event->axis = (enum exchange_axis)axis;
        event->begun = begun;
    }
}

void walk_slot_clear(struct walk_slot *slot) {
    *slot = (struct walk_slot){.unit = -1};
    for (int axis = 0; axis < EXCHANGE_AXES; axis++)
        slot->begun[axis] = -1;
}

void walk_at_once(struct walk *walk, struct walk_start start) {
    struct walk_slot slot;
    walk_slot_clear(&slot);
    start.slot = &slot;
    walk_begin(walk, &start);
    walk_wait(walk, &slot);
}

void timetable_free(struct timetable *table) {
    free(table->events);
    *table = (struct timetable){.events = NULL};
}

/* --- in words --- */

const char *timetable_axis_name(enum exchange_axis axis) {
    static const char *const names[EXCHANGE_AXES] = {"shard",  "replica", "context",
                                                     "tensor", "holders", "expert"};
    return names[axis];
}

const char *timetable_what(enum exchange_kind what) {
#define EXCHANGE_NAME(NAME, word) word,
    static const char *const names[EXCHANGE_COUNT] = {EACH_EXCHANGE(EXCHANGE_NAME)};
#undef EXCHANGE_NAME
    return names[what];
}

const char *timetable_part_name(enum step_part part) {
    static const char *const names[PART_COUNT] = {"forward", "backward", "reduce", "update"};
    return names[part];
}

const char *timetable_unit_name(const struct timetable *table, int unit, char *text, size_t room_bytes) {
    if (unit >= 1 && unit <= table->num_layers)
        snprintf(text, room_bytes, "layer %d", unit - 1);
    else
        snprintf(text, room_bytes, "%s", unit == 0 ? "embedding" : "head");
    return text;
}

void timetable_print(const struct timetable *table, FILE *out) {
    char name[32];
    int64_t number = 0;
    fprintf(out, "number\tmicro\tpart\tunit\tsegment\taxis\texchange\tsent_bytes\n");
    for (int64_t i = 0; i < table->num_events; i++) {
        const struct event *e = &table->events[i];
        if (e->kind == EVENT_START)
            fprintf(out, "%lld\t%lld\t%s\t%s\t%d\t%s\t%s\t%lld\n", (long long)number++, (long long)e->micro,
                    timetable_part_name(e->part), timetable_unit_name(table, e->unit, name, sizeof name),
                    e->segment, timetable_axis_name(e->axis), timetable_what(e->what), (long long)e->bytes);
    }
}
