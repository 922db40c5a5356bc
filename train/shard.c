/* shard.c - what moves between ranks: weights gathered before use, gradients reduced after, masters
 * published. Every rank walks the units in the same order, so the collectives match. */
#include <string.h>

#include "train/clock.h"
#include "train/params.h"
#include "train/shard.h"

/* wait_timed - waiting for the network is a phase of its own. */
static void wait_timed(struct params *params, struct comm *comm, struct comm_request *request) {
    double start = clock_s();
    comm_wait(comm, request);
    params->comm_s += clock_s() - start;
}

void params_prefetch(struct params *params, struct comm *comm, int unit) {
    if (params->setup.stage < 3 || unit < 0 || unit >= params->num_units)
        return;
    struct unit_slot *slot = params_slot(params->gathered, params, unit);
    if (slot->unit == unit)
        return;
    wait_timed(params, comm, &slot->request); /* never two gathers into one buffer */
    const struct unit *u = &params->units[unit];
    slot->unit = unit;
    comm_all_gather_start(comm, slot->data, u->shard,
                          (size_t)u->shard_count * dtype_bytes(params->setup.compute), &slot->request);
}

void *params_acquire(struct params *params, struct comm *comm, int unit) {
    if (params->setup.stage < 3)
        return params->units[unit].full;
    params_prefetch(params, comm, unit);
    struct unit_slot *slot = params_slot(params->gathered, params, unit);
    wait_timed(params, comm, &slot->request);
    return slot->data;
}

/* settle - the reduced shard has arrived: add it to the unit's gradient and free the slot. */
static void settle(struct params *params, struct comm *comm, struct unit_slot *slot) {
    if (!slot->sending)
        return;
    wait_timed(params, comm, &slot->request);
    const struct unit *u = &params->units[slot->unit];
    for (int64_t i = 0; i < u->shard_count; i++)
        u->grad[i] += slot->landing[i];
    slot->sending = false;
    slot->unit = -1;
}

void params_grad_zero(struct params *params) {
    for (int u = 0; u < params->num_units; u++) {
        const struct unit *unit = &params->units[u];
        int64_t count = params->setup.stage < 2 ? unit->count : unit->shard_count;
        memset(unit->grad, 0, (size_t)count * sizeof(float));
    }
}

float *params_grad_begin(struct params *params, struct comm *comm, int unit) {
    if (params->setup.stage < 2)
        return params->units[unit].grad;
    struct unit_slot *slot = params_slot(params->gradient, params, unit);
    settle(params, comm, slot);
    if (slot->unit != unit) { /* a tied embedding comes twice: head first, then lookup */
        CHECK(slot->unit < 0, "gradient of unit %d begins while unit %d is open", unit, slot->unit);
        memset(slot->data, 0, (size_t)params->units[unit].count * sizeof(float));
        slot->unit = unit;
    }
    return slot->data;
}

void params_grad_end(struct params *params, struct comm *comm, int unit) {
    if (params->setup.stage < 2)
        return;
    struct unit_slot *slot = params_slot(params->gradient, params, unit);
    CHECK(slot->unit == unit, "gradient of unit %d ends, but unit %d is open", unit, slot->unit);
    slot->sending = true;
    comm_reduce_scatter_start(comm, slot->landing, slot->data, params->units[unit].shard_count,
                              &slot->request);
}

/* reduce_whole - stages 0 and 1: gradients were kept whole until the end of the step. */
static void reduce_whole(struct params *params, struct comm *comm, int unit) {
    struct unit *u = &params->units[unit];
    if (params->setup.stage == 0) {
        if (params->setup.num_ranks > 1)
            comm_sum_f32(comm, u->grad, u->count);
        return;
    }
    struct unit_slot *slot = params_slot(params->gradient, params, unit);
    comm_reduce_scatter_start(comm, slot->landing, u->grad, u->shard_count, &slot->request);
    comm_wait(comm, &slot->request);
    memcpy(u->grad + u->own_first, slot->landing, (size_t)u->shard_count * sizeof(float));
}

void params_grad_finish(struct params *params, struct comm *comm) {
    double start = clock_s();
    for (int u = 0; params->setup.stage < 2 && u < params->num_units; u++)
        reduce_whole(params, comm, u);
    if (params->setup.stage < 2)
        params->comm_s += clock_s() - start;
    for (int s = 0; s < SLOT_COUNT; s++)
        settle(params, comm, &params->gradient[s]);
}

float *params_own_grad(const struct params *params, int unit) {
    const struct unit *u = &params->units[unit];
    return params->setup.stage == 1 ? u->grad + u->own_first : u->grad;
}

/* refresh - the compute copy of what this rank owns, from its master. */
static void refresh(struct params *params, struct device *dev, struct unit *unit) {
    if (params->setup.compute == DTYPE_F32)
        return; /* the master is the compute copy */
    char *target = params->setup.stage == 3
                       ? unit->shard
                       : (char *)unit->full + (size_t)unit->own_first * dtype_bytes(DTYPE_BF16);
    op_cast(dev, tensor_1d(target, params->setup.compute, unit->own_count),
            tensor_1d(unit->master, DTYPE_F32, unit->own_count));
}

void params_publish(struct params *params, struct comm *comm, struct device *dev) {
    size_t size_bytes = dtype_bytes(params->setup.compute);
    for (int s = 0; s < SLOT_COUNT; s++) {
        if (params->setup.stage == 3)
            wait_timed(params, comm, &params->gathered[s].request);
        params->gathered[s].unit = -1;
    }
    double start = clock_s();
    for (int u = 0; u < params->num_units; u++) {
        struct unit *unit = &params->units[u];
        refresh(params, dev, unit);
        if (params->setup.stage == 1 || params->setup.stage == 2) {
            struct comm_request request = {0};
            comm_all_gather_start(comm, unit->full, (char *)unit->full + (size_t)unit->own_first * size_bytes,
                                  (size_t)unit->shard_count * size_bytes, &request);
            comm_wait(comm, &request);
        }
    }
    params->comm_s += clock_s() - start;
}

void params_share_masters(struct params *params, struct comm *comm) {
    if (params->setup.stage != 0 || params->setup.num_ranks == 1)
        return;
    for (int u = 0; u < params->num_units; u++) {
        struct unit *unit = &params->units[u];
        float *parts[3] = {unit->master, unit->m, unit->v};
        for (int i = 0; i < 3; i++) {
            struct comm_request request = {0};
            if (!parts[i])
                continue;
            comm_all_gather_start(comm, parts[i], params_shard_of(params, u, parts[i]),
                                  (size_t)unit->shard_count * sizeof(float), &request);
            comm_wait(comm, &request);
        }
    }
}
