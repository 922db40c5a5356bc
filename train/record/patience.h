/* patience.h - when a run ends early: its validation has not become better for so many validations in a row.  Its place in
 * training.json, so that a start that goes on counts on. */
#pragma once

#include "data/corpus/json.h"

struct patience {
    double best;       /* loss of the best validation; NaN: none yet */
    int64_t best_step; /* after which it was */
    int64_t num_worse; /* validations since, none of which was better */
};

struct patience patience_start(void);

/* patience_validation - one that was whole; a loss that is not a number is not better. */
void patience_validation(struct patience *patience, int64_t step, double loss);

/* patience_is_over - limit as train.early_stop: 0: never. */
bool patience_is_over(const struct patience *patience, int64_t limit);

/* patience_json, patience_read - of training.json; a checkpoint without it begins anew.  step: how many are done.  patience_read
 * returns 0, or -1 with err set. */
json_t *patience_json(const struct patience *patience);
int patience_read(struct patience *patience, const json_t *state, int64_t step, struct err *err);
