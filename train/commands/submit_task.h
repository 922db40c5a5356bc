/* submit_task.h - `atelier submit prepare|eval|export`: a command other than train, as one job. */
#pragma once

#include "train/commands/options.h"

/* The command line of `atelier submit`. */
struct submit_words {
    const char *task; /* NULL: a training */
    const char *config_path;
    const char *program; /* --program; NULL: this one */
    int64_t chain_jobs;  /* --chain; 0: as the run file says */
    struct option_list overrides;
    struct option_list task_words; /* the task's own: its model and options */
    bool is_dry_run;
};

/* submit_task - words->task is set.  Its own words are read as the command will read them in the job, so that a wrong one
 * is told before the job waits.  Returns the exit code. */
int submit_task(const struct submit_words *words);
