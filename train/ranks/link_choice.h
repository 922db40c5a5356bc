/* link_choice.h - the links of one host, each with the ranks that it is the nearest of: what NCCL takes for a GPU, by the same
 * distances.  Follows from the records of the host's ranks alone. */
#pragma once

#include "train/ranks/rank_links.h"

struct host_link {
    struct rank_link link; /* as the first rank that has it sees it */
    bool counts;           /* some rank may use it, and it is active */
    int num_ranks;         /* whose nearest it is */
};

struct host_links {
    struct host_link links[MAX_NODE_LINKS]; /* in the order of their numbers */
    int num_links, num_active, num_counting, num_ranks;
    int num_linkless; /* ranks without one */
};

/* host_link_is_on_network - where a host has InfiniBand or Omni-Path, its Ethernet is beside the network between ranks.
 * host_link_is_active - one of the host's list, that is on the network. */
bool host_link_is_on_network(const struct host_links *host, const struct rank_link *link);
bool host_link_is_active(const struct host_links *host, int link);

/* link_choice_make - ranks[0..num_ranks - 1] of one host, in their order.  chosen[i]: the link of ranks[i], or -1.  Of links that are
 * equally near the one with fewest ranks is taken, then the first; ranks with fewest such links choose first. */
void link_choice_make(struct host_links *host, const struct rank_links *const *ranks, int num_ranks,
                      int *chosen);
