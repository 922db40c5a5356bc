/* best.h - the validation that was the best of those whose checkpoint is kept (checkpoint.keep_best).  Its place in
 * training.json, so that a start that goes on compares with it. */
#pragma once

#include "data/corpus/json.h"

struct best {
    double loss;  /* NaN: none yet */
    int64_t step; /* after which it was, and of its checkpoint; 0: none yet */
};

struct best best_start(void);

/* best_validation - one that was whole.  Returns whether it is the best so far; a loss that is not a number is not, and an equal
 * one neither: the older checkpoint stays. */
bool best_validation(struct best *best, int64_t step, double loss);

/* best_json, best_read - of training.json; NULL where there is none yet, and a checkpoint without it has none.  step: how many are
 * done.  best_read returns 0, or -1 with err set. */
json_t *best_json(const struct best *best);
int best_read(struct best *best, const json_t *state, int64_t step, struct err *err);
