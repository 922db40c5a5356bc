/* trainer_replay.h - the end of a replay (replay.h). */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_replay_end - where the run has a checkpoint of the last step, whether weights and states are those in it: into the replay's
 * struct replay_end, on the root.  Nothing where there is no such checkpoint.  Collective. */
void trainer_replay_end(struct trainer *t);
