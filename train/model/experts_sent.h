/* experts_sent.h - a block of experts that several ranks divide (parallel.expert): each has a run of them, whole ones, and rows of its
 * own.  Rows go to the rank that has their expert, and what it computes comes back to where they were: an all-to-all each way, in
 * the compute type, with nothing rounded that one rank alone would not round, and no room that a row could be left out of.
 *
 *   outgoing  [N K, C]  this rank's rows at the places of their experts: those of one rank's experts are neighbours
 *   arrived   [A, C]    from each rank, in their order, the rows for this one's experts, again at the places of theirs
 *   places    [A, C]    by expert, then by rank, then by row: an order that no timing changes
 *
 * A is what routers decide, and up to the rows of all ranks: that much memory is planned.  A gradient of an expert has the rows of
 * all ranks in it; it is added up over those that have the same expert (struct params_setup, holders).
 * Source: Lepikhin et al. 2020 (GShard), without its capacity; Gale et al. 2022 (MegaBlocks). */
#pragma once

#include "train/model/experts.h"

/* experts_are_divided - whether other ranks have other experts. */
bool experts_are_divided(const struct model *model);

/* experts_most_places - rows that may come to this rank's experts: its own, and of ranks that divide experts those of all, each of which goes
 * to each of its experts at most once. */
int64_t experts_most_places(const struct model *model);

/* experts_sent_take - memory of one layer, and experts_sent_take_shared - of all; from the arena.  experts_sent_create,
 * experts_sent_free - in host memory. */
void experts_sent_take(struct model *model, struct expert_acts *acts);
void experts_sent_take_shared(struct model *model);
void experts_sent_create(struct model *model);
void experts_sent_free(struct model *model);

/* experts_meet - after the routing of a layer: the ranks tell each other how many rows come for each expert.  The host waits for the
 * device.  Collective over the ranks that divide experts.  experts_received - then, and until it is routed anew: the block as this
 * rank's experts see it, its routes those of what arrives; of ranks that divide nothing the block's own acts. */
void experts_meet(struct model *model, struct transport *between, const struct experts *block);
struct expert_acts experts_received(const struct model *model, const struct experts *block);

/* experts_send - rows [N K, C] at their places to their experts, into to [A, C].  experts_return - the other way.  Collective over
 * the ranks that divide experts. */
void experts_send(struct model *model, struct transport *between, const struct experts *block,
                  struct tensor to, struct tensor rows);
void experts_return(struct model *model, struct transport *between, const struct experts *block,
                    struct tensor rows, struct tensor from);
