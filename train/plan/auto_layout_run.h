/* auto_layout_run.h - the run file as a run takes it: with a number wherever it says 'auto', the same on all ranks. */
#pragma once

#include "train/plan/auto_layout.h"
#include "train/ranks/rank_device.h"

struct auto_layout {
    struct config config; /* a copy of the top level; its texts belong to the run file */
    struct site_facts facts;
    int ranks_per_node; /* 0: the nodes differ */
    char why[AUTO_LAYOUT_ROOM];
};

/* auto_layout_begin - before the devices are opened: what the site's profile knows.  auto_layout_finish - with the
 * device open, and before the ranks are connected: the layout, from the device's total memory (a CPU's is
 * shared by the ranks of the host).  Both collective. */
void auto_layout_begin(struct auto_layout *auto_layout, const struct config *config, struct comm *comm);
void auto_layout_finish(struct auto_layout *auto_layout, const struct model_config *model,
                        struct rank_device *rank, struct comm *comm);
