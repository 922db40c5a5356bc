/* state_compare.h - what a rank has in memory beside a checkpoint of it. */
#pragma once

#include "train/model/state.h"

/* state_compare - this rank's part of masters and states bit by bit with those of a checkpoint's state/, and what the masters are in the
 * type of this run's files with the model or the adapter that lies there (base: the model of an adapter, NULL: the one that it
 * names).  Tensors alone.  Local: every rank has a part.  Returns 0, or -1 with err set: the first value that differs, in which tensor of
 * which file, or what cannot be read. */
int state_compare(struct params *params, const char *folder, const char *base, struct err *err);
