/* metrics_walk.h - RUN/metrics.jsonl from its beginning to its end, in bounded memory, told apart what is still the run's: a
 * start line says after which step a start goes on, and later steps that stand before it belong to a line that was left
 * (train/record/metrics.h).  The file may be hostile: lines that are not JSON, too long, of a step beyond the run's or with a
 * text for a number, a negative loss or no time for a time are told as such, a last one without its end is passed over. */
#pragma once

#include "data/corpus/json.h"

struct metrics_start {
    int64_t after_step;
    int64_t last_step; /* of its records those of later steps were left; -1: all were */
};

struct metrics_walk {
    char *path;
    struct metrics_start *starts;
    int num_starts;
    int64_t num_steps;             /* of the whole run, as planned; 0: not known */
    int64_t most_steps;            /* that any start planned; no step beyond is the run's */
    int64_t last_step, size_bytes; /* of what the first reading found; the file may have grown since */
};

/* metrics_walk_open - reads the file once for its starts.  Returns 0, or -1 with err set: there is no such file, too many
 * starts.  metrics_walk_close frees; harmless on a zeroed struct. */
int metrics_walk_open(struct metrics_walk *walk, const char *run_folder, struct err *err);
void metrics_walk_close(struct metrics_walk *walk);

struct metrics_line {
    const json_t *object; /* NULL: the line cannot be read or is impossible, and none of the others is set */
    const char *event;    /* "step", "validation", "start", ... */
    int64_t step;         /* of a start: after which it goes on */
    bool counts;          /* it is still the run's */
};
typedef void metrics_visit(void *context, const struct metrics_line *line);

/* metrics_walk_each - visit every line that has a step or cannot be read (damaged, too long), in the order of the file.  Returns 0, or -1 with err set. */
int metrics_walk_each(const struct metrics_walk *walk, metrics_visit *visit, void *context, struct err *err);
