/* link_table.h - the links of all nodes, with the ranks that each is the nearest of. */
#pragma once

#include "train/ranks/link_choice.h"
#include "train/ranks/places.h"

struct link_table {
    const struct places *places; /* borrowed */
    struct host_links *hosts;    /* [num_nodes] */
    int *chosen;                 /* [num_ranks]: index into its node's links, or -1 */
};

/* link_table_make - the same on every rank.  link_table_free afterwards. */
void link_table_make(struct link_table *table, const struct places *places);
void link_table_free(struct link_table *table);
