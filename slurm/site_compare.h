/* site_compare.h - `atelier doctor --site`: a site's profile against what the cluster says of itself. */
#pragma once

#include "slurm/diagnostics.h"
#include "slurm/site_discover.h"

/* site_compare - a diagnostic for each difference: errors where a job would be refused or never start (a
 * partition, a QoS, more time or nodes than there are), warnings where the profile is out of date, notes for
 * what it does not know.  Pure. */
void site_compare(const struct site *site, const struct cluster *cluster, struct diagnostics *diagnostics);

/* site_compare_config - the same for the text of `scontrol show config`: whether jobs may be requeued, how
 * long a job may still save after its end.  Pure. */
void site_compare_config(const struct site *site, const char *text, struct diagnostics *diagnostics);

/* site_doctor - opens the profile (name as for site_open), asks the cluster, prints the differences.  Returns
 * the exit code: 0 no error among them, 1 differences that are errors, 2 no profile or no cluster to compare
 * with. */
int site_doctor(const char *name);
