/* submit_after.h - slurm.after of a run file: jobs that must have ended well before this one starts. */
#pragma once

#include "slurm/diagnostics.h"
#include "slurm/site.h"

/* Who asks. */
struct after_asker {
    const char *run_folder; /* absolute */
    const char *task;       /* task.h; NULL: a training */
};

/* submit_after - "123:124", for sbatch's afterok, malloc'ed; NULL: none to wait for, or an error was added.  An entry
 * is a job's id; a run folder, of which the newest job of the training is meant, or where nothing was ever submitted to
 * train there the newest prepare, eval or export; or FOLDER:prepare and the like.  Of its own folder a training waits
 * for the prepare job, eval and export for the training, and prepare for nothing.  What is done needs no waiting, which
 * is noted.  Errors: a folder without jobs, a run or job that ended otherwise, a chain whose last job is not submitted
 * yet. */
char *submit_after(const struct config *config, const struct after_asker *asker,
                   struct diagnostics *diagnostics);
