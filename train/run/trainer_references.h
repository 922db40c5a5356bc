/* trainer_references.h - the reference log-probabilities of a run that compares: read beside the token files, or computed once
 * with the weights of model.path. */
#pragma once

#include "train/run/references.h"
#include "train/run/trainer_setup.h"

/* trainer_references_first - they come before the run's own weights, which are others than those of model.path: a checkpoint's, or
 * an adapter to begin with. */
bool trainer_references_first(const struct trainer *t);

/* trainer_references - each document of the loaders gets its number.  Where they have to be computed, params hold the weights of
 * model.path afterwards: before others are loaded (trainer_references_first); else after these themselves.
 * Nothing for an objective that needs none.  What ends a run is heard between two rounds: ends_early says what it was, and
 * what was computed until then is kept.  Returns false then, or false on all ranks, said by the root: a file of another model, other
 * tokens or damaged, starting weights that are gone or are others now, a disk that takes no file.  Collective. */
bool trainer_references(struct trainer *t);
