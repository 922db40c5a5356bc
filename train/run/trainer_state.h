/* trainer_state.h - training.json of a checkpoint, from a run and back into one. */
#pragma once

#include "train/run/trainer_setup.h"

enum { TRAINER_REASON_ROOM = DIVERGENCE_REASON_ROOM };

/* trainer_learns - some step made an update, and the last ones changed the weights; else false, with the reason in
 * the caller's buffer.  trainer_suspect - the same for weights that may be worth nothing: the run diverges, or it
 * does not learn. */
bool trainer_learns(const struct trainer *t, char reason[TRAINER_REASON_ROOM]);
bool trainer_suspect(const struct trainer *t, char reason[TRAINER_REASON_ROOM]);

/* trainer_state_text - what training.json of a checkpoint says, malloc'ed. */
char *trainer_state_text(const struct trainer *t);

/* trainer_state_read - the counters and the course of the run from the checkpoint that it goes on from.  Returns
 * 0, or -1 with err set. */
int trainer_state_read(struct trainer *t, struct err *err);
