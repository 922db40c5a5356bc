/* grid.h - the ranks as a grid of two axes: replicas of the model, and the shards of one replica.  Pure
 * integers.
 *
 *   rank = replica * num_shards + shard
 *
 * Neighbouring ranks share a replica, so with the block placement of Slurm and mpirun a replica of as many
 * ranks as a node has lies inside that node: parameters are gathered over the node's own links, and what
 * crosses the network is one sum of gradients per step. */
#pragma once

#include "kernels/error.h"

struct grid {
    int num_replicas, num_shards;
    int replica, shard; /* of this rank */
};

/* grid_make - num_replicas 0: one for each node of ranks_per_node ranks, which all nodes must have (0: they
 * differ). Returns 0, or -1 with err set: the ranks cannot be split so. */
int grid_make(struct grid *grid, int num_ranks, int rank, int num_replicas, int ranks_per_node,
              struct err *err);
