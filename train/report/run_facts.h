/* run_facts.h - all that a report tells of one run, gathered before a line is written: metrics, ledger, provenance of the
 * newest checkpoint, evaluations, run file.  What is absent is NULL or empty. */
#pragma once

#include "train/record/ledger.h"
#include "train/report/history.h"

enum { FACTS_EVALUATIONS = 16 };

struct evaluation {
    char *file_name;
    json_t *result; /* as `atelier eval --json` prints it */
};

struct run_facts {
    const char *folder; /* as it was given */
    char *name;         /* its last part; where an earlier run of the page has the same, with a number */
    struct metrics_walk walk;
    struct history history;
    struct ledger ledger;
    bool has_ledger;
    json_t *provenance;   /* or NULL */
    bool is_valid_learnt; /* a file of data.valid is one of data.train */
    int64_t best_step;    /* of the checkpoint that RUN/best names; 0: none */
    char *run_file;       /* resolved where a checkpoint has it, else as it was submitted; or NULL */
    bool is_run_file_cut;
    struct evaluation evaluations[FACTS_EVALUATIONS];
    int num_evaluations;
};

/* run_facts_open - the folder's files but for the metrics' values.  Returns 0, or -1 with err set: no run folder; metrics
 * without a line.  A ledger, provenance or evaluation that cannot be read is warned about and left out: what else there is can
 * still be told.  run_facts_read - then, with the axis that all runs of the page have in common.  run_facts_close frees;
 * harmless on a zeroed struct. */
int run_facts_open(struct run_facts *facts, const char *folder, struct err *err);
int run_facts_read(struct run_facts *facts, const struct series_axis *axis, struct err *err);
void run_facts_close(struct run_facts *facts);
