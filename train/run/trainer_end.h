/* trainer_end.h - the end of a run: exit codes, and what is said. */
#pragma once

#include "train/run/trainer_setup.h"

enum { EXIT_DONE = 0, EXIT_FAULT = 1, EXIT_USAGE = 2, EXIT_REQUEUE = 75 };

/* trainer_outcome_text - how the run ended, for the summary; in the caller's buffer. */
const char *trainer_outcome_text(const struct trainer *t, int code, char *text, size_t room_bytes);

/* trainer_tell_done - a finished run that is started again: nothing is done, and nothing is touched.  One that has diverged,
 * or learnt nothing, stays what it is.  Returns the exit code. */
int trainer_tell_done(const struct trainer *t);

/* trainer_leave_early - an end was asked for before there was anything to save.  Returns the exit code. */
int trainer_leave_early(struct trainer *t);
