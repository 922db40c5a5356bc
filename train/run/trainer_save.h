/* trainer_save.h - a checkpoint of a run that stands between two steps. */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_owns_folder - what stands at run.folder is still this run's, so that something may be written there;
 * else it is said once, with lost_folder set, and no file is written there by name from then on.  The same on all
 * ranks.  Collective. */
bool trainer_owns_folder(struct trainer *t);

/* trainer_save - weights, optimizer, position in the data, provenance, model card; the accounts are brought
 * up to date first.  Returns false on all ranks when it could not be written; the older checkpoints are then
 * as they were. Collective. */
bool trainer_save(struct trainer *t);

/* trainer_save_beside - the same, with checkpoint.async while the training goes on: then true means that it was begun, and the
 * files follow.  trainer_save_look - after each step: whether it is complete; returns false when it failed.  trainer_save_end -
 * wait for it; true where there is none.  There is one at a time, and each save waits for the one before it.  Collective. */
bool trainer_save_beside(struct trainer *t);
bool trainer_save_look(struct trainer *t);
bool trainer_save_end(struct trainer *t);

/* trainer_confirm - after a step: where its loss shows that the newest checkpoint is sound, older ones may
 * go.  Root; nothing elsewhere. */
void trainer_confirm(struct trainer *t);
