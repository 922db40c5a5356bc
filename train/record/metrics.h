/* metrics.h - what a run tells: the live line, one JSON line per step in RUN/metrics.jsonl, the final
 * summary.  Every line carries the run's id and the time (UTC, RFC 3339).  What is not a number is null.
 * {"event": "start", "after_step": S, "steps": N}: a start that goes on after step S (0: anew); records of
 * later steps before this line belong to a line of history that was left.  "rollback_from": F in it: the same start went back
 * after step F (train.spike). */
#pragma once

#include <jansson.h>

#include "configs/schema/config.h"
#include "train/record/divergence.h"

enum phase { PHASE_DATA, PHASE_FORWARD, PHASE_BACKWARD, PHASE_COMM, PHASE_OPTIMIZER, PHASE_COUNT };

struct metrics;

/* Of a step or a validation that compares documents: means over them, NaN where there were none of a kind.  Names in
 * metrics.jsonl as TRL has them. */
struct preference_record {
    bool is_there;
    double chosen, rejected, margin; /* rewards; of labelled completions the desirable and undesirable ones */
    double
        accuracy; /* share of the pairs whose chosen document has the higher reward; NaN, of labelled completions: no key */
    double chosen_logp, rejected_logp;
    double kl;        /* KTO: what rewards are compared with, 0 at least */
    double log_ratio; /* of the model's probability over the reference's, of both documents */
};

/* Of a step of a model with experts (train/model/router.h): its two losses, before their coefficients, NaN where they are not known, if its
 * routers' scores are a softmax, of which they are losses; and the largest and the smallest share that an expert had of the choices of its layer, where an even one is 1 / num_experts. */
struct router_record {
    bool is_there, has_losses;
    int64_t num_experts;
    double balance, z, fullest, emptiest;
};

/* Of a validation, the part of one source. */
struct source_loss {
    const char *name; /* borrowed, from a token file */
    double loss;      /* mean over its target tokens; NaN: there were none */
    double target_tokens;
    double bits_per_byte; /* the same by what the targets stand for in the text; NaN: not known */
};

/* One finished step. */
struct step_record {
    int64_t step;                    /* 1 for the first */
    double loss;                     /* mean over the target tokens of the global batch; NaN: it had none */
    double grad_norm, learning_rate; /* grad_norm: NaN without targets */
    int64_t update;                  /* updates of the weights made in the whole run, this step's included */
    int64_t diverged_since;          /* step since which the run has diverged; 0: it has not */
    struct divergence_past diverged_before; /* times that it had, and came back */
    int64_t still_since; /* step since which nothing is learnt (standstill.h); 0: it learns */
    const char *skipped; /* why this step made none: "no targets", "f16 overflow", "spike"; NULL: it did */
    int64_t tokens;      /* input tokens of the global batch, padding left out */
    int64_t target_tokens;
    double seconds; /* wall time of the step */
    double phase_s[PHASE_COUNT];
    double flops; /* of all ranks together, counted by the ops */
    struct preference_record preference;
    bool is_taught; /* the loss is mixed of these two; NaN without targets */
    double cross_entropy, divergence;
    struct router_record router;
    bool shares_rows;   /* with other ranks, */
    int64_t rows_bytes; /* to which the first one sent so much of them */
    const char *chain,
        *data; /* of a reproducible run: the link after this step, and the hash of its batch; or NULL */
};

/* Questions with choices (eval.tasks): shares of right ones among those that were scored, NaN: none were. */
struct tasks_record {
    int64_t step, num_items;
    double acc, acc_norm, seconds;
    const json_t *all,
        *groups; /* as in the file of 'atelier eval --results', train/measure/task_results.h; borrowed */
};

/* A checkpoint that is complete. */
struct checkpoint_record {
    int64_t step, size_bytes;
    double seconds;  /* that the slowest rank worked on it */
    double waited_s; /* that the training stood still for it: as long, where nothing is done meanwhile */
};

struct metrics_setup {
    const char *run_folder;
    const char *run_id; /* of run.json, in every line of metrics.jsonl; NULL: in none */
    int64_t first_step; /* where this start begins; records of later steps that stand in metrics.jsonl (a
                           crash after the last checkpoint) are no longer the run's */
    int64_t num_steps;  /* of the whole run */
    int64_t log_every;
    enum progress_style progress;
    bool has_tensorboard; /* events for it, too (tensorboard.h) */
};

/* metrics_open - root only (NULL elsewhere, and every call takes NULL).  Returns 0, or -1 with err set. */
int metrics_open(struct metrics **metrics, const struct metrics_setup *setup, struct err *err);
/* metrics_step - a line of metrics.jsonl, and the live line where it is time for one.  metrics_checkpoint - the same for a
 * save. */
void metrics_step(struct metrics *metrics, const struct step_record *record);
/* metrics_validation - loss NaN: there was no target token. */
void metrics_validation(struct metrics *metrics, int64_t step, double loss, int64_t target_tokens,
                        double seconds, const struct preference_record *preference);
/* metrics_sources - of the validation that is told next, each source: in its line, and in the log where there are several. */
void metrics_sources(struct metrics *metrics, const struct source_loss *losses, int64_t num_sources);
/* metrics_tasks - {"event": "tasks", "step": S, "all": {...}, "groups": {...}, "seconds": T}. */
void metrics_tasks(struct metrics *metrics, const struct tasks_record *record);
/* metrics_bits_per_byte - of all that is told next; NaN: not known. */
void metrics_bits_per_byte(struct metrics *metrics, double value);
void metrics_checkpoint(struct metrics *metrics, const struct checkpoint_record *record, const char *path);
/* metrics_go_back - the run stands after step `step` again, having done those up to `from`, whose records are its own no more:
 * a start line that says so. */
void metrics_go_back(struct metrics *metrics, int64_t step, int64_t from);
/* metrics_best - which checkpoint RUN/best names, for the summary. */
void metrics_best(struct metrics *metrics, int64_t step, double loss);
/* metrics_left_out - what the run does not use of its data, in words: noted, and told in the summary. */
void metrics_left_out(struct metrics *metrics, const char *text);
/* metrics_ranks - how long the ranks computed in the mean of the last steps: their median and the slowest
 * one. */
void metrics_ranks(struct metrics *metrics, int64_t step, double median_s, double slowest_s, int slowest_rank,
                   const char *slowest_host);
/* metrics_note - one line among the progress ("resumed from ..."), kept in RUN/log.txt as well. */
void metrics_note(struct metrics *metrics, const char *fmt, ...) ATELIER_PRINTF(2, 3);
/* metrics_cost - what the run cost so far, in words, for the summary. */
void metrics_cost(struct metrics *metrics, const char *text);
/* metrics_leave - what stands at the run folder's path is not the run's any more: the summary is printed and not
 * written there.  The lines go on into the files that are open, wherever they are now. */
void metrics_leave(struct metrics *metrics);

/* metrics_close - the summary page: printed and written to RUN/summary.txt; outcome says how the run ended.
 */
void metrics_close(struct metrics *metrics, const char *outcome);
