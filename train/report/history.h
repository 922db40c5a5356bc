/* history.h - what metrics.jsonl tells of a run, in bounded memory however long it is.  A key that is absent leaves its series
 * empty: a mean over nothing is not a number. */
#pragma once

#include "train/record/divergence.h"
#include "train/report/metrics_walk.h"
#include "train/report/series.h"

/* Quantities of each step: name, key in metrics.jsonl. */
#define EACH_QUANTITY(X)                                                                                     \
    X(LOSS, "loss")                                                                                          \
    X(RATE, "learning_rate")                                                                                 \
    X(NORM, "grad_norm")                                                                                     \
    X(SPEED, "tokens_per_s")                                                                                 \
    X(MEMORY, "peak_memory_bytes")                                                                           \
    X(DATA, "data_s")                                                                                        \
    X(FORWARD, "forward_s")                                                                                  \
    X(BACKWARD, "backward_s")                                                                                \
    X(COMM, "comm_s")                                                                                        \
    X(OPTIMIZER, "optimizer_s")                                                                              \
    X(SECONDS, "seconds")                                                                                    \
    X(MARGIN, "rewards/margins")                                                                             \
    X(ACCURACY, "rewards/accuracies")                                                                        \
    X(CROSS_ENTROPY, "cross_entropy")                                                                        \
    X(KL, "kl")                                                                                              \
    X(BALANCE, "load_balance")                                                                               \
    X(ROUTER_Z, "router_z")                                                                                  \
    X(FULLEST, "fullest_expert")                                                                             \
    X(EMPTIEST, "emptiest_expert")
#define ENUM_QUANTITY(name, key) QUANTITY_##name,
enum quantity { EACH_QUANTITY(ENUM_QUANTITY) QUANTITY_COUNT };
#undef ENUM_QUANTITY

/* quantity_key - "loss", ...: the key in metrics.jsonl. */
const char *quantity_key(enum quantity quantity);

enum { HISTORY_SOURCES = 16, HISTORY_ROWS = 32, HISTORY_RANKS = 64, HISTORY_NAME_ROOM = 128 };

/* Validations of one source; the name is another's. */
struct source_history {
    char name[HISTORY_NAME_ROOM];
    struct series loss;
    double bits_per_byte; /* of its last validation; NaN: not recorded */
};

struct validation_row {
    int64_t step, target_tokens; /* target_tokens -1: not recorded */
    double loss;
    double bits_per_byte; /* NaN: not recorded */
};

/* A rank that others waited for. */
struct slow_rank {
    int64_t rank, times;
    double worst; /* its time over the ranks' median, the largest */
    char host[HISTORY_NAME_ROOM];
};

struct history {
    struct series steps[QUANTITY_COUNT];
    int64_t num_steps; /* records that count */
    int64_t first_step, last_step;
    int64_t planned_steps;                                  /* 0: not known */
    int64_t num_redone;                                     /* steps that a restart did again */
    int64_t num_without_targets, num_overflows, num_spikes; /* steps that updated nothing */
    int64_t num_lines, num_unreadable;                      /* of metrics.jsonl; those that are damaged */
    int64_t updates;                                        /* -1: not recorded */
    double tokens, target_tokens, seconds;                  /* sums; NaN: not recorded */
    double phase_s[QUANTITY_COUNT];                         /* sums of the quantities that are seconds */
    int64_t diverged_since, still_since;                    /* as the last step says; 0: not */
    struct divergence_past diverged_before;
    char first_time[32], last_time[32]; /* UTC, as written; "" not recorded */

    struct series validation;
    struct source_history sources[HISTORY_SOURCES];
    int num_sources;
    bool has_more_sources;
    struct validation_row rows[HISTORY_ROWS], last_row, best_row; /* every stride-th, and these two */
    int num_rows;
    int64_t num_validations, stride;
    bool has_bits; /* some validation has bits per byte */

    json_t *first_tasks, *last_tasks; /* events of eval.tasks, own references; NULL: there was none */
    int64_t first_tasks_step, last_tasks_step;

    struct series slowness; /* the slowest rank's time over the median, each comparison */
    struct slow_rank slow[HISTORY_RANKS];
    int num_slow;
    int64_t num_comparisons;

    int64_t num_checkpoints;
    double checkpoint_bytes, checkpoint_s;
    int64_t restarts[HISTORY_RANKS * 4]; /* steps after which a start went on, as they stand in the file */
    int num_restarts;                    /* all of them: more than there is room for are counted */
};

/* history_read - axis: what the series are for.  Returns 0, or -1 with err
 * set.  history_close frees; harmless on a zeroed struct. */
int history_read(struct history *history, const struct metrics_walk *walk, const struct series_axis *axis,
                 struct err *err);
void history_close(struct history *history);
