/* run_status.h - how far a run is, by its files alone: from a login node, while the job runs elsewhere. */
#pragma once

#include "kernels/error.h"
#include "train/record/divergence.h"

struct run_status {
    int64_t last_step;      /* of the steps told so far; 0: none */
    int64_t num_steps;      /* of the whole run; 0: not known */
    int64_t updates;        /* of the weights; less than last_step where steps had nothing to learn from */
    int64_t diverged_since; /* step since which the losses are out of bounds; 0: they are not */
    struct divergence_past diverged_before; /* times that it had diverged, and came back */
    int64_t still_since;         /* step since which nothing is learnt (standstill.h); 0: it learns */
    double loss;                 /* of the last step that had targets */
    double valid_loss;           /* the last one; NaN: none */
    double tokens_per_s, step_s; /* mean of the last steps told; 0: not known */
    int64_t last_sign_of_life;   /* when the metrics were last written, seconds since 1970; 0: never */
    int64_t checkpoint_step;     /* of the newest complete checkpoint; 0: none */
    char checkpoint[64];         /* its folder's name; "" none */
    int64_t best_step;           /* of the one that RUN/best names; 0: none */
    char suspect[200];           /* why it may hold ruined weights; "" it does not */
    double checkpoint_s;         /* how long the last save took; 0: not known */
};

/* run_status_read - metrics.jsonl (its end), log.txt (its last line) and the checkpoints of a run folder.
 * What is absent leaves its field empty.  Returns 0, or -1 with err set: the folder is not there or cannot be
 * read. */
int run_status_read(struct run_status *status, const char *run_folder, struct err *err);

/* run_status_take_metrics - the pure part: lines of metrics.jsonl, the first of which may be cut. */
void run_status_take_metrics(struct run_status *status, const char *text);

/* run_status_eta_s - seconds to the last step at the speed of the last ones; negative: not known. */
double run_status_eta_s(const struct run_status *status);
