/* chosen.h - the run file as a run takes it: with a number wherever it says 'auto', the same on all ranks. */
#pragma once

#include "train/plan/auto_layout.h"
#include "train/ranks/rank_device.h"

struct chosen {
    struct config config; /* a copy of the top level; its texts belong to the run file */
    struct site_facts facts;
    int ranks_per_node; /* 0: the nodes differ */
    char why[CHOICE_ROOM];
};

/* chosen_begin - before the devices are opened: what the site's profile knows.  chosen_finish - with the
 * device open, and before the ranks are connected: the layout, from the device's total memory (a CPU's is
 * shared by the ranks of the host).  Both collective. */
void chosen_begin(struct chosen *chosen, const struct config *config, struct comm *comm);
void chosen_finish(struct chosen *chosen, const struct model_config *model, struct rank_device *rank,
                   struct comm *comm);
