/* auto_layout.h - what a run file leaves to the program with 'auto', chosen the same way by `atelier plan` and by
 * the run: from the site's profile and the kind of device alone, never from a measurement, so that the same
 * run file on the same kind of nodes always has the same layout, and a resumed run the layout it had. */
#pragma once

#include "train/plan/estimate.h"

/* What the site's profile says of the nodes a run is meant for. */
struct site_facts {
    bool is_known; /* the profile has the partition */
    enum fabric_kind fabric;
    double intra_gb_s, inter_gb_s; /* expected; 0: not known */
    int64_t num_links;             /* of a node to the network; 0: not known */
    struct machine machine;
};

/* site_facts_of - of a partition.  site_facts_read - of the run file's site and partition; where there is no
 * profile or no partition, nothing is known.  The cluster is not asked. */
struct site_facts site_facts_of(const struct config *config, const struct site_partition *partition,
                                int ranks_per_node);
struct site_facts site_facts_read(const struct config *config, int ranks_per_node);

/* auto_layout_machine - for the choice: the profile's machine where it is of this kind and its memory is near the
 * device's own (boards of one kind differ by a little), else an unknown one with the device's memory. */
struct machine auto_layout_machine(const struct site_facts *facts, bool on_gpu, size_t device_bytes);

enum { AUTO_LAYOUT_ROOM = 500 };

/* auto_layout_choose - a number in place of each 'auto', the fastest layout by the plan's own model (layout_search).
 * Adds its reason to why ("" where nothing was left open), room AUTO_LAYOUT_ROOM.  Returns false where nothing
 * fits: the smallest layout is then chosen; where the replicas that config asks for do not divide the ranks,
 * 'auto' stays, for no run can have them. */
bool auto_layout_choose(struct config *config, const struct model_config *model,
                        const struct search_ranks *ranks, char *why);

/* recompute_name - "none", "layer": as in the run file. */
const char *recompute_name(enum recompute recompute);
