/* rank_links.h - the links of its host as one rank sees them: how near each is, and where the rank itself is.  A record of fixed
 * size, for an exchange between the ranks. */
#pragma once

#include "train/ranks/node_links.h"

/* Where a rank is. */
struct rank_seat {
    const char *root;      /* of /sys */
    const char *gpu_bus;   /* "0000:5E:00.0"; "": it computes on processors */
    const cpu_set_t *cpus; /* that it may run on */
    bool uses_nccl;        /* its data is moved by NCCL, else by MPI */
};

struct rank_link {
    char name[LINK_NAME_ROOM];
    float gbit_s;
    signed char numa; /* -1: not known */
    unsigned char
        nearness; /* more is nearer: two for each PCI bridge shared with the rank's GPU, one for its node of memory */
    bool is_active, is_ethernet;
    bool is_allowed; /* the environment does not keep this rank from it */
};

struct rank_links {
    struct rank_link links[MAX_NODE_LINKS];
    char against[80]; /* what of the environment keeps this rank from links: "HFI_UNIT=0"; "": nothing does */
    int num_links;
    int numa; /* of its GPU, or of the processors it is bound to; -1: not known, or it is bound to none */
    bool on_gpu;
    bool is_apart; /* bound to processors of which none is in the socket of its GPU */
};

/* rank_links_read - not collective. */
void rank_links_read(struct rank_links *mine, const struct rank_seat *seat);
