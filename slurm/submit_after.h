/* submit_after.h - slurm.after of a run file: jobs that must have ended well before this one starts. */
#pragma once

#include "slurm/diagnostics.h"
#include "slurm/site.h"

/* submit_after - "123:124", for sbatch's afterok, malloc'ed; NULL: none to wait for, or an error was added.  An entry
 * is a job's id or a run folder, of which the newest job is meant; a run that is done needs no waiting, which is
 * noted.  Errors: a folder without jobs, a run that ended otherwise, a chain whose last job is not submitted
 * yet. */
char *submit_after(const struct config *config, struct remarks *remarks);
