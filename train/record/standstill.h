/* standstill.h - whether a run learns nothing: its gradients are exactly zero although its loss is not, so that
 * no weight moves but by weight decay.  Weights that are all zero do that, and a number type too small for the
 * gradients; the losses stay where they are, which no bound on them shows (divergence.h). */
#pragma once

#include "data/corpus/json.h"

struct standstill {
    int64_t num_still; /* updates in a row whose gradient was exactly zero at a loss that was not */
    int64_t since;     /* step of the first of them */
};

enum standstill_news { STANDSTILL_NOTHING, STANDSTILL_BEGINS, STANDSTILL_ENDS };

/* standstill_step - a step that made an update.  Says when it is to be told that the run stands still (after the
 * third such update in a row) and that it does not any more.  A loss of next to nothing is learnt: its gradient
 * may well round to zero. */
enum standstill_news standstill_step(struct standstill *standstill, int64_t step, double loss,
                                     double grad_norm);

/* standstill_since - the step since which nothing is learnt; 0: the run learns.  updates: of the whole run; where
 * all of them were still, one is enough. */
int64_t standstill_since(const struct standstill *standstill, int64_t updates);

/* standstill_json, standstill_read - kept in training.json; a checkpoint without it (older versions) begins
 * anew.  step: how many are done, no counter may say more.  standstill_read returns 0, or -1 with err set. */
json_t *standstill_json(const struct standstill *standstill);
int standstill_read(struct standstill *standstill, const json_t *state, int64_t step, struct err *err);
