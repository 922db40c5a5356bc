/* probe.h - before the first step: do the ranks reach each other as fast as the site's profile says?  A
 * transport that silently fell back to something slow costs a night; a measurement of a few seconds does not.
 */
#pragma once

#include "train/plan/auto_layout_run.h"
#include "train/record/metrics.h"

enum probe_verdict { PROBE_GOOD, PROBE_SLOW, PROBE_REFUSED };

/* probe_judge - a bandwidth against the expected one (0: not known, then good): slow below half, refused
 * below minimum, a share of it (0: never). */
enum probe_verdict probe_judge(double bytes_per_s, double expected_bytes_per_s, double minimum);

/* probe_is_wanted - as fabric.probe says; auto: several ranks, and GPUs or several nodes. */
bool probe_is_wanted(enum probe_when when, int num_ranks, int num_nodes, bool on_gpu);

/* probe_slowest_node - of nodes in a ring, rates[i] being the bandwidth between node i and node (i + 1) %
 * num_nodes: the node whose better one is worst, a slow link having two ends.  -1: two nodes or fewer, where
 * the ends cannot be told apart. */
int probe_slowest_node(const double *rates, int num_nodes);

/* probe_run - tell the links of the nodes (train/ranks/link_tell.h); measure both axes of the grid, tell, and where one is slow find the slowest node.  Returns
 * false on all ranks when the run is refused, which the root has said.  Collective. */
bool probe_run(const struct auto_layout *auto_layout, struct rank_device *rank, struct comm *comm,
               struct metrics *metrics);
