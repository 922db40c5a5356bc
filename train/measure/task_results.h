/* task_results.h - which choices a model takes, and how often that is right.
 *
 * Four ways to choose, each the first choice with the highest score: acc, the sum of log-probabilities; acc_norm, that by the
 * choice's code points; acc_bytes, by its UTF-8 bytes; acc_token, by its tokens.  The first three are lm-evaluation-harness's,
 * the fourth is lighteval's acc_norm_token.  Standard error: sample standard deviation over the root of the number of items;
 * of fewer than two items there is none, as there is no mean of none.
 *
 * As JSON, in --json and in the file of --results (in a run folder eval-tasks.json, which reports look for):
 *   {"format": "atelier-tasks 1", "model": "runs/a",
 *    "files": [{"path": "a.jsonl", "sha256": "...", "items": 3}],
 *    "left_out": {"too_long": 0, "no_tokens": 0},
 *    "all": RESULT, "groups": {"geographie": RESULT, ...}}        groups in the order in which they come first
 *   and, with examples before the questions, "shots": {"count": 5, "from": null, "order": "random", "seed": 0}
 *   RESULT: {"items": 3, "chance": 0.25, "acc": 0.5, "acc_stderr": 0.1, "acc_norm": ..., "acc_norm_stderr": ..., "acc_bytes": ...,
 *    "acc_token": ...}     items: those that were scored; chance: what guessing gives; null where there is no such number */
#pragma once

#include <stdio.h>

#include "data/tasks/encode.h"

#define TASK_RESULTS_FORMAT "atelier-tasks 1"

enum task_measure { TASK_ACC, TASK_ACC_NORM, TASK_ACC_BYTES, TASK_ACC_TOKEN, TASK_MEASURES };

/* task_measure_name - "acc_norm". */
const char *task_measure_name(enum task_measure measure);

/* Of a group, or of all. */
struct task_result {
    int64_t num_items, num_right[TASK_MEASURES];
    double chance_sum;
};

/* Borrows all but groups. */
struct task_results {
    const struct task_set *set;
    const struct task_tokens *tokens;
    const double *logps; /* as task_score leaves them */
    struct task_result all, *groups;
};

/* task_results_make - counts; task_results_release frees the groups. */
void task_results_make(struct task_results *results, const struct task_set *set,
                       const struct task_tokens *tokens, const double *logps);
void task_results_release(struct task_results *results);

/* task_chosen - the choice that a scored item's log-probabilities take. */
int task_chosen(const struct task_tokens *tokens, const double *logps, int64_t item,
                enum task_measure measure);

/* task_mean, task_error - share of right ones and its standard error; NaN where there is none. */
double task_mean(const struct task_result *result, enum task_measure measure);
double task_error(const struct task_result *result, enum task_measure measure);

/* task_results_json - the object above, a new reference.  task_results_print - a table, a line for each group. */
json_t *task_results_json(const struct task_results *results, const char *model);
void task_results_print(const struct task_results *results, FILE *out);

/* task_results_write_items - a line of JSON for each item: {"id", "group", "gold", "acc": 1 where the choice taken is right, else 0, as
 * lm-evaluation-harness has it, "acc_norm", "acc_bytes", "acc_token", "chosen": {"acc": the choice taken, from 0, ...}, "choices": [{"logp", "tokens", "chars", "bytes"}]}, or {"id", "group", "left_out": "too_long"}.  An item without id
 * has its file and line there.  Returns 0, or -1 with err set: the disk. */
int task_results_write_items(const struct task_results *results, FILE *out, const char *path,
                             struct err *err);
