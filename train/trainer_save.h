/* trainer_save.h - a checkpoint of a run that stands between two steps. */
#pragma once

#include "train/trainer_setup.h"

/* trainer_save - weights, optimizer, position in the data, provenance, model card; the accounts are brought
 * up to date first.  Returns false on all ranks when it could not be written; the older checkpoints are then
 * as they were. Collective. */
bool trainer_save(struct trainer *t);
