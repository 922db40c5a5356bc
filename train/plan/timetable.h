/* timetable.h - one optimizer step of a rank, as a list: what it computes, the exchanges that it begins, and where it waits for
 * them, in the order in which the run does it, from one update of the weights to the next.  Made from the layout alone, at open; `plan` counts, prints and times the same
 * list.  That the run does this and nothing else is a test (tests/test_ranks_timetable.c).
 *
 * Where replicas learn apart (train/model/outer.h) it is a step after which they meet: in the others nothing crosses between them.
 *
 * How many rows go to the experts of other ranks is what routers decide: here each expert gets as many.
 *
 * Not in it: validation, the pass before a step that some objectives make, and numbers of a few bytes, which go another way. */
#pragma once

#include <stdio.h>

#include "train/plan/layout.h"

/* Between which ranks: of one replica, those that hold the same of other replicas, those that share the rows of a text, those that
 * divide the tensors of a layer, those of one replica with the same experts, those that divide the experts. */
enum exchange_axis {
    EXCHANGE_INSIDE,
    EXCHANGE_ACROSS,
    EXCHANGE_CONTEXT,
    EXCHANGE_TENSOR,
    EXCHANGE_HOLDERS,
    EXCHANGE_EXPERT,
    EXCHANGE_AXES
};

/* EACH_EXCHANGE(X) - what is exchanged, and the word for it: weights before use (stage 3), gradients to those who update them,
 * sums for all, new values after an update, matrices to their owners and back, rows of heads, rows of all who divide tensors before a
 * product and sums of their terms after it, logits of runs of words and their gradients, rows at the experts that they go to. */
#define EACH_EXCHANGE(X)                                                                                     \
    X(WEIGHTS, "gather weights")                                                                             \
    X(GRADIENTS, "reduce gradients")                                                                         \
    X(SUM, "sum gradients")                                                                                  \
    X(VALUES, "gather new values")                                                                           \
    X(MATRICES, "gather matrices")                                                                           \
    X(UPDATES, "sum matrices")                                                                               \
    X(ROWS, "exchange rows")                                                                                 \
    X(JOINED, "join rows")                                                                                   \
    X(TERMS, "sum rows")                                                                                     \
    X(LOGITS, "exchange logits")                                                                             \
    X(ROUTED, "send rows to experts")
#define EXCHANGE_WORD(NAME, word) EXCHANGE_##NAME,
enum exchange_kind { EACH_EXCHANGE(EXCHANGE_WORD) EXCHANGE_COUNT };
#undef EXCHANGE_WORD

enum step_part { PART_FORWARD, PART_BACKWARD, PART_REDUCE, PART_UPDATE, PART_COUNT };

enum event_kind { EVENT_COMPUTE, EVENT_START, EVENT_WAIT };

struct event {
    enum event_kind kind;
    enum step_part part;
    int64_t micro;           /* the micro-batch at hand; of the parts after the last one: the last */
    int unit, segment;       /* params.h; segment: of EVENT_START */
    enum exchange_kind what; /* of EVENT_START, as is the rest */
    enum exchange_axis axis; /* of EVENT_WAIT too */
    int64_t bytes;           /* that this rank sends, as transport.h counts them; more than 0 */
    int64_t begun;           /* of EVENT_WAIT: which event began what it waits for */
};

struct timetable {
    struct event *events;
    int64_t num_events, room;
    int64_t sent_bytes[EXCHANGE_AXES];
    int num_layers, head_unit; /* to name units by */
};

/* timetable_make - of a step of so many micro-batches.  timetable_free - also of a zeroed one. */
void timetable_make(struct timetable *table, const struct layout *layout, int64_t num_micros);
void timetable_free(struct timetable *table);

/* timetable_axis_name, timetable_what, timetable_part_name - in words.  timetable_unit_name - "embedding", "layer 3", "head": into
 * the caller's buffer, which it returns. */
const char *timetable_axis_name(enum exchange_axis axis);
const char *timetable_what(enum exchange_kind what);
const char *timetable_part_name(enum step_part part);
const char *timetable_unit_name(const struct timetable *table, int unit, char *text, size_t room_bytes);

/* timetable_print - a line of columns, separated by tabs, for each exchange; the first line names the columns. */
void timetable_print(const struct timetable *table, FILE *out);
