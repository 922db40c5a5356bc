/* trainer_references.h - the reference log-probabilities of a run that compares: read beside the token files, or computed once
 * with the weights that the run began with. */
#pragma once

#include "train/run/references.h"
#include "train/run/trainer_setup.h"

/* trainer_references - each document of the loaders gets its number.  Where they have to be computed, params hold the
 * starting weights afterwards: before the state of a checkpoint is loaded; in a first start, after its own weights.
 * Nothing for an objective that needs none.  Returns false on all ranks, said by the root: a file of another model, other
 * tokens or damaged, starting weights that are gone or are others now, a disk that takes no file.  Collective. */
bool trainer_references(struct trainer *t);
