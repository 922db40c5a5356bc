/* timeline.h - a simulated clock: when a rank does what a timetable lists, by rates.  One thing computes; the exchanges of an axis go
 * one after the other, beside it and beside those of other axes; who waits for an exchange stands still until it is over.  All
 * ranks are alike.  Pure arithmetic. */
#pragma once

#include "train/plan/timetable.h"

/* What a rank does in a second.  Of one micro-batch: the forward and the backward of all layers [s], the head's both; the update. */
struct timeline_rates {
    double forward_s, backward_s, head_s, update_s;
    double bytes_per_s[EXCHANGE_AXES]; /* that a rank sends */
    double latency_s[EXCHANGE_AXES];   /* of each exchange, before its first byte */
    double
        beside; /* share of its speed that computing loses for each axis along which an exchange is under way; half of it stays */
    bool engines; /* but for gathers of weights inside a replica, which copy engines make */
};

struct timeline {
    double *begin_s, *end_s; /* [num_events] of each event; an exchange: when its bytes are sent */
    double step_s;
    double compute_s;               /* of it, computing; the rest is waiting */
    double busy_s[EXCHANGE_AXES];   /* exchanges under way */
    double waited_s[EXCHANGE_AXES]; /* standing still for them */
    double micro_s,
        micro_compute_s; /* of a micro-batch in the middle: of three or more, the second; of it, computing */
};

/* timeline_make - of a timetable that stays as it is.  timeline_free - its arrays. */
void timeline_make(struct timeline *line, const struct timetable *table, const struct timeline_rates *rates);
void timeline_free(struct timeline *line);

/* timeline_hidden - of what is exchanged along all axes, the share that nobody waits for; 1 where nothing is. */
double timeline_hidden(const struct timeline *line);

/* timeline_draw - a picture of so many columns: a row for what computes (F forward, B backward, U update, . waiting) and one for
 * each axis along which something travels (= under way). */
void timeline_draw(const struct timeline *line, const struct timetable *table, int num_columns, FILE *out);
