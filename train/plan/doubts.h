/* doubts.h - what a plan's time does not know, and how far a step may be off by each: the margin that is told.
 *
 * Each thing that was not measured is a doubt of its own, in seconds of a step: rates as shares of what follows from them, links by
 * the clock of the same timetable with other links.  They are of different makings, so that the margin is the root of their
 * squares: each one widens it, and none is counted twice. */
#pragma once

#include "train/plan/estimate.h"

enum { MAX_DOUBTS = 8 };

struct doubt {
    const char *what;      /* is not known, in words */
    double less_s, more_s; /* by which a step may be shorter or longer */
};

struct doubts {
    struct doubt all[MAX_DOUBTS];
    int count;
    double low, high; /* factors around a step */
};

/* doubts_find - of a step whose time was estimated with these arguments (estimate_step). */
void doubts_find(struct doubts *doubts, const struct config *config, const struct model_figures *figures,
                 const struct grid *grid, int ranks_per_node, const struct machine *machine);
