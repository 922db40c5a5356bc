/* node_links.h - the network links of this host that bypass the kernel (InfiniBand, Omni-Path, RoCE), as /sys shows them. */
#pragma once

#include "train/ranks/sysfs.h"

enum { MAX_NODE_LINKS = 16, LINK_NAME_ROOM = 32 };

struct node_link {
    char name[LINK_NAME_ROOM]; /* "hfi1_0", "mlx5_3": letters, digits, '_', '-' and '.' */
    bool is_active;            /* one of its ports at least */
    bool is_ethernet;          /* RoCE */
    float gbit_s;              /* of the fastest active port, else of the fastest; 0: not known */
    struct sysfs_place place;
};

/* node_links_read - of root/class/infiniband, in the order of their numbers (mlx5_2 before mlx5_10), whatever order the folder
 * has.  Returns how many; further ones, and what has no such name, are left out. */
int node_links_read(const char *root, struct node_link links[MAX_NODE_LINKS]);
