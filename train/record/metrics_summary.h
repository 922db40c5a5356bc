/* metrics_summary.h - what a run adds up to, and the page that says so. */
#pragma once

#include "train/record/metrics.h"

/* Times and counts are of this start; where the losses began, and the validations, of the whole run. */
struct run_totals {
    char folder[512];
    int64_t first_step, last_step, num_steps;              /* num_steps: of the whole run */
    double first_loss, last_loss;                          /* NaN: none yet */
    struct preference_record preference, valid_preference; /* the last ones */
    bool is_taught; /* by a teacher: cross-entropy and divergence of the last step */
    double cross_entropy, divergence;
    int64_t num_without_targets; /* steps of this start that had nothing to learn from */
    int64_t num_overflows;       /* steps whose gradients overflowed f16 */
    int64_t num_spikes,
        num_rollbacks; /* steps whose batch was left out; of them those that the run went back for */
    struct divergence_past diverged_before; /* of the whole run */
    char left_out[800];                     /* of the data; "" nothing */
    int64_t tokens, target_tokens;
    double seconds; /* of the steps */
    double phase_s[PHASE_COUNT];
    double flops;
    int num_validations;
    double first_valid_loss, last_valid_loss, best_valid_loss;
    int64_t best_valid_step, last_valid_step;
    int num_tasks; /* evaluations of eval.tasks in this start, and the shares of right choices */
    double first_acc, last_acc, first_acc_norm, last_acc_norm;
    int64_t num_task_items, last_task_step;
    int num_checkpoints;
    int64_t checkpoint_bytes; /* of all checkpoints written */
    double checkpoint_s;
    char last_checkpoint[512];
    int64_t best_checkpoint; /* step of the one that RUN/best names; 0: none is kept */
    double best_checkpoint_loss;
    char cost[400];   /* hours, energy, CO2 of the whole run; "" not known */
    double started_s; /* clock_s at the start */
};

/* phase_name - "data", "forward", ...: the names in metrics.jsonl. */
const char *phase_name(enum phase phase);

/* metrics_totals - what a run adds up to so far; NULL for NULL. */
const struct run_totals *metrics_totals(const struct metrics *metrics);

/* run_totals_validation - count one: the first, the last and the best of the run.
 * metrics_recall - what the earlier starts of the run in totals->folder have to tell, up to
 * totals->first_step: where its losses began, its validations.  Returns 0, or -1 with err set. */
void run_totals_validation(struct run_totals *totals, int64_t step, double loss);
int metrics_recall(struct run_totals *totals, struct err *err);

/* summary_text - the page, malloc'ed.  outcome says how the run ended. */
char *summary_text(const struct run_totals *totals, const char *outcome);

/* duration_text - "3 h 05 min", "2 min 10 s", "8.4 s" into the caller's buffer; returns it. */
const char *duration_text(double seconds, char *text, size_t room_bytes);
