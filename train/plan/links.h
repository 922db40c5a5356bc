/* links.h - over which link each kind of exchange goes, and how fast: a node's own, or the network that its ranks share. */
#pragma once

#include "train/plan/machine.h"
#include "train/plan/timeline.h"
#include "train/ranks/grid.h"

/* links_inside_node - whether each replica lies on one node. */
bool links_inside_node(const struct grid *grid, int ranks_per_node);

/* links_take - rates and latencies of all exchanges of a rank's grid, whose nodes have so many ranks, into rates. */
void links_take(struct timeline_rates *rates, const struct grid *grid, int ranks_per_node,
                const struct machine *machine);
