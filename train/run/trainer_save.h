/* trainer_save.h - a checkpoint of a run that stands between two steps. */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_save - weights, optimizer, position in the data, provenance, model card; the accounts are brought
 * up to date first.  Returns false on all ranks when it could not be written; the older checkpoints are then
 * as they were. Collective. */
bool trainer_save(struct trainer *t);

/* trainer_confirm - after a step: where its loss shows that the newest checkpoint is sound, older ones may
 * go.  Root; nothing elsewhere. */
void trainer_confirm(struct trainer *t);
