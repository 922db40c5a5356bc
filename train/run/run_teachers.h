/* run_teachers.h - the files of what teachers say of a run's training data. */
#pragma once

#include "train/run/run_data.h"

/* run_teachers_open - of objective.teacher, each for the token files it was made of, which are found by their contents; nothing
 * where the objective learns from no teacher.  Returns 0, or -1 with err set: a token file without one, one that is of no token
 * file or of another temperature, or that has fewer than objective.top_k tokens.  run_teachers_close - also after a
 * failed open; the loaders are not used any more. */
int run_teachers_open(struct run_data *data, const struct config *config, struct err *err);
void run_teachers_close(struct run_data *data);

/* run_teachers_tell - a line for each. */
void run_teachers_tell(const struct run_data *data, const struct config *config, struct metrics *metrics);
