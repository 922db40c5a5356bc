/* trainer_best.h - the checkpoint of the lowest validation loss (checkpoint.keep_best): which validations count, and when RUN/best
 * moves.  Nothing is done without the key. */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_best_open - once the log is open: what the checkpoint remembers, compared with RUN/best.  Returns false on all ranks
 * when something else stands at that path (said by the root).  Collective. */
bool trainer_best_open(struct trainer *t);

/* trainer_best_validated - after a whole validation: where it is the best so far, best_is_new asks for a save, or RUN/best moves to
 * the checkpoint that the present state has already.  Returns false on all ranks when it cannot be moved.  Collective. */
bool trainer_best_validated(struct trainer *t);

/* trainer_best_saved - RUN/best names the checkpoint of the present step: said. */
void trainer_best_saved(struct trainer *t);
