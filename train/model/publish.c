/* publish.c - new values after an update.  Those of the first units alone are waited for: while one unit computes, the values of the
 * next are gathered inside the replica, and those of the two after it cross between the replicas. */
#include "train/model/publish.h"

#include "kernels/clock.h"

struct transfer *slot_transfer(struct unit_slot *slot, int i, struct transport *via) {
    slot->via[i] = via;
    return &slot->transfers[i];
}

/* slot_wait - waiting for the network is a phase of its own: of the host, or of a device that goes on by
 * itself. */
void slot_wait(struct params *params, struct unit_slot *slot) {
    struct device *dev = params->dev;
    double start = clock_s();
    if (dev->ops->op_begin)
        dev->ops->op_begin(dev, OP_TRANSFER);
    for (int i = 0; i < MAX_SEGMENTS; i++)
        if (slot->via[i])
            transport_arrive(slot->via[i], &slot->transfers[i]);
    if (dev->ops->op_end)
        dev->ops->op_end(dev, OP_TRANSFER);
    for (int i = 0; i < MAX_SEGMENTS; i++)
        if (slot->via[i])
            transport_wait(slot->via[i], &slot->transfers[i]);
    params->comm_s += clock_s() - start;
}

void slot_land(struct params *params, struct unit_slot *slot) {
    if (slot->unit >= 0)
        slot_wait(params, slot);
    slot->unit = -1;
}

void publish_complete_shard(struct params *params, const struct segment *segment, void *shard,
                            enum dtype dtype, struct transfer *transfer) {
    size_t value_bytes = dtype_bytes(dtype);
    const char *own = (char *)shard + (size_t)params_own_in_shard(params, segment) * value_bytes;
    transport_all_gather_start(params->across, shard, own, (size_t)segment->own_count * value_bytes,
                               transfer);
}

void publish_gather(struct params *params, struct transport *link, const struct segment *segment,
                    struct transfer *transfer) {
    transport_all_gather_start(params_link(params, link, segment), segment->full,
                               params_value_shard(params, segment), segment->shard_bytes, transfer);
}

/* cross_values - the new values of a unit, which the ranks of the replicas have in parts, into the shard of each. */
static void cross_values(struct params *params, int unit) {
    struct unit *u = &params->units[unit];
    struct unit_slot *slot = params_slot(params->crossing, params, unit);
    slot_land(params, slot);
    slot->unit = unit;
    for (int i = 0; i < u->num_segments; i++)
        if (u->segments[i].storage == STORAGE_TRAINED)
            publish_complete_shard(params, &u->segments[i], params_value_shard(params, &u->segments[i]),
                                   u->segments[i].stored, slot_transfer(slot, i, params->across));
}

/* cross_until - the values of all units up to this one have set out. */
static void cross_until(struct params *params, int unit) {
    struct publishing *now = &params->publishing;
    for (; params_is_split(&params->setup) && now->crossing <= unit && now->crossing < params->num_units;
         now->crossing++)
        cross_values(params, now->crossing);
}

/* gather_unit - inside the replica; at stage 3 the next gather takes the new values. */
static void gather_unit(struct params *params, struct transport *link, int unit) {
    struct unit *u = &params->units[unit];
    struct unit_slot *slot = params_slot(params->gathered, params, unit);
    if (params->setup.zero_stage == 3)
        return;
    for (int i = 0; i < u->num_segments; i++)
        if (u->segments[i].storage == STORAGE_TRAINED)
            publish_gather(params, link, &u->segments[i],
                           slot_transfer(slot, i, params_link(params, link, &u->segments[i])));
}

/* Two units of one slot are never under way together: the one before must be whole. */
void publish_reach(struct params *params, struct transport *link, int unit) {
    struct publishing *now = &params->publishing;
    for (; now->is_under_way && now->inside <= unit; now->inside++) {
        publish_whole(params, link, now->inside - PUBLISH_SLOT_TURNS);
        cross_until(params, now->inside);
        if (params_is_split(&params->setup))
            slot_land(params, params_slot(params->crossing, params, now->inside));
        cross_until(params, now->inside + PUBLISH_AHEAD);
        gather_unit(params, link, now->inside);
    }
}

void publish_whole(struct params *params, struct transport *link, int unit) {
    struct publishing *now = &params->publishing;
    if (!now->is_under_way || unit < now->whole)
        return;
    publish_reach(params, link, unit);
    for (; now->whole <= unit; now->whole++)
        if (params->setup.zero_stage < 3)
            slot_wait(params, params_slot(params->gathered, params, now->whole));
    now->is_under_way = now->whole < params->num_units;
}

/* What was gathered before the update is old in any case. */
void params_publish_start(struct params *params, struct transport *link) {
    params_publish_finish(params, link);
    for (int s = 0; s < SLOT_COUNT; s++) {
        if (params->setup.zero_stage == 3)
            slot_wait(params, &params->gathered[s]);
        params->gathered[s].unit = -1;
    }
    if (params->setup.zero_stage == 0 || (params->setup.zero_stage == 3 && !params_is_split(&params->setup)))
        return; /* every rank has updated everything, or the next gather takes the new values */
    params->publishing = (struct publishing){.is_under_way = true};
    cross_until(params, PUBLISH_AHEAD - 1);
}

void params_publish_finish(struct params *params, struct transport *link) {
    publish_whole(params, link, params->num_units - 1);
}
