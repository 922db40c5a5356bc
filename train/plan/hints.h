/* hints.h - what is usually wanted otherwise of a training with an adapter, and what a run does otherwise than other programs may;
 * nothing of it is wrong. */
#pragma once

#include "configs/schema/config.h"
#include "train/ranks/grid.h"

enum { MAX_HINTS = 10, HINT_ROOM = 320 };

/* plan_served_hint - of an adapter that servers do not take as it is: which do not, and the way out; false: there is nothing to be
 * said.  The run says it as well. */
bool plan_served_hint(const struct model_config *model, char hint[HINT_ROOM]);

/* plan_hints - one sentence each, into hints; returns their number. */
int plan_hints(const struct config *config, const struct model_config *model,
               char hints[MAX_HINTS][HINT_ROOM]);

/* hint_positions - of longrope, where the sequences of the run are long: short documents are turned as long ones too.  Into text;
 * "" where nothing is to be said. */
const char *hint_positions(const struct config *config, const struct model_config *model,
                           char text[HINT_ROOM]);

/* hint_routers - of a model with experts: whether their load balance is trained, and who says so.  Into text; "" of other models. */
const char *hint_routers(const struct config *config, const struct model_config *model, char text[HINT_ROOM]);

/* hint_wire - of gradients in 8 bits: where no network lies between the replicas, or there is one.  Into text; "" where there is
 * nothing to be said. */
const char *hint_wire(const struct config *config, const struct grid *grid, int ranks_per_node,
                      char text[HINT_ROOM]);

/* hint_gathers - of a plan whose tokens a second count NCCL's kernels: what they would be where copy engines gather the weights.  Into text;
 * "" where by_engines_per_s is 0: nothing is gained. */
const char *hint_gathers(double tokens_per_s, double by_engines_per_s, char text[HINT_ROOM]);

/* hint_pairs - of an adapter on a model with experts: what has no pair.  Into text; "" where there is nothing to be said. */
const char *hint_pairs(const struct model_config *model, char text[HINT_ROOM]);
