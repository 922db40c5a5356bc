/* publish.h - new values after an update, on their way to the ranks that compute with them: unit by unit, in the order of the
 * forward that reads them, and beside it.  Between replicas the values of two units are under way, inside of each those of one.
 * What asks for weights (params_prefetch, params_acquire in shard.h) takes the values along; others call params_publish_finish.
 * link as in shard.h. */
#pragma once

#include "train/model/params.h"

/* Layers take turns between two slots; so many units cross between the replicas at a time. */
enum { PUBLISH_SLOT_TURNS = 2, PUBLISH_AHEAD = PUBLISH_SLOT_TURNS };

/* params_publish_start - the copies of what this rank owns have changed: all ranks get them, what was gathered is forgotten.  What
 * every rank holds of them must not be changed, nor freed, nor a transport closed, until params_publish_finish, or until a forward
 * has read all units.  params_publish_finish - until every unit is whole; nothing where none is under way.
 * Collective. */
void params_publish_start(struct params *params, struct transport *link);
void params_publish_finish(struct params *params, struct transport *link);

/* publish_reach - the new values of a unit are on their way inside the replica; at stage 3, where a gather follows, they are in the
 * ranks' shards.  publish_whole - they are there.  Collective. */
void publish_reach(struct params *params, struct transport *link, int unit);
void publish_whole(struct params *params, struct transport *link, int unit);

/* publish_complete_shard - of an array [shard_count] of which each replica's rank has its owned part, each gets the rest. */
void publish_complete_shard(struct params *params, const struct segment *segment, void *shard,
                            enum dtype dtype, struct transfer *transfer);

/* publish_gather - every rank gets all of what the ranks hold a shard of in its place.  Collective. */
void publish_gather(struct params *params, struct transport *link, const struct segment *segment,
                    struct transfer *transfer);

/* slot_transfer - of segment i, which is about to begin through that transport.
 * slot_wait - until the transfers of a slot are there; counted in params->comm_s.  Collective.  slot_land - the same of what crosses
 * between the replicas, and the slot is free. */
struct transfer *slot_transfer(struct unit_slot *slot, int i, struct transport *via);
void slot_wait(struct params *params, struct unit_slot *slot);
void slot_land(struct params *params, struct unit_slot *slot);
