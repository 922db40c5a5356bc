/* snapshot.h - a copy of this rank's masters and optimizer states in host memory: a checkpoint is written from it while the
 * training goes on.  It takes 4 bytes for each f32 value of a shard and 2 for each bf16 one, with AdamW 12 for each parameter
 * of a shard, on the ranks that write: those of the first replica.  Gradients are in no checkpoint, nor is what is frozen
 * beside an adapter. */
#pragma once

#include "train/model/params.h"

/* snapshot_take - copy the present values, between two steps; returns when the device may change them.  Nobody may read the
 * copy meanwhile.  Nothing where there is no room for one.  Not collective. */
void snapshot_take(struct params *params);
