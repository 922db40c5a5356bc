/* start_end.h - how a start of a chain ended: its part of the job's log, and where that is silent Slurm's states of its
 * nodes; and the nodes that are left out of the next starts, as Slurm is told. */
#pragma once

#include "slurm/chain.h"
#include "slurm/job_log.h"

/* start_log_bytes - the length of RUN/logs/NAME-ID.out, to which all starts of a job write; 0: there is none. */
int64_t start_log_bytes(const char *run_folder, const char *job_name, const char *job_id);

/* start_end_look - of that start: what the log holds from job->log_bytes on (the last MiB of it), else a node of
 * job->nodes that is down, fails, drains or does not answer.  At most two calls of Slurm's programs of 10 s. */
struct log_end start_end_look(const char *run_folder, const char *job_name, const struct chain_job *job);

/* start_nodes_read - the first node that failed in lines "NODE|STATE|REASON" of sinfo; LOG_SILENT: none did. */
struct log_end start_nodes_read(const char *text);

/* start_has_node - whether a name is one of the hosts, a line each; a domain after it is cut off (the name is
 * shortened in place). */
bool start_has_node(char *name, const char *hosts);
