/* run_record.h - RUN/run.json: whose run folder it is.  The run's own id, the folder's place and the run file
 * at the last start, and, for a line that began at another run's checkpoint, which one. */
#pragma once

#include "configs/schema/config.h"
#include "slurm/diagnostics.h"

/* run_record_check - before anything in the folder is touched: a second run file with the same name must not
 * go on with the first one's run by default.  A folder that was moved or copied is added to said, and a run
 * whose run.json is gone where the run file names its folder.  Returns 0, or -1 with err set: both run files; a
 * run.json that is damaged; one that is gone, where the folder is the run file's by default. */
int run_record_check(const struct config *config, struct diagnostics *said, struct err *err);

/* run_record_write - this start's facts; from: checkpoint that a new line begins at, or NULL: as it was.
 * Returns 0, or -1 with err set. */
int run_record_write(const struct config *config, const char *from, struct err *err);

/* run_record_id - the run's own, malloc'ed; NULL where there is none. */
char *run_record_id(const char *run_folder);
