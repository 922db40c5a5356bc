/* link_tell.h - what is to be said of the links of the nodes. */
#pragma once

#include "train/ranks/link_table.h"

/* What the site's profile says of a node; 0, NULL: nothing. */
struct link_expectation {
    int64_t num_links;
    double gb_s;         /* GB/s of a node to others */
    const char *network; /* "omni_path", "infiniband": there should be links */
};

/* Who is told: a line of text without its end, which is a warning or not. */
struct link_listener {
    void (*tell)(void *to, bool is_warning, const char *text);
    void *to;
};

enum { LINK_TEXT_ROOM = 640 };

/* link_tell - one line about all nodes, and one for each kind of thing that is wrong, with the first node or rank that it is
 * wrong of: nodes with fewer links than others, slow ones, links that are nobody's nearest beside shared ones, links that the
 * environment leaves out, ranks bound to another socket than their GPU's, less than the profile expects.  Nothing where there are no links
 * and none are expected. */
void link_tell(const struct link_table *table, const struct link_expectation *expected,
               const struct link_listener *listener);

/* link_text - of one link of a node: "active, 100 Gbit/s, NUMA 0, nearest of ranks 0, 1".  Returns text. */
const char *link_text(const struct link_table *table, int node, int link, char text[LINK_TEXT_ROOM]);
