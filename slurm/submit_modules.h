/* submit_modules.h - which modules a job loads: the run file's, else those of the partition and the site; but
 * none that brings an MPI where the program is a bundle with one of its own. */
#pragma once

#include "slurm/submit.h"

enum { MAX_JOB_MODULES = 256 };

/* submit_modules - their names in order, borrowed, at most MAX_JOB_MODULES; returns how many. */
int submit_modules(const struct job_request *request, const char *names[MAX_JOB_MODULES]);

/* submit_check_modules - notes what is left out for a bundle; an error where the run file asks for it. */
int submit_check_modules(const struct job_request *request, struct diagnostics *diagnostics);
