/* shard.c - what moves between ranks: weights gathered before use, gradients reduced after, masters
 * published. Every rank walks the units in the same order, so the collectives match. */
#include "train/model/shard.h"

#include "kernels/clock.h"

/* wait_timed - waiting for the network is a phase of its own: of the host, or of a device that goes on by
 * itself. */
static void wait_timed(struct params *params, struct transport *link, struct transfer *transfer) {
    struct device *dev = params->dev;
    double start = clock_s();
    if (dev->ops->op_begin)
        dev->ops->op_begin(dev, OP_TRANSFER);
    transport_wait(link, transfer);
    if (dev->ops->op_end)
        dev->ops->op_end(dev, OP_TRANSFER);
    params->comm_s += clock_s() - start;
}

void params_prefetch(struct params *params, struct transport *link, int unit) {
    if (params->setup.stage < 3 || unit < 0 || unit >= params->num_units)
        return;
    struct unit_slot *slot = params_slot(params->gathered, params, unit);
    if (slot->unit == unit)
        return;
    wait_timed(params, link, &slot->transfer); /* never two gathers into one buffer */
    const struct unit *u = &params->units[unit];
    slot->unit = unit;
    transport_all_gather_start(link, slot->data, u->shard,
                               (size_t)u->shard_count * dtype_bytes(params->setup.compute), &slot->transfer);
}

void params_acquire(struct params *params, struct transport *link, int unit) {
    if (params->setup.stage < 3)
        return;
    params_prefetch(params, link, unit);
    wait_timed(params, link, &params_slot(params->gathered, params, unit)->transfer);
}

static struct tensor floats(float *data, int64_t count) {
    return tensor_1d(data, DTYPE_F32, count);
}

/* settle - the reduced shard has arrived: add it to the unit's gradient, unless it landed there, and free the
 * slot. */
static void settle(struct params *params, struct transport *link, struct unit_slot *slot) {
    if (!slot->sending)
        return;
    wait_timed(params, link, &slot->transfer);
    const struct unit *u = &params->units[slot->unit];
    if (slot->adds) {
        struct tensor sum = floats(u->grad, u->shard_count);
        op_add(params->dev, sum, sum, floats(slot->landing, u->shard_count));
    }
    slot->sending = false;
    slot->unit = -1;
}

void params_grad_reset(struct params *params) {
    for (int u = 0; u < params->num_units; u++)
        params->units[u].fresh = true;
}

/* begin_fresh - zero what no matrix product will overwrite: norms, an embedding of its own, the padding. */
static void begin_fresh(struct params *params, struct unit *unit, float *data) {
    device_zero(params->dev, floats(data + unit->zero_first, unit->count - unit->zero_first));
    unit->open_grad = data;
    unit->write = OP_OVERWRITE;
}

static void begin_again(struct unit *unit, float *data) {
    unit->open_grad = data;
    unit->write = OP_ACCUMULATE;
}

/* begin_resident - stages 0 and 1: the unit's whole gradient stays in its place. */
static void begin_resident(struct params *params, struct unit *unit) {
    if (unit->fresh)
        begin_fresh(params, unit, unit->grad);
    else
        begin_again(unit, unit->grad);
    unit->fresh = false;
}

void params_grad_begin(struct params *params, struct transport *link, int unit) {
    struct unit *u = &params->units[unit];
    if (params->setup.stage < 2) {
        begin_resident(params, u);
        return;
    }
    struct unit_slot *slot = params_slot(params->gradient, params, unit);
    settle(params, link, slot);
    if (slot->unit == unit) { /* a tied embedding comes twice: head first, then lookup */
        begin_again(u, slot->data);
        return;
    }
    CHECK(slot->unit < 0, "gradient of unit %d begins while unit %d is open", unit, slot->unit);
    slot->unit = unit;
    begin_fresh(params, u, slot->data);
}

void params_grad_end(struct params *params, struct transport *link, int unit) {
    struct unit *u = &params->units[unit];
    u->open_grad = NULL;
    if (params->setup.stage < 2)
        return;
    struct unit_slot *slot = params_slot(params->gradient, params, unit);
    CHECK(slot->unit == unit, "gradient of unit %d ends, but unit %d is open", unit, slot->unit);
    slot->sending = true;
    slot->adds = !u->fresh;
    u->fresh = false;
    transport_reduce_scatter_start(link, slot->adds ? slot->landing : u->grad, slot->data, u->shard_count,
                                   &slot->transfer);
}

/* reduce_whole - stages 0 and 1: gradients were kept whole until the end of the step. */
static void reduce_whole(struct params *params, struct transport *link, int unit) {
    struct unit *u = &params->units[unit];
    if (params->setup.stage == 0) {
        if (params->setup.num_ranks > 1)
            transport_sum_f32(link, u->grad, u->count);
        return;
    }
    struct transfer transfer = {0};
    transport_reduce_scatter_start(link, u->grad + u->own_first, u->grad, u->shard_count, &transfer);
    transport_wait(link, &transfer);
}

/* sum_replicas - each rank's own gradients, over those who own the same elsewhere: the one exchange between
 * replicas. */
static void sum_replicas(struct params *params, struct transport *across) {
    for (int u = 0; u < params->num_units; u++)
        transport_sum_f32(across, params_own_grad(params, u), params->units[u].own_count);
}

void params_grad_finish(struct params *params, struct transport *link, struct transport *across) {
    double start = clock_s(), comm_s = params->comm_s;
    for (int u = 0; params->setup.stage < 2 && u < params->num_units; u++)
        reduce_whole(params, link, u);
    for (int s = 0; s < SLOT_COUNT; s++)
        settle(params, link, &params->gradient[s]);
    if (across)
        sum_replicas(params, across);
    params->comm_s = comm_s + clock_s() - start;
}

float *params_own_grad(const struct params *params, int unit) {
    const struct unit *u = &params->units[unit];
    return params->setup.stage == 1 ? u->grad + u->own_first : u->grad;
}

void *params_own_copy(const struct params *params, int unit) {
    const struct unit *u = &params->units[unit];
    if (params->setup.compute == DTYPE_F32)
        return NULL;
    size_t offset_bytes = (size_t)u->own_first * dtype_bytes(params->setup.compute);
    return params->setup.stage == 3 ? u->shard : (char *)u->full + offset_bytes;
}

/* gather_copies - stages 1 and 2: every rank holds all weights and updated a part. */
static void gather_copies(struct params *params, struct transport *link, struct unit *unit) {
    size_t value_bytes = dtype_bytes(params->setup.compute);
    struct transfer transfer = {0};
    transport_all_gather_start(link, unit->full, (char *)unit->full + (size_t)unit->own_first * value_bytes,
                               (size_t)unit->shard_count * value_bytes, &transfer);
    transport_wait(link, &transfer);
}

void params_publish(struct params *params, struct transport *link) {
    for (int s = 0; s < SLOT_COUNT; s++) {
        if (params->setup.stage == 3)
            wait_timed(params, link, &params->gathered[s].transfer);
        params->gathered[s].unit = -1;
    }
    double start = clock_s();
    if (params->setup.stage == 1 || params->setup.stage == 2)
        for (int u = 0; u < params->num_units; u++)
            gather_copies(params, link, &params->units[u]);
    params->comm_s += clock_s() - start;
}

void params_refresh(struct params *params, struct transport *link) {
    for (int u = 0; u < params->num_units; u++) {
        const struct unit *unit = &params->units[u];
        void *copy = params_own_copy(params, u);
        if (copy)
            op_cast(params->dev, tensor_1d(copy, params->setup.compute, unit->own_count),
                    floats(unit->master, unit->own_count));
    }
    params_publish(params, link);
}

/* share - the ranks' shards of an array [count] that all of them hold. */
static void share(struct params *params, struct transport *link, int unit, void *own, enum dtype dtype) {
    struct transfer transfer = {0};
    if (!own)
        return;
    transport_all_gather_start(link, own, params_shard_of(params, unit, own, dtype),
                               (size_t)params->units[unit].shard_count * dtype_bytes(dtype), &transfer);
    transport_wait(link, &transfer);
}

void params_share_masters(struct params *params, struct transport *link) {
    if (params->setup.stage != 0 || params->setup.num_ranks == 1)
        return;
    for (int u = 0; u < params->num_units; u++) {
        struct unit *unit = &params->units[u];
        share(params, link, u, unit->master, DTYPE_F32);
        share(params, link, u, unit->m, params->setup.moments);
        share(params, link, u, unit->v, params->setup.moments);
    }
}
