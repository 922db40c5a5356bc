/* trainer.h - one run: open, resume or start, step, validate, save, stop. */
#pragma once

#include "configs/schema/config.h"
#include "train/ranks/comm.h"

/* trainer_run - the whole run on all ranks.  Returns the exit code: 0 done, 1 fault, 2 the configuration or
 * its input is wrong, 75 stopped after a checkpoint.  Collective. */
int trainer_run(const struct config *config, struct comm *comm);
