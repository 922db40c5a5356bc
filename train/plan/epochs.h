/* epochs.h - train.epochs in steps. */
#pragma once

#include "configs/schema/config.h"

/* epochs_sequences - of the files of data.train together, each cut and packed as the run does.  -1 with err set where one cannot
 * be read, or has none. */
int64_t epochs_sequences(const struct config *config, struct err *err);

/* epochs_steps - as many steps as it takes to read them so often, the last batch filled up from the next epoch. */
int64_t epochs_steps(const struct config *config, int64_t num_sequences);

/* epochs_resolve - train.steps of a run file with train.epochs (config_set_steps), by which documents are packed as packing_keep
 * says; without train.epochs that is all.  Returns 0, or -1
 * with err set: a file that is not there, the two keys at odds, checkpoint.from, whose steps go on counting. */
int epochs_resolve(struct config *config, struct err *err);
