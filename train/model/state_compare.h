/* state_compare.h - what a rank has in memory beside a checkpoint of it. */
#pragma once

#include "train/model/state.h"

/* state_compare - this rank's part of masters and states bit by bit with those of a checkpoint's state/, and of a whole model what
 * its masters are in the type of the model's files with those; of an adapter masters and states alone.  Local: every rank has a part.
 * Returns 0, or -1 with err set: the first value that differs, in which tensor of which file, or what cannot be read. */
int state_compare(struct params *params, const char *folder, struct err *err);
