/* submit_rules.h - the rules of submit_request that have files of their own.  Each adds its diagnostics; those that
 * return an int give -1 where they added an error. */
#pragma once

#include "slurm/submit.h"

/* submit_check_values - every text that goes into the script. */
int submit_check_values(const struct job_request *request, struct diagnostics *diagnostics);

/* submit_check_variables - environment variables in launcher, module_path and module_init, which are expanded, and in what
 * is not.  After the partition was chosen. */
int submit_check_variables(const struct job_request *request, struct diagnostics *diagnostics);

/* submit_launcher - the words before the program: the run file's, else the partition's, else the site's. */
const struct text_entry *submit_launcher(const struct job_request *request, int *count);

/* submit_choose_qos - request->qos: the one asked for, or the first that allows the job. */
int submit_choose_qos(struct job_request *request, struct diagnostics *diagnostics);

/* submit_count_billed - what the site counts per hour; a warning where that is more than what is used. */
void submit_count_billed(struct job_request *request, struct diagnostics *diagnostics);

/* submit_check_budget - one job must fit into it. */
void submit_check_budget(const struct job_request *request, struct diagnostics *diagnostics);
