/* run_phase.h - what a run is doing, and how long a rank may wait for the others in it: from the keys
 * run.timeout_s, run.start_timeout_s and checkpoint.timeout_s. */
#pragma once

#include "configs/schema/config.h"
#include "train/ranks/comm.h"

enum run_phase { RUN_STARTING, RUN_TRAINING, RUN_SAVING, RUN_ENDING };

/* run_phase_enter - from here on, on every rank.  Not collective. */
void run_phase_enter(struct comm *comm, const struct config *config, enum run_phase phase);

/* run_phase_limit_s - of one phase, in seconds. */
double run_phase_limit_s(const struct config *config, enum run_phase phase);

/* run_start_limit_s - the limit of the start, which is needed before the ranks can read the run file
 * together: each looks for these keys alone, in the file and the overrides ("key=value").  What is wrong with
 * them is said later; until then the default counts. */
double run_start_limit_s(const char *path, const char *const *overrides, int num_overrides);
