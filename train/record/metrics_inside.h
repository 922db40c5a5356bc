/* metrics_inside.h - what the files of metrics share: the records that are open, and how a line is written.  Only for
 * train/record/metrics.c and metrics_events.c. */
#pragma once

#include <stdio.h>

#include "train/record/metrics_summary.h"

enum { RUN_ID_ROOM = 64, BITS_ROOM = 40 };

struct metrics {
    FILE *lines, *log;         /* metrics.jsonl, log.txt */
    char run_id[RUN_ID_ROOM];  /* "": not known */
    struct tensorboard *board; /* NULL: not asked for */
    bool is_terminal;
    bool is_live_line; /* the cursor stands after a live line */
    bool has_failed;   /* a write did, and was warned about */
    bool has_left;     /* the folder: nothing is written there by name */
    int64_t log_every;
    double smooth_step_s; /* running mean, for the ETA */
    double smooth_tokens_per_s;
    struct run_totals totals;
    const struct source_loss *sources; /* of the validation that is told next; borrowed, NULL: none */
    int64_t num_sources;
    double bits_per_byte; /* of the validation that is told next; NaN: not known */
};

/* metrics_put_number - a member ", NAME: VALUE"; null where it is not a number.  metrics_end_line - the members that every line of
 * metrics.jsonl ends with: its run and the time (UTC, RFC 3339).  metrics_flush - what was written reaches the file; a failure is
 * warned about once. */
void metrics_put_number(FILE *out, const char *name, double value, int digits);
void metrics_end_line(const struct metrics *m);
void metrics_flush(struct metrics *m, FILE *file, const char *name);
