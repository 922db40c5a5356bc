/* run_data.h - the data of a run before its first step: whether there is anything to learn, and what is left
 * out. */
#pragma once

#include "configs/schema/config.h"
#include "data/tokens/loader.h"
#include "train/record/metrics.h"

/* run_data_check - each token file of the training and the validation has target tokens, and so have the
 * sequences that a validation takes.  valid may be NULL.  Returns 0, or -1 with err set.  For one rank: it
 * reads files. */
int run_data_check(const struct config *config, const struct loader *train, const struct loader *valid,
                   struct err *err);

/* run_data_tell - documents longer than a sequence and what of them is never used, a line for each file.
 * Returns 0, or -1 with err set: a loss mask could not be read. */
int run_data_tell(const struct config *config, const struct loader *train, struct metrics *metrics,
                  struct err *err);

/* run_data_long_text - the line itself into the caller's buffer; "" where nothing is to be said. */
const char *run_data_long_text(const struct config *config, const struct long_documents *facts, char *text,
                               size_t room_bytes);
