/* shard.c - what moves between ranks: weights gathered before use, gradients reduced after, masters
 * shared; new values after an update are in publish.c. Every rank walks the units in the same order, so the collectives match.
 *
 * What overlaps.  At stage 3 the gather of the next unit runs while this one computes, and at stages 2 and 3 so does the
 * reduce-scatter of the one before: two slots for the layers, which take turns, are as much as can be under way.  Gradients
 * that stay whole (stages 0 and 1, keeps_gradients) are reduced once a step: from stage 1 on each unit's as soon as the last
 * micro-batch has completed it, beside the backward of the units before it. */
#include "train/model/shard.h"

#include "kernels/clock.h"
#include "train/model/exact_grads.h"
#include "train/model/packed_segment.h"
#include "train/model/publish.h"

/* A transfer for each segment, as their types and lengths differ; they lie in the slot one after the other. */
void params_prefetch(struct params *params, struct transport *link, int unit) {
    if (unit < 0 || unit >= params->num_units)
        return;
    publish_reach(params, link, unit);
    if (params->setup.zero_stage < 3)
        return;
    struct unit_slot *slot = params_slot(params->gathered, params, unit);
    if (slot->unit == unit)
        return;
    slot_wait(params, slot); /* never two gathers into one buffer */
    const struct unit *u = &params->units[unit];
    slot->unit = unit;
    for (int i = 0; i < u->num_segments; i++) {
        const struct segment *segment = &u->segments[i];
        size_t first_bytes = (size_t)segment->first * dtype_bytes(segment->stored);
        char *to = segment->storage == STORAGE_QUANTISED ? (char *)slot->packed + segment->packed_first
                                                         : (char *)slot->data + first_bytes;
        struct transport *own = params_link(params, link, segment);
        transport_all_gather_start(own, to, segment->shard, segment->shard_bytes,
                                   slot_transfer(slot, i, own));
    }
    slot->packed_waits = u->is_quantised;
}

/* unpack - what is quantised of a unit, into its slot, once for as long as the unit is there. */
static void unpack(struct params *params, const struct unit *unit, struct unit_slot *slot) {
    for (int i = 0; slot->packed_waits && i < unit->num_segments; i++)
        if (unit->segments[i].storage == STORAGE_QUANTISED)
            packed_segment_restore(params, &unit->segments[i], slot);
    slot->packed_waits = false;
}

void params_acquire(struct params *params, struct transport *link, int unit) {
    const struct unit *u = &params->units[unit];
    publish_whole(params, link, unit);
    if (params->setup.zero_stage < 3 && !u->is_quantised)
        return;
    struct unit_slot *slot = params_slot(params->gathered, params, unit);
    if (params->setup.zero_stage == 3) {
        params_prefetch(params, link, unit);
        slot_wait(params, slot);
    } else if (slot->unit != unit) {
        slot->unit = unit;
        slot->packed_waits = true;
    }
    unpack(params, u, slot);
}

/* floats - f32 values as the ops take them. */
static struct tensor floats(float *data, int64_t count) {
    return tensor_1d(data, DTYPE_F32, count);
}

/* shard_grad - where this rank's shard of a segment's gradient is reduced to: [shard_count]. */
static float *shard_grad(const struct params *params, const struct segment *segment) {
    bool is_whole = params_has_whole_gradients(&params->setup);
    return is_whole ? segment->grad + segment->shards.index * segment->shard_count : segment->grad;
}

/* round_shard - for each replica the part that it updates, as it travels. */
static void round_shard(struct params *params, const struct segment *s, void *rounded) {
    float *shard = shard_grad(params, s);
    int64_t rows = params->setup.replicas.size;
    if (params_crosses_coded(&params->setup))
        op_quantise(params->dev, rounded, tensor_2d(shard, DTYPE_F32, rows, s->own_count),
                    tensor_2d(s->lost, DTYPE_F32, rows, s->own_count));
    else
        op_cast(params->dev, tensor_1d(rounded, params->setup.wire, s->shard_count),
                floats(shard, s->shard_count));
}

/* cross_rounded - a segment's shard of the gradient as the wire has it: rounded once, before it travels, and added in f32.  At:
 * where in the slot. */
static void cross_rounded(struct params *params, const struct segment *s, struct unit_slot *slot,
                          size_t at_bytes) {
    int i = (int)(s - params->units[s->unit].segments);
    char *rounded = (char *)slot->data + at_bytes;
    round_shard(params, s, rounded);
    slot->sums[i] = (struct sum_rounded){.shard = shard_grad(params, s) + params_own_in_shard(params, s),
                                         .full = rounded,
                                         .dtype = params->setup.wire,
                                         .has_codes = params_crosses_coded(&params->setup),
                                         .shard_count = s->own_count,
                                         .terms = (char *)slot->terms + at_bytes,
                                         .widened = params->widened};
    transport_sum_rounded_start(params->across, &slot->sums[i], slot_transfer(slot, i, params->across));
}

/* cross - the sum between the replicas of a unit's gradients, whose sum inside this one is complete: each rank gets its part of
 * the shard. */
static void cross(struct params *params, int unit) {
    struct unit *u = &params->units[unit];
    struct unit_slot *slot = params_slot(params->crossing, params, unit);
    size_t at_bytes = 0;
    u->crossed = true;
    slot_land(params, slot);
    slot->unit = unit;
    for (int i = 0; i < u->num_segments; i++) {
        const struct segment *s = &u->segments[i];
        if (s->storage != STORAGE_TRAINED)
            continue;
        float *shard = shard_grad(params, s);
        if (params_crosses_rounded(&params->setup)) {
            cross_rounded(params, s, slot, at_bytes);
            at_bytes += (size_t)params->setup.replicas.size * params_wire_bytes(&params->setup, s->own_count);
        } else {
            transport_reduce_scatter_start(params->across, shard + params_own_in_shard(params, s), shard,
                                           s->own_count, slot_transfer(slot, i, params->across));
        }
    }
}

/* add_landed - to what earlier micro-batches left of a segment's gradient. */
static void add_landed(struct params *params, const struct unit_slot *slot, const struct segment *segment) {
    if (params->setup.adds_exactly) {
        exact_grads_land(params, slot, segment);
        return;
    }
    struct tensor sum = floats(segment->grad, segment->shard_count);
    op_add(params->dev, sum, sum, floats(slot->landing + segment->landing_first, segment->shard_count));
}

/* settle - the reduced shards have arrived: add them to the unit's gradients, unless they landed there, and free
 * the slot. */
static void settle(struct params *params, struct unit_slot *slot) {
    if (!slot->sending)
        return;
    slot_wait(params, slot);
    const struct unit *u = &params->units[slot->unit];
    for (int i = 0; slot->adds && i < u->num_segments; i++)
        if (u->segments[i].storage == STORAGE_TRAINED)
            add_landed(params, slot, &u->segments[i]);
    if (slot->closes && params_is_split(&params->setup))
        cross(params, slot->unit);
    slot->sending = false;
    slot->unit = -1;
}

/* settle_before - a unit's gradients have just set out: those of the one before it had its backward to travel beside inside the
 * replica, and cross between the replicas from here on, not when their slot is needed again. */
static void settle_before(struct params *params, int unit) {
    for (int s = 0; s < SLOT_COUNT && params_is_split(&params->setup); s++)
        if (params->gradient[s].closes && params->gradient[s].unit != unit)
            settle(params, &params->gradient[s]);
}

void params_grad_reset(struct params *params) {
    for (int u = 0; u < params->num_units; u++) {
        params->units[u].fresh = true;
        params->units[u].sent = params->units[u].crossed = false;
    }
    params->is_last = false;
    if (params->setup.adds_exactly)
        exact_grads_reset(params);
}

/* settle_all - all that is under way of this step's gradients has arrived. */
static void settle_all(struct params *params) {
    for (int s = 0; s < SLOT_COUNT; s++)
        settle(params, &params->gradient[s]);
}

bool params_grad_repeats(struct params *params, struct comm *comm, int64_t num_terms) {
    if (!params->setup.adds_exactly)
        return false;
    settle_all(params);
    return exact_grads_judge(params, comm, num_terms);
}

void params_grad_last(struct params *params) {
    params->is_last = true;
}

/* open_gradients - where the backward of a unit puts them: in a slot, or where the segments' whole gradients stay. */
static void open_gradients(struct params *params, int unit, const struct unit_slot *slot) {
    struct unit *u = &params->units[unit];
    for (int i = 0; i < u->num_segments; i++) {
        struct segment *segment = &u->segments[i];
        if (segment->storage == STORAGE_TRAINED)
            segment->open_grad = slot ? (float *)slot->data + segment->grad_first : segment->grad;
    }
}

/* zero_gradients - what no matrix product will overwrite: norms, an embedding of its own, the padding. */
static void zero_gradients(struct params *params, const struct unit *unit) {
    for (int i = 0; i < unit->num_segments; i++) {
        const struct segment *segment = &unit->segments[i];
        if (segment->open_grad)
            device_zero(params->dev, floats(segment->open_grad + segment->zero_first,
                                            segment->count - segment->zero_first));
    }
}

/* take_slot - stages 2 and 3: the slot of a unit's gradient.  Returns whether it holds nothing of the unit yet: a
 * tied embedding comes twice, head first, then lookup. */
static bool take_slot(struct params *params, int unit, struct unit_slot *slot) {
    settle(params, slot);
    if (slot->unit == unit)
        return false;
    CHECK(slot->unit < 0, "gradient of unit %d begins while unit %d is open", unit, slot->unit);
    slot->unit = unit;
    return true;
}

/* fresh is of the step where the whole gradient stays; a slot is fresh whenever another unit was in it,
 * and what earlier micro-batches left of this one is in segment.grad already. */
void params_grad_begin(struct params *params, int unit) {
    struct unit *u = &params->units[unit];
    struct unit_slot *slot = NULL;
    bool overwrites = u->fresh;
    if (params_grad_passes_slot(&params->setup)) {
        slot = params_slot(params->gradient, params, unit);
        overwrites = take_slot(params, unit, slot);
    } else {
        u->fresh = false;
    }
    u->write = overwrites ? OP_OVERWRITE : OP_ACCUMULATE;
    open_gradients(params, unit, slot);
    if (overwrites)
        zero_gradients(params, u);
}

/* send_gradients - the reduce-scatter of what the slot holds of a unit begins. */
static void send_gradients(const struct params *params, struct transport *link, struct unit_slot *slot) {
    const struct unit *unit = &params->units[slot->unit];
    for (int i = 0; i < unit->num_segments; i++) {
        const struct segment *segment = &unit->segments[i];
        if (segment->storage != STORAGE_TRAINED)
            continue;
        float *shard = slot->adds ? slot->landing + segment->landing_first : segment->grad;
        struct transport *own = params_link(params, link, segment);
        transport_reduce_scatter_start(own, shard, (float *)slot->data + segment->grad_first,
                                       segment->shard_count, slot_transfer(slot, i, own));
    }
}

/* send_whole - the reduction of a unit's gradients, which every rank has whole, into the part of it that is its own.  The slot
 * has no memory here: it counts how many are under way. */
static void send_whole(struct params *params, struct transport *link, int unit) {
    struct unit *u = &params->units[unit];
    struct unit_slot *slot = params_slot(params->gradient, params, unit);
    settle(params, slot);
    slot->unit = unit;
    slot->sending = slot->closes = u->sent = true;
    slot->adds = false;
    for (int i = 0; i < u->num_segments; i++) {
        const struct segment *s = &u->segments[i];
        struct transport *own = params_link(params, link, s);
        if (s->storage == STORAGE_TRAINED)
            transport_reduce_scatter_start(own, shard_grad(params, s), s->grad, s->shard_count,
                                           slot_transfer(slot, i, own));
    }
}

/* end_whole - only after the step's last micro-batch is there anything to send, and at stage 0 not even then. */
static void end_whole(struct params *params, struct transport *link, int unit) {
    if (!params->is_last || params->setup.zero_stage == 0)
        return;
    send_whole(params, link, unit);
    settle_before(params, unit);
}

/* end_exact - what is added to whole sums leaves the slot free; after the step's last micro-batch, from stage 1 on, they set out. */
static void end_exact(struct params *params, struct transport *link, struct unit_slot *slot) {
    struct unit *u = &params->units[slot->unit];
    bool is_whole = params_has_whole_gradients(&params->setup);
    slot->adds = !u->fresh;
    u->fresh = slot->closes = false;
    exact_grads_add(params, link, slot);
    if (is_whole) {
        slot->adds = false; /* it did */
        u->sent = params->is_last && params->setup.zero_stage > 0;
    }
    if (u->sent)
        exact_grads_send(params, link, slot);
    slot->sending = u->sent || !is_whole;
    if (!slot->sending)
        slot->unit = -1;
}

/* The first micro-batch's sums land in the unit's gradient itself; those of the others beside it, and settle adds them: a
 * reduction writes, it does not add. */
void params_grad_end(struct params *params, struct transport *link, int unit) {
    struct unit *u = &params->units[unit];
    for (int i = 0; i < u->num_segments; i++)
        u->segments[i].open_grad = NULL;
    if (!params_grad_passes_slot(&params->setup)) {
        end_whole(params, link, unit);
        return;
    }
    struct unit_slot *slot = params_slot(params->gradient, params, unit);
    CHECK(slot->unit == unit, "gradient of unit %d ends, but unit %d is open", unit, slot->unit);
    if (params->setup.adds_exactly) {
        end_exact(params, link, slot);
        return;
    }
    slot->sending = true;
    slot->closes = params->is_last;
    slot->adds = !u->fresh;
    u->fresh = false;
    send_gradients(params, link, slot);
    settle_before(params, unit);
}

/* sum_whole - the owned range of an array [count] that every rank holds becomes the sum over the ranks. */
static void sum_whole(struct params *params, struct transport *link, const struct segment *segment,
                      float *whole) {
    link = params_link(params, link, segment);
    if (params->setup.zero_stage == 0) {
        if (segment->shards.size > 1)
            transport_sum_f32(link, whole, segment->count);
        return;
    }
    struct transfer transfer = {0};
    float *shard = whole + segment->shards.index * segment->shard_count;
    transport_reduce_scatter_start(link, shard, whole, segment->shard_count, &transfer);
    transport_wait(link, &transfer);
}

/* finish_crossing - between replicas: units that did not cross while the last micro-batch ran, and the ends of all. */
static void finish_crossing(struct params *params) {
    for (int u = params->num_units - 1; u >= 0; u--)
        if (!params->units[u].crossed)
            cross(params, u);
    for (int s = 0; s < SLOT_COUNT; s++)
        slot_land(params, &params->crossing[s]);
}

/* sum_replicas - at stage 0: every rank of every replica gets the whole sum. */
static void sum_replicas(struct params *params) {
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        transport_sum_f32(params->across, s->grad, s->count);
}

/* send_rest - whole gradients that were not sent while the last micro-batch ran. */
static void send_rest(struct params *params, struct transport *link) {
    for (int u = params->num_units - 1; u >= 0; u--)
        if (!params->units[u].sent)
            send_whole(params, link, u);
}

/* sum_alike - of what the ranks that divide tensors hold whole, each has the gradient of its rows and of its heads. */
static void sum_alike(struct params *params) {
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        if (s->is_alike)
            transport_sum_f32(params->along, params_own_grad(params, s), s->own_count);
}

/* Inside the replica first: from stage 1 on what crosses between replicas is a shard for each rank.  The time counts
 * as waiting altogether, also what settle adds up. */
void params_grad_finish(struct params *params, struct transport *link) {
    double start = clock_s(), comm_s = params->comm_s;
    if (params->setup.adds_exactly) {
        settle_all(params);
        exact_grads_finish(params, link);
        params->comm_s = comm_s + clock_s() - start;
        return;
    }
    if (params->setup.zero_stage == 0)
        for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
            sum_whole(params, link, s, s->grad);
    else if (params_has_whole_gradients(&params->setup))
        send_rest(params, link);
    settle_all(params);
    if (params_is_split(&params->setup))
        finish_crossing(params);
    else if (params->across)
        sum_replicas(params);
    if (params->along)
        sum_alike(params);
    params->comm_s = comm_s + clock_s() - start;
}

float *params_own_grad(const struct params *params, const struct segment *segment) {
    if (params->setup.zero_stage == 0 || params->setup.adds_exactly)
        return segment->grad;
    return shard_grad(params, segment) + params_own_in_shard(params, segment);
}

void *params_own_copy(const struct params *params, const struct segment *segment) {
    size_t value_bytes = dtype_bytes(segment->stored);
    if (segment->stored == DTYPE_F32)
        return NULL;
    if (params->setup.zero_stage == 3)
        return (char *)segment->shard + (size_t)params_own_in_shard(params, segment) * value_bytes;
    return (char *)segment->full + (size_t)segment->own_first * value_bytes;
}

void params_gather_own(struct params *params, struct transport *link, const struct segment *segment,
                       float *whole) {
    struct transfer transfer = {0};
    double start = clock_s();
    if (params->setup.zero_stage == 0) /* the owned range is all of it */
        return;
    float *shard = whole + segment->shards.index * segment->shard_count;
    if (params_is_split(&params->setup)) {
        publish_complete_shard(params, segment, shard, DTYPE_F32, &transfer);
        transport_wait(params->across, &transfer);
    }
    link = params_link(params, link, segment);
    transport_all_gather_start(link, whole, shard, (size_t)segment->shard_count * sizeof *whole, &transfer);
    transport_wait(link, &transfer);
    params->comm_s += clock_s() - start;
}

void params_sum_own(struct params *params, struct transport *link, const struct segment *segment,
                    float *whole) {
    double start = clock_s();
    sum_whole(params, link, segment, whole);
    params->comm_s += clock_s() - start;
}

void params_publish(struct params *params, struct transport *link) {
    params_publish_start(params, link);
    params_publish_finish(params, link);
}

void params_refresh(struct params *params, struct transport *link) {
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));) {
        void *copy = params_own_copy(params, s);
        if (copy)
            op_cast(params->dev, tensor_1d(copy, s->stored, s->own_count), floats(s->master, s->own_count));
    }
    params_publish(params, link);
}

/* share - the ranks' shards of an array [count] that all of them hold. */
static void share(struct params *params, struct transport *link, const struct segment *segment, void *own,
                  enum dtype dtype) {
    struct transfer transfer = {0};
    if (!own)
        return;
    link = params_link(params, link, segment);
    transport_all_gather_start(link, own, params_shard_of(params, segment, own, dtype),
                               (size_t)segment->shard_count * dtype_bytes(dtype), &transfer);
    transport_wait(link, &transfer);
}

/* gather_frozen - values that no update changes. */
static void gather_frozen(struct params *params, struct transport *link, const struct segment *segment) {
    struct transfer transfer = {0};
    publish_gather(params, link, segment, &transfer);
    transport_wait(params_link(params, link, segment), &transfer);
}

/* share_training - masters and states of a segment. */
static void share_training(struct params *params, struct transport *link, const struct segment *segment) {
    share(params, link, segment, segment->master, DTYPE_F32);
    for (int i = 1; segment->rule && i < params_num_arrays(params, segment); i++)
        share(params, link, segment, params_array(segment, i), params_array_type(params, segment, i));
}

/* Each rank has read its own shard of the file, as all do at every stage: reading everything on each would be num_ranks times
 * the bytes of the disk.  From stage 1 on the shard of masters is all that a rank keeps. */
void params_share_masters(struct params *params, struct transport *link) {
    for (struct segment *s = NULL; (s = params_next(params, s));)
        if (s->pending_scales)
            packed_segment_finish(params, link, s);
    if (params->setup.num_ranks == 1)
        return;
    for (struct segment *s = NULL; (s = params_next(params, s));)
        if (s->storage != STORAGE_TRAINED && params->setup.zero_stage < 3)
            gather_frozen(params, link, s);
        else if (s->storage == STORAGE_TRAINED && params->setup.zero_stage == 0)
            share_training(params, link, s);
}
