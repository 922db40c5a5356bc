/* trainer_outer.h - a run whose replicas learn apart (parallel.sync_every, train/model/outer.h): when they meet, what its checkpoints say, what
 * it asks of its ranks.  In any other run nothing is due, read or written. */
#pragma once

#include "data/corpus/json.h"
#include "train/run/trainer_setup.h"

/* trainer_is_apart - whether this is one. */
bool trainer_is_apart(const struct trainer *t);

/* trainer_outer_warn - of a run in which nobody is apart from anybody. */
void trainer_outer_warn(const struct trainer *t);

/* trainer_outer_put - into what training.json says: by how many ranks and replicas, in what micro-batches, samples were dealt.
 * trainer_outer_read - the present ones are those of the checkpoint that the run goes on from.  Once the ranks have their grid.
 * Returns 0, or -1 with err set. */
void trainer_outer_put(const struct trainer *t, json_t *state);
int trainer_outer_read(const struct trainer *t, struct err *err);

/* trainer_outer_saved - says of a checkpoint that its model is one replica's, where that is so. */
void trainer_outer_saved(const struct trainer *t, int64_t step);

/* trainer_has_one_model - all ranks have the same weights; false, and said, where a branch begins between two meetings.
 * trainer_outer_took - how long the step that was just counted took: an end of the job is foreseen by the longest meeting. */
bool trainer_has_one_model(const struct trainer *t);
void trainer_outer_took(struct trainer *t, double step_s);

/* trainer_outer_due - the step at hand, which is not counted yet, is one after which the replicas meet: every so many steps, and after the
 * last one.  trainer_outer_step - they do; new values are then to be published.  Collective. */
bool trainer_outer_due(const struct trainer *t);
void trainer_outer_step(struct trainer *t);
