/* grid.c - see grid.h. */
#include "train/ranks/grid.h"

int grid_make(struct grid *grid, int num_ranks, int rank, int num_replicas, int ranks_per_node,
              struct err *err) {
    if (num_replicas == 0 && (ranks_per_node <= 0 || num_ranks % ranks_per_node != 0))
        return err_set(
            err, "parallel.replicas: 0 asks for one replica per node, but the nodes have different numbers "
                 "of ranks; start as many on each, or give a number");
    if (num_replicas == 0)
        num_replicas = num_ranks / ranks_per_node;
    if (num_ranks % num_replicas != 0)
        return err_set(err,
                       "%d ranks cannot be split into %d replicas of the same size; change parallel.replicas",
                       num_ranks, num_replicas);
    grid->num_replicas = num_replicas;
    grid->num_shards = num_ranks / num_replicas;
    grid->replica = rank / grid->num_shards;
    grid->shard = rank % grid->num_shards;
    return 0;
}
