/* places.h - on which node each rank is, and what it sees of that node's links: one gather. */
#pragma once

#include "train/ranks/rank_device.h"
#include "train/ranks/rank_links.h"

enum { PLACE_HOST_ROOM = 64 };

/* A rank's record. */
struct place {
    char host[PLACE_HOST_ROOM]; /* as slurm.exclude takes it */
    struct rank_links links;
};

/* Nodes are told apart by their names, and numbered in the order of the ranks. */
struct places {
    int num_ranks, num_nodes;
    struct place *ranks; /* [num_ranks] */
    int *nodes;          /* [num_ranks] */
};

/* places_gather - of all ranks, on every rank.  Collective.  places_free afterwards. */
void places_gather(struct places *places, const struct rank_device *rank, struct comm *comm);
void places_free(struct places *places);

/* places_first_rank - of a node.  places_host - its name; borrowed. */
int places_first_rank(const struct places *places, int node);
const char *places_host(const struct places *places, int node);
