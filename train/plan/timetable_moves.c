/* timetable_moves.c - the exchanges of parameters and gradients: function by function those of train/model/shard.c and publish.c, and those
 * of the optimizers' updates. */
#include "train/plan/timetable_walk.h"

/* others - ranks that a rank sends to. */
static int64_t others(const struct walk *walk, enum exchange_axis axis) {
    const struct params_setup *setup = &walk->params.setup;
    if (axis == EXCHANGE_TENSOR)
        return setup->tensor.size > 1 ? setup->tensor.size - 1 : 0;
    if (axis == EXCHANGE_HOLDERS)
        return setup->holders.size - 1;
    return axis == EXCHANGE_INSIDE ? setup->num_ranks - 1 : setup->replicas.size - 1;
}

static struct walk_slot *slot_of(struct walk *walk, struct walk_slot *slots, int unit) {
    return &slots[params_slot_index(&walk->params, unit)];
}

/* axis_of - what is inside a replica is, of experts that ranks divide, between those with the same ones: params_link. */
static enum exchange_axis axis_of(enum exchange_axis axis, const struct segment *s) {
    return axis == EXCHANGE_INSIDE && s->is_experts ? EXCHANGE_HOLDERS : axis;
}

/* begin - of a segment: bytes to each of the others. */
static void begin(struct walk *walk, struct walk_start start, const struct segment *s, int64_t bytes_each) {
    start.axis = axis_of(start.axis, s);
    start.unit = s->unit;
    start.segment = (int)(s - walk->params.units[s->unit].segments);
    start.bytes = others(walk, start.axis) * bytes_each;
    if (start.slot)
        walk_begin(walk, &start);
    else
        walk_at_once(walk, start);
}

/* --- new values --- */

/* land - what crosses through this slot is there. */
static void land(struct walk *walk, struct walk_slot *slot) {
    walk_wait(walk, slot);
    slot->unit = -1;
}

static void cross_values(struct walk *walk, int unit) {
    const struct unit *u = &walk->params.units[unit];
    struct walk_slot *slot = slot_of(walk, walk->crossing, unit);
    land(walk, slot);
    slot->unit = unit;
    for (int i = 0; i < u->num_segments; i++)
        if (u->segments[i].storage == STORAGE_TRAINED)
            begin(walk, (struct walk_start){.what = EXCHANGE_VALUES, .axis = EXCHANGE_ACROSS, .slot = slot},
                  &u->segments[i], u->segments[i].own_count * (int64_t)dtype_bytes(u->segments[i].stored));
}

static void cross_until(struct walk *walk, int unit) {
    struct publishing *now = &walk->publishing;
    for (; params_is_split(&walk->params.setup) && now->crossing <= unit &&
           now->crossing < walk->params.num_units;
         now->crossing++)
        cross_values(walk, now->crossing);
}

static void gather_unit(struct walk *walk, int unit) {
    const struct unit *u = &walk->params.units[unit];
    struct walk_slot *slot = slot_of(walk, walk->gathered, unit);
    for (int i = 0; walk->params.setup.zero_stage < 3 && i < u->num_segments; i++)
        if (u->segments[i].storage == STORAGE_TRAINED)
            begin(walk, (struct walk_start){.what = EXCHANGE_VALUES, .axis = EXCHANGE_INSIDE, .slot = slot},
                  &u->segments[i], (int64_t)u->segments[i].shard_bytes);
}

static void whole(struct walk *walk, int unit);

static void reach(struct walk *walk, int unit) {
    struct publishing *now = &walk->publishing;
    for (; now->is_under_way && now->inside <= unit; now->inside++) {
        whole(walk, now->inside - PUBLISH_SLOT_TURNS);
        cross_until(walk, now->inside);
        if (params_is_split(&walk->params.setup))
            land(walk, slot_of(walk, walk->crossing, now->inside));
        cross_until(walk, now->inside + PUBLISH_AHEAD);
        gather_unit(walk, now->inside);
    }
}

static void whole(struct walk *walk, int unit) {
    struct publishing *now = &walk->publishing;
    if (!now->is_under_way || unit < now->whole)
        return;
    reach(walk, unit);
    for (; now->whole <= unit; now->whole++)
        if (walk->params.setup.zero_stage < 3)
            walk_wait(walk, slot_of(walk, walk->gathered, now->whole));
    now->is_under_way = now->whole < walk->params.num_units;
}

void walk_publish_start(struct walk *walk) {
    const struct params_setup *setup = &walk->params.setup;
    if (setup->zero_stage == 0 || (setup->zero_stage == 3 && !params_is_split(setup)))
        return;
    walk->publishing = (struct publishing){.is_under_way = true};
    cross_until(walk, PUBLISH_AHEAD - 1);
}

/* --- weights before use --- */

void walk_prefetch(struct walk *walk, int unit) {
    if (unit < 0 || unit >= walk->params.num_units)
        return;
    reach(walk, unit);
    if (walk->params.setup.zero_stage < 3)
        return;
    struct walk_slot *slot = slot_of(walk, walk->gathered, unit);
    if (slot->unit == unit)
        return;
    walk_wait(walk, slot);
    slot->unit = unit;
    const struct unit *u = &walk->params.units[unit];
    for (int i = 0; i < u->num_segments; i++)
        begin(walk, (struct walk_start){.what = EXCHANGE_WEIGHTS, .axis = EXCHANGE_INSIDE, .slot = slot},
              &u->segments[i], (int64_t)u->segments[i].shard_bytes);
}

void walk_acquire(struct walk *walk, int unit) {
    whole(walk, unit);
    if (walk->params.setup.zero_stage < 3)
        return;
    walk_prefetch(walk, unit);
    walk_wait(walk, slot_of(walk, walk->gathered, unit));
}

/* --- gradients --- */

/* gradient_bytes - of a value: gradients of reproducible runs are integers of 64 bits. */
static int64_t gradient_bytes(const struct walk *walk) {
    return walk->params.setup.adds_exactly ? (int64_t)sizeof(int64_t) : (int64_t)sizeof(float);
}

/* reduce - of what is trained of a unit. */
static void reduce(struct walk *walk, int unit, struct walk_slot *slot) {
    const struct unit *u = &walk->params.units[unit];
    for (int i = 0; i < u->num_segments; i++)
        if (u->segments[i].storage == STORAGE_TRAINED)
            begin(walk,
                  (struct walk_start){.what = EXCHANGE_GRADIENTS, .axis = EXCHANGE_INSIDE, .slot = slot},
                  &u->segments[i], u->segments[i].shard_count * gradient_bytes(walk));
}

static void cross(struct walk *walk, int unit) {
    const struct unit *u = &walk->params.units[unit];
    struct walk_slot *slot = slot_of(walk, walk->crossing, unit);
    walk->units[unit].crossed = true;
    land(walk, slot);
    slot->unit = unit;
    for (int i = 0; i < u->num_segments; i++)
        if (u->segments[i].storage == STORAGE_TRAINED)
            begin(walk,
                  (struct walk_start){.what = EXCHANGE_GRADIENTS, .axis = EXCHANGE_ACROSS, .slot = slot},
                  &u->segments[i], (int64_t)params_wire_bytes(&walk->params.setup, u->segments[i].own_count));
}

static void settle(struct walk *walk, struct walk_slot *slot) {
    if (!slot->sending)
        return;
    walk_wait(walk, slot);
    if (slot->closes && params_is_split(&walk->params.setup))
        cross(walk, slot->unit);
    slot->sending = false;
    slot->unit = -1;
}

static void settle_before(struct walk *walk, int unit) {
    for (int s = 0; s < SLOT_COUNT && params_is_split(&walk->params.setup); s++)
        if (walk->gradient[s].closes && walk->gradient[s].unit != unit)
            settle(walk, &walk->gradient[s]);
}

void walk_grad_begin(struct walk *walk, int unit) {
    if (!params_grad_passes_slot(&walk->params.setup))
        return;
    struct walk_slot *slot = slot_of(walk, walk->gradient, unit);
    settle(walk, slot);
    slot->unit = unit;
}

static void send_whole(struct walk *walk, int unit) {
    struct walk_slot *slot = slot_of(walk, walk->gradient, unit);
    settle(walk, slot);
    slot->unit = unit;
    slot->sending = walk->units[unit].sent = true;
    slot->closes = !walk->params.setup.adds_exactly;
    reduce(walk, unit, slot);
}

void walk_grad_end(struct walk *walk, int unit) {
    if (params_has_whole_gradients(&walk->params.setup)) {
        if (walk->is_last && walk->params.setup.zero_stage > 0) {
            send_whole(walk, unit);
            settle_before(walk, unit);
        }
        return;
    }
    struct walk_slot *slot = slot_of(walk, walk->gradient, unit);
    slot->sending = true;
    slot->closes = walk->is_last && !walk->params.setup.adds_exactly;
    reduce(walk, unit, slot);
    settle_before(walk, unit);
}

/* sum_between - so many values of it, for all ranks of an axis, which has so many besides this one. */
static void sum_between(struct walk *walk, enum exchange_axis axis, const struct segment *s, int64_t count,
                        int64_t num_others) {
    struct walk_start start = {.what = EXCHANGE_SUM, .axis = axis, .unit = s->unit};
    start.segment = (int)(s - walk->params.units[s->unit].segments);
    start.bytes = 2 * num_others * count * (int64_t)sizeof(float) / (num_others + 1);
    walk_at_once(walk, start);
}

static void sum_segment(struct walk *walk, enum exchange_axis axis, const struct segment *s, int64_t count) {
    axis = axis_of(axis, s);
    sum_between(walk, axis, s, count, others(walk, axis));
}

/* sum_all - stage 0: the whole gradient for every rank, one segment after the other. */
static void sum_all(struct walk *walk, enum exchange_axis axis) {
    for (struct segment *s = NULL; (s = params_next_trained(&walk->params, s, NULL));)
        sum_segment(walk, axis, s, s->count);
}

/* sum_alike - of what the ranks that divide tensors hold whole. */
static void sum_alike(struct walk *walk) {
    for (struct segment *s = NULL; (s = params_next_trained(&walk->params, s, NULL));)
        if (s->is_alike)
            sum_segment(walk, EXCHANGE_TENSOR, s, s->own_count);
}

static void finish_crossing(struct walk *walk) {
    for (int u = walk->params.num_units - 1; u >= 0; u--)
        if (!walk->units[u].crossed)
            cross(walk, u);
    for (int s = 0; s < SLOT_COUNT; s++)
        land(walk, &walk->crossing[s]);
}

static void settle_all(struct walk *walk) {
    for (int s = 0; s < SLOT_COUNT; s++)
        settle(walk, &walk->gradient[s]);
}

/* finish_exact - exact_grads_finish, segment by segment. */
static void finish_exact(struct walk *walk) {
    const struct params_setup *setup = &walk->params.setup;
    const struct walk_start inside = {.what = EXCHANGE_GRADIENTS, .axis = EXCHANGE_INSIDE},
                            across = {.what = EXCHANGE_GRADIENTS, .axis = EXCHANGE_ACROSS},
                            rounded = {.what = EXCHANGE_SUM, .axis = EXCHANGE_INSIDE};
    settle_all(walk);
    for (struct segment *s = NULL; (s = params_next_trained(&walk->params, s, NULL));) {
        int64_t across_count = params_is_split(setup) ? s->own_count : s->shard_count;
        if (params_has_whole_gradients(setup) && !walk->units[s->unit].sent)
            begin(walk, inside, s, s->shard_count * gradient_bytes(walk));
        begin(walk, across, s, across_count * gradient_bytes(walk));
        if (setup->zero_stage == 0)
            begin(walk, rounded, s, s->shard_count * (int64_t)sizeof(float));
    }
}

void walk_grad_finish(struct walk *walk) {
    const struct params_setup *setup = &walk->params.setup;
    if (setup->adds_exactly) {
        finish_exact(walk);
        return;
    }
    if (setup->zero_stage == 0)
        sum_all(walk, EXCHANGE_INSIDE);
    for (int u = walk->params.num_units - 1;
         setup->zero_stage > 0 && params_has_whole_gradients(setup) && u >= 0; u--)
        if (!walk->units[u].sent)
            send_whole(walk, u);
    settle_all(walk);
    if (params_is_split(setup))
        finish_crossing(walk);
    else
        sum_all(walk, EXCHANGE_ACROSS);
    sum_alike(walk);
}

/* --- the update --- */

/* gather_matrices - params_gather_own: all of a segment on every rank. */
static void gather_matrices(struct walk *walk, const struct segment *s) {
    if (walk->params.setup.zero_stage == 0)
        return;
    if (params_is_split(&walk->params.setup))
        begin(walk, (struct walk_start){.what = EXCHANGE_MATRICES, .axis = EXCHANGE_ACROSS}, s,
              s->own_count * (int64_t)sizeof(float));
    begin(walk, (struct walk_start){.what = EXCHANGE_MATRICES, .axis = EXCHANGE_INSIDE}, s,
          s->shard_count * (int64_t)sizeof(float));
}

/* sum_matrices - params_sum_own. */
static void sum_matrices(struct walk *walk, const struct segment *s) {
    int64_t times = walk->params.setup.zero_stage == 0 ? 2 : 1; /* for all, or each its shard */
    begin(walk, (struct walk_start){.what = EXCHANGE_UPDATES, .axis = EXCHANGE_INSIDE}, s,
          times * s->shard_count * (int64_t)sizeof(float));
}

/* update_matrices - of a rule that owns them: rounds of as many segments as there are ranks. */
static void update_matrices(struct walk *walk, const struct update_rule *rule) {
    const struct params *params = &walk->params;
    struct segment *first = params_next_trained(params, NULL, rule);
    while (first) {
        struct segment *next = first;
        for (int i = 0; next && i < params->setup.num_ranks;
             i++, next = params_next_trained(params, next, rule))
            gather_matrices(walk, next);
        for (struct segment *s = first; s != next; s = params_next_trained(params, s, rule))
            sum_matrices(walk, s);
        first = next;
    }
}

void walk_update(struct walk *walk) {
    const struct optimizer_kind *kind = walk->params.setup.optimizer;
    for (int i = 0; i < kind->num_rules; i++)
        if (kind->rules[i]->owns == OWNS_MATRICES)
            update_matrices(walk, kind->rules[i]);
}

void walk_outer(struct walk *walk) {
    const struct params_setup *setup = &walk->params.setup;
    if (params_is_apart(setup))
        for (struct segment *s = NULL; (s = params_next_trained(&walk->params, s, NULL));)
            sum_between(walk, EXCHANGE_ACROSS, s, s->own_count, setup->apart.size - 1);
}
