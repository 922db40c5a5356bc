/* doctor_ranks.h - what `atelier doctor` measures on GPUs, and between ranks when it is started with several.
 */
#pragma once

#include "train/ranks/places.h"

struct rank_rates {
    bool on_gpu;
    char device[240];                /* name and versions; or why there is no GPU */
    char transport[16], routes[160]; /* "nccl", and the ways it takes ("" not asked) */
    int num_ranks, num_nodes;
    double flops_16, copy_bytes_per_s, up_bytes_per_s, down_bytes_per_s; /* of one GPU: the slowest rank's */
    double link_bytes_per_s, node_bytes_per_s;                           /* 0: one rank; one node */
    struct places places;
};

/* rank_rates_measure - a few seconds.  The same figures on every rank.  Returns true on all, or false on all
 * when a device or a transport could not be opened, which the root has said.  Collective.  rank_rates_free - in either case. */
bool rank_rates_measure(struct rank_rates *rates, struct comm *comm);
void rank_rates_free(struct rank_rates *rates);
