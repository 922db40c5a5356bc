/* step_lines.h - what metrics.jsonl says of some steps of a run with train.reproducible: layout, to be compared with a replay. */
#pragma once

#include "train/run/chain_of_steps.h"

struct step_line {
    bool is_there;
    double loss, grad_norm, learning_rate; /* NaN: the line has none */
    int64_t tokens, target_tokens;         /* -1: none */
    char data[CHAIN_DATA_ROOM], link[CHAIN_LINK_ROOM];
};

/* Lines of the steps [first, last] of one folder. */
struct step_lines {
    int64_t first, last;
    struct step_line *lines; /* [last - first + 1] */
};

/* step_lines_read - of the line of history that is the run's now; first and last are set.  Returns 0, or -1 with err set; released in
 * either case.  step_line_compare - the recorded one with the replayed one: 0, or -1 with err set: in what they differ. */
int step_lines_read(struct step_lines *lines, const char *run_folder, struct err *err);
void step_lines_release(struct step_lines *lines);
int step_line_compare(int64_t step, const struct step_line *was, const struct step_line *is, struct err *err);
