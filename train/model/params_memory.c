/* params_memory.c - the memory of the units of params.c: measured first, then taken. */
#include <stdlib.h>
#include <string.h>

#include "train/model/feedback.h"
#include "train/model/params.h"

/* plus - so many elements further; NULL stays NULL, as arenas that are only measured hand it out. */
static void *plus(void *base, int64_t count, enum dtype dtype) {
    return base ? (char *)base + (size_t)count * dtype_bytes(dtype) : NULL;
}

/* take_bytes - of what is packed: whole words of four bytes. */
static void *take_bytes(struct arena *arena, size_t bytes) {
    return arena_take(arena, (int64_t)(bytes / dtype_bytes(DTYPE_I32)), DTYPE_I32);
}

/* take_sums - room for integers of 64 bits. */
static int64_t *take_sums(struct arena *arena, int64_t count) {
    return take_bytes(arena, (size_t)count * sizeof(int64_t));
}

/* place_packed - a segment in fewer bits: all ranks' shards, or one. */
static void place_packed(struct params *params, struct segment *segment) {
    bool is_resident = params->setup.zero_stage < 3;
    size_t num_shards = is_resident ? (size_t)segment->shards.size : 1;
    void *packed = take_bytes(&params->arena_params, segment->shard_bytes * num_shards);
    *(is_resident ? &segment->full : &segment->shard) = packed;
    if (params->setup.quantised == PACKED_NF4_DOUBLE && !params->has_nested_map) {
        params->nested_map = arena_take(&params->arena_params, PACKED_NESTED_CODES, DTYPE_F32);
        params->has_nested_map = true;
    }
}

/* place_weights - what is stored, and masters; in f32 they are the same memory. */
static void place_weights(struct params *params, struct segment *segment) {
    if (segment->storage == STORAGE_STORED)
        return;
    if (segment->storage == STORAGE_QUANTISED) {
        place_packed(params, segment);
        return;
    }
    bool is_resident = params->setup.zero_stage < 3;
    void *weights = arena_take(&params->arena_params, is_resident ? segment->count : segment->shard_count,
                               segment->stored);
    *(is_resident ? &segment->full : &segment->shard) = weights;
    if (segment->storage != STORAGE_TRAINED)
        return;
    if (segment->stored == DTYPE_F32)
        segment->master =
            plus(weights, is_resident ? segment->own_first : params_own_in_shard(params, segment), DTYPE_F32);
    else
        segment->master =
            arena_take(params->setup.offloads ? &params->arena_offloaded : &params->arena_params,
                       segment->own_count, DTYPE_F32);
}

bool params_has_whole_gradients(const struct params_setup *setup) {
    return setup->zero_stage < 2 || setup->keeps_gradients;
}

bool params_grad_passes_slot(const struct params_setup *setup) {
    return setup->adds_exactly || !params_has_whole_gradients(setup);
}

/* place_training - the gradient, and what the segment's rule keeps for each element that this rank updates. */
static void place_training(struct params *params, struct segment *segment) {
    if (segment->storage != STORAGE_TRAINED)
        return;
    bool is_whole = params_has_whole_gradients(&params->setup);
    int64_t count = is_whole ? segment->count : segment->shard_count;
    if (params->setup.adds_exactly) {
        segment->sums = take_sums(&params->arena_grads, count);
        count = segment->own_count;
    }
    segment->grad = arena_take(&params->arena_grads, count, DTYPE_F32);
    struct arena *arena = params->setup.offloads ? &params->arena_offloaded : &params->arena_optimizer;
    for (int i = 0; i < segment->rule->num_states; i++)
        segment->states[i] = arena_take(arena, segment->own_count, params_state_type(params, segment, i));
    if (params_is_apart(&params->setup)) {
        segment->anchor = arena_take(arena, segment->own_count, DTYPE_F32);
        segment->velocity = arena_take(arena, segment->own_count, DTYPE_F32);
    }
    if (params_crosses_coded(&params->setup)) {
        segment->lost = arena_take(&params->arena_grads, segment->shard_count, DTYPE_F32);
        segment->own_lost = plus(segment->lost, params_own_in_shard(params, segment), DTYPE_F32);
    }
}

/* larger - the larger of two counts. */
static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* place_slots - buffers as large as the largest unit that passes through them. */
static void place_slots(struct params *params) {
    struct unit largest[SLOT_COUNT] = {{0}};
    for (int u = 0; u < params->num_units; u++) {
        struct unit *most = &largest[params_slot_index(params, u)];
        most->count = larger(most->count, params->units[u].count);
        most->grad_count = larger(most->grad_count, params->units[u].grad_count);
        most->landing_count = larger(most->landing_count, params->units[u].landing_count);
        most->packed_bytes =
            (size_t)larger((int64_t)most->packed_bytes, (int64_t)params->units[u].packed_bytes);
    }
    for (int s = 0; s < SLOT_COUNT; s++) {
        struct unit_slot *gathered = &params->gathered[s], *gradient = &params->gradient[s];
        gathered->unit = gradient->unit = params->crossing[s].unit = -1;
        if (largest[s].count > 0)
            gathered->data = arena_take(&params->arena_comm, largest[s].count, params->setup.compute);
        if (largest[s].packed_bytes > 0)
            gathered->packed = take_bytes(&params->arena_comm, largest[s].packed_bytes);
        if (!params->setup.trains || !params_grad_passes_slot(&params->setup))
            continue;
        gradient->data = arena_take(&params->arena_comm, largest[s].grad_count, DTYPE_F32);
        if (!params->setup.adds_exactly) {
            gradient->landing = arena_take(&params->arena_comm, largest[s].landing_count, DTYPE_F32);
        } else if (!params_has_whole_gradients(&params->setup)) {
            gradient->fixed = take_sums(&params->arena_comm, largest[s].grad_count);
        }
    }
}

/* place_terms - with adds_exactly, where each replica needs the sum of all: what they have of the largest shard. */
static void place_terms(struct params *params) {
    const struct params_setup *setup = &params->setup;
    int64_t most = 0;
    if (!setup->adds_exactly || !setup->trains || params_is_split(setup) || setup->replicas.size < 2)
        return;
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        most = larger(most, s->shard_count * setup->replicas.size);
    params->fixed_terms = take_sums(&params->arena_comm, most);
}

/* crossing_bytes - of a unit's gradients on their way between replicas, a row for each. */
static size_t crossing_bytes(const struct params_setup *setup, const struct unit *unit) {
    size_t bytes = 0;
    for (int i = 0; i < unit->num_segments; i++)
        if (unit->segments[i].storage == STORAGE_TRAINED)
            bytes += (size_t)setup->replicas.size * params_wire_bytes(setup, unit->segments[i].own_count);
    return bytes;
}

/* place_crossing - what is rounded to cross between replicas has a buffer of its own. */
static void place_crossing(struct params *params) {
    int64_t largest[SLOT_COUNT] = {0}, own = 0;
    if (!params_crosses_rounded(&params->setup))
        return;
    for (int u = 0; u < params->num_units; u++) {
        int64_t *most = &largest[params_slot_index(params, u)];
        *most = larger(*most, (int64_t)crossing_bytes(&params->setup, &params->units[u]));
    }
    for (struct segment *s = NULL; (s = params_next_trained(params, s, NULL));)
        own = larger(own, s->own_count);
    for (int s = 0; s < SLOT_COUNT; s++) {
        params->crossing[s].data = take_bytes(&params->arena_comm, (size_t)largest[s]);
        params->crossing[s].terms = take_bytes(&params->arena_comm, (size_t)largest[s]);
    }
    params->widened = arena_take(&params->arena_comm, own, DTYPE_F32);
}

/* place_all - twice over the same code: with arenas that only count, then with memory behind them.  What was measured is
 * therefore what is taken. */
static void place_all(struct params *params) {
    params->has_nested_map = false;
    for (struct segment *s = NULL; (s = params_next(params, s));) {
        place_weights(params, s);
        if (params->setup.trains)
            place_training(params, s);
        params_place_snapshot(params, s);
    }
    place_slots(params);
    place_crossing(params);
    place_terms(params);
    const struct optimizer_kind *kind = params->setup.optimizer;
    for (int i = 0; params->setup.trains && i < kind->num_rules; i++)
        if (kind->rules[i]->place)
            kind->rules[i]->place(params);
}

void params_measure(struct params *params, const struct params_setup *setup) {
    memset(params, 0, sizeof *params);
    params->setup = *setup;
    params->arena_params.name = "parameters";
    params->arena_grads.name = "gradients";
    params->arena_optimizer.name = "optimizer";
    params->arena_comm.name = "gather and reduce buffers";
    params->arena_offloaded.name = "masters and optimizer in host memory";
    params->arena_snapshot.name = "a copy that checkpoints are written from";
    params->arena_offloaded.on_host = params->arena_snapshot.on_host = true;
    CHECK(setup->optimizer || !setup->trains, "parameters are to be trained, but no optimizer is set");
    params_lay_out(params);
    params->setup.storage = NULL; /* the caller's: it need not live on */
    place_all(params);
}

/* all_arenas - for what is done to each of them. */
enum { NUM_ARENAS = 6 };

static void all_arenas(struct params *params, struct arena *arenas[NUM_ARENAS]) {
    arenas[0] = &params->arena_params;
    arenas[1] = &params->arena_grads;
    arenas[2] = &params->arena_optimizer;
    arenas[3] = &params->arena_comm;
    arenas[4] = &params->arena_offloaded;
    arenas[5] = &params->arena_snapshot;
}

/* take_windows - the arenas with the shards and with the slots that they are gathered into, as memory of the transport's where it
 * has any. */
static void take_windows(struct params *params, struct transport *link, struct comm *whole) {
    struct arena *ends[] = {&params->arena_params, &params->arena_comm};
    struct transport_window windows[] = {{ends[0]->used_bytes, ends[0]->layout, NULL},
                                         {ends[1]->used_bytes, ends[1]->layout, NULL}};
    int count = ends[1]->used_bytes > 0 ? 2 : 1;
    transport_windows_open(link, whole, windows, count);
    params->windowed = link;
    for (int i = 0; i < count; i++)
        if (windows[i].memory)
            arena_lend(ends[i], params->dev, windows[i].memory);
}

/* allocate - what was measured, where it is not lent. */
static void allocate(struct params *params) {
    struct arena *arenas[NUM_ARENAS];
    struct device *dev = params->dev;
    all_arenas(params, arenas);
    for (int i = 0; i < NUM_ARENAS; i++)
        if (!arenas[i]->is_lent)
            arena_allocate(arenas[i], dev);
    memset(params->arena_snapshot.base, 0, params->arena_snapshot.size_bytes); /* no save waits for pages */
    place_all(params);
    feedback_reset(params);
    if (params->nested_map) {
        float map[PACKED_NESTED_CODES];
        packed_nested_map(map);
        device_upload(dev, tensor_1d(params->nested_map, DTYPE_F32, PACKED_NESTED_CODES), map);
    }
}

void params_create(struct params *params, struct device *dev, const struct params_setup *setup) {
    params_measure(params, setup);
    params->dev = dev;
    allocate(params);
}

void params_create_linked(struct params *params, struct device *dev, const struct params_setup *setup,
                          struct transport *link, struct comm *whole) {
    params_measure(params, setup);
    params->dev = dev;
    take_windows(params, link, whole);
    allocate(params);
}

void params_free(struct params *params) {
    struct arena *arenas[NUM_ARENAS];
    all_arenas(params, arenas);
    for (int i = 0; i < NUM_ARENAS; i++)
        arena_free(arenas[i]);
    if (params->windowed)
        transport_windows_close(params->windowed);
    for (struct segment *s = NULL; (s = params_next(params, s));) {
        free(s->tensors);
        free(s->rows);
        free(s->pending_scales);
    }
    free(params->units);
    free(params->elsewhere);
    params->units = NULL;
    params->elsewhere = NULL;
    params->num_units = 0;
}
