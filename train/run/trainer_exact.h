/* trainer_exact.h - what a run with train.reproducible: layout keeps in its checkpoints, so that a start on other ranks goes on with
 * the same bits. */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_exact_put - into what training.json says: the units of the next step's gradients, and what of the run file decides
 * about bits; nothing in a run without it. */
void trainer_exact_put(const struct trainer *t, json_t *state);

/* trainer_exact_read - the units from the checkpoint that the run goes on from; those of a run that begins where it has none.  Once there
 * is memory, and again when the run went back.  Returns 0, or -1 with err set: a number of threads or sequences that is not
 * the checkpoint's, a damaged file. */
int trainer_exact_read(struct trainer *t, struct err *err);
