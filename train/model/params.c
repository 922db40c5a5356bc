/* params.c - the layout of the units and their memory.  What moves between ranks is in shard.c. */
#include "train/model/params.h"

#include <stdlib.h>
#include <string.h>

#include "train/model/divided.h"
#include "train/model/exact_grads.h"
#include "train/model/feedback.h"
#include "train/model/owners.h"

/* Every shard starts on a 64-byte line of f32: vector loads of a kernel that works on a shard alone are then aligned. */
enum { SHARD_ALIGN_COUNT = 16 };

/* round_up - to the next multiple. */
static int64_t round_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* unit_of - embedding, layers and head in the order of their use; a tied head is with the embedding. */
static int unit_of(const struct params *params, struct param param, enum param_place place) {
    return place == PLACE_INPUT ? 0 : place == PLACE_LAYER ? 1 + param.layer : params_head_unit(params);
}

/* usual_storage - where nothing is said of each tensor. */
static enum storage usual_storage(const struct params_setup *setup, struct param param,
                                  const struct param_spec *spec) {
    if (param_is_trained(setup->model, param.role))
        return STORAGE_TRAINED;
    bool is_layer_matrix = spec->place == PLACE_LAYER && param_shape(setup->model, param).ndim == 2;
    return setup->packs_base && is_layer_matrix ? STORAGE_QUANTISED : STORAGE_FROZEN;
}

/* storage_of - as the setup wants it, where the model lets it choose. */
static enum storage storage_of(const struct params_setup *setup, struct param param,
                               const struct param_spec *spec) {
    enum storage storage = usual_storage(setup, param, spec);
    if (setup->storage)
        storage = setup->storage[param_slot(setup->model, param)];
    if (spec->traits & PARAM_FIXED)
        storage = STORAGE_FROZEN; /* whatever was wanted */
    CHECK(storage != STORAGE_QUANTISED || param_shape(setup->model, param).ndim == 2,
          "quantised storage was asked for a tensor of role %d, which is not a matrix", (int)param.role);
    return storage;
}

/* align_of - elements that a shard is a multiple of, and of what is trained a replica's part of it. */
static int64_t align_of(const struct params_setup *setup, enum storage storage) {
    if (storage == STORAGE_QUANTISED)
        return packed_align(setup->quantised);
    bool is_coded = storage == STORAGE_TRAINED && params_crosses_coded(setup);
    return is_coded ? packed_align(PACKED_INT8) : SHARD_ALIGN_COUNT;
}

/* segment_of - the segment of a unit that takes this parameter; a new one for the first of its kind. */
static struct segment *segment_of(struct params *params, struct param param, const struct param_spec *spec) {
    const struct params_setup *setup = &params->setup;
    int index = unit_of(params, param, spec->place);
    struct unit *unit = &params->units[index];
    enum storage storage = storage_of(setup, param, spec);
    bool has_rule = storage == STORAGE_TRAINED && setup->optimizer;
    const struct update_rule *rule = has_rule ? setup->optimizer->rule_of(spec) : NULL;
    bool is_alike = storage == STORAGE_TRAINED && setup->tensor.size > 1 && !divided_is(setup, spec);
    bool is_experts = divided_by_experts(setup, spec);
    enum dtype stored = spec->traits & PARAM_F32 ? DTYPE_F32 : setup->compute;
    for (int i = 0; i < unit->num_segments; i++) {
        struct segment *segment = &unit->segments[i];
        if (segment->storage == storage && segment->rule == rule && segment->is_alike == is_alike &&
            segment->is_experts == is_experts && segment->stored == stored)
            return segment;
    }
    CHECK(unit->num_segments < MAX_SEGMENTS, "unit %d has more than %d segments", index, (int)MAX_SEGMENTS);
    struct segment *segment = &unit->segments[unit->num_segments++];
    *segment = (struct segment){.unit = index,
                                .storage = storage,
                                .stored = stored,
                                .compute = stored,
                                .rule = rule,
                                .is_alike = is_alike,
                                .is_experts = is_experts,
                                .shards = is_experts ? setup->holders
                                                     : (struct divided){setup->num_ranks, setup->rank},
                                .align = align_of(setup, storage)};
    return segment;
}

/* stored_end - where the next tensor of a segment begins in what is stored. */
static int64_t stored_end(const struct segment *segment) {
    if (segment->storage != STORAGE_QUANTISED || segment->num_tensors == 0)
        return segment->count;
    const struct unit_tensor *last = &segment->tensors[segment->num_tensors - 1];
    return round_up(last->stored_first + last->count, segment->align);
}

/* add_tensor - at the end of its segment. */
static void add_tensor(struct params *params, struct param param, struct tensor shape) {
    const struct model_config *model = params->setup.model;
    const struct param_spec *spec = param_spec(model, param.role);
    struct segment *segment = segment_of(params, param, spec);
    segment->tensors =
        xrealloc(segment->tensors, (size_t)(segment->num_tensors + 1) * sizeof *segment->tensors);
    int64_t count = tensor_count(shape), stored_first = stored_end(segment);
    struct unit_tensor *tensor = &segment->tensors[segment->num_tensors++];
    *tensor = (struct unit_tensor){.param = param,
                                   .spec = spec,
                                   .offset = segment->count,
                                   .stored_first = stored_first,
                                   .count = count,
                                   .owner = -1,
                                   .next_exponent = EXACT_FIRST_EXPONENT};
    divided_place(tensor, &params->setup, shape);
    segment->count += count;
    /* The backward writes matrices whole.  An embedding of its own is added to row by row instead. */
    bool is_product = shape.ndim >= 2 && (spec->place != PLACE_INPUT || model->tied_head);
    if (is_product)
        segment->zero_first = segment->count;
}

/* note_elsewhere - a tensor that another rank has, by a rule that it has there. */
static void note_elsewhere(struct params *params, struct param param) {
    const struct param_spec *spec = param_spec(params->setup.model, param.role);
    const struct optimizer_kind *kind = params->setup.optimizer;
    bool is_trained = kind && storage_of(&params->setup, param, spec) == STORAGE_TRAINED;
    params->elsewhere =
        xrealloc(params->elsewhere, (size_t)(params->num_elsewhere + 1) * sizeof *params->elsewhere);
    params->elsewhere[params->num_elsewhere++] =
        (struct elsewhere){param, is_trained ? kind->rule_of(spec) : NULL};
}

/* add_tensors - all matrices, or all else; within a segment in the family's order, which has neighbours that are
 * multiplied together side by side. */
enum tensor_kind { MATRICES, VECTORS };

static void add_tensors(struct params *params, enum tensor_kind kind) {
    struct param at = PARAM_START;
    struct tensor shape = {.ndim = 0};
    while (family_next_param(params->setup.model, &at)) {
        if (at.expert == 0) /* those of a layer are alike */
            shape = divided_shape(&params->setup, at);
        if ((shape.ndim >= 2) != (kind == MATRICES))
            continue;
        if (divided_has(&params->setup, at))
            add_tensor(params, at, shape);
        else
            note_elsewhere(params, at);
    }
}

/* split_segment - pad, and say what this rank owns. */
static void split_segment(struct segment *segment, const struct params_setup *setup) {
    bool is_split = segment->storage == STORAGE_TRAINED && params_is_split(setup);
    int parts = is_split ? setup->replicas.size : 1; /* of a shard */
    int64_t stored = round_up(stored_end(segment), segment->shards.size * parts * segment->align);
    bool is_quantised = segment->storage == STORAGE_QUANTISED;
    segment->shard_count = stored / segment->shards.size;
    segment->count = is_quantised ? round_up(segment->count, SHARD_ALIGN_COUNT) : stored;
    segment->shard_bytes = is_quantised ? packed_places_of(setup->quantised, segment->shard_count).total
                                        : (size_t)segment->shard_count * dtype_bytes(segment->stored);
    if (segment->storage != STORAGE_TRAINED)
        return;
    segment->own_first = 0;
    segment->own_count = segment->count;
    if (setup->zero_stage == 0)
        return;
    segment->own_count = segment->shard_count / parts;
    segment->own_first = segment->shards.index * segment->shard_count +
                         (is_split ? setup->replicas.index : 0) * segment->own_count;
}

bool params_passes_slot(const struct segment *segment, const struct params_setup *setup) {
    return setup->zero_stage == 3 || segment->storage == STORAGE_QUANTISED;
}

/* split_unit - its segments, and where they lie in slots that hold the whole unit. */
static void split_unit(struct unit *unit, const struct params_setup *setup) {
    for (int i = 0; i < unit->num_segments; i++) {
        struct segment *segment = &unit->segments[i];
        int64_t width = (int64_t)(dtype_bytes(segment->stored) /
                                  dtype_bytes(setup->compute)); /* of a value in the slot */
        split_segment(segment, setup);
        segment->first = unit->count / width;
        unit->count += params_passes_slot(segment, setup) ? segment->count * width : 0;
        segment->packed_first = unit->packed_bytes;
        if (segment->storage == STORAGE_QUANTISED) {
            unit->is_quantised = true;
            unit->packed_bytes +=
                setup->zero_stage == 3 ? segment->shard_bytes * (size_t)segment->shards.size : 0;
        }
        if (segment->storage != STORAGE_TRAINED)
            continue;
        segment->grad_first = unit->grad_count;
        segment->landing_first = unit->landing_count;
        unit->grad_count += segment->count;
        unit->landing_count += segment->shard_count;
    }
}

/* deal - give each of these matrices an owner.  The cost of work on one [m, n] is taken as m n min(m, n), that of a
 * few products with itself. */
static void deal(const struct params *params, struct unit_tensor **tensors, int count) {
    double *costs = xcalloc((size_t)count, sizeof *costs);
    int *owners = xcalloc((size_t)count, sizeof *owners);
    for (int i = 0; i < count; i++) {
        struct tensor shape = param_shape(params->setup.model, tensors[i]->param);
        double m = (double)shape.dims[0], n = (double)shape.dims[1];
        costs[i] = m * n * (m < n ? m : n);
    }
    owners_assign(costs, count, params->setup.num_ranks, owners);
    for (int i = 0; i < count; i++)
        tensors[i]->owner = owners[i];
    free(costs);
    free(owners);
}

/* assign_owners - of the tensors of a rule that owns matrices, in rounds of as many segments as there are ranks: what
 * is worked on at one time is about one segment for each. */
static void assign_owners(struct params *params, const struct update_rule *rule) {
    struct unit_tensor **round = NULL;
    int num_segments = 0, count = 0;
    for (struct segment *s = NULL; (s = params_next_trained(params, s, rule));) {
        round = xrealloc(round, (size_t)(count + s->num_tensors) * sizeof *round);
        for (int i = 0; i < s->num_tensors; i++)
            round[count++] = &s->tensors[i];
        if (++num_segments % params->setup.num_ranks == 0) {
            deal(params, round, count);
            count = 0;
        }
    }
    if (count > 0)
        deal(params, round, count);
    free(round);
}

/* layout_units - units, segments and tensors, which depend on nothing but the setup: every rank comes to the same layout by
 * itself. */
static void layout_units(struct params *params) {
    const struct model_config *model = params->setup.model;
    divided_check(&params->setup);
    params->num_units = model->num_layers + (model->tied_head ? 1 : 2);
    params->units = xcalloc((size_t)params->num_units, sizeof *params->units);
    add_tensors(params, MATRICES); /* first: what the backward overwrites is one range */
    add_tensors(params, VECTORS);
    for (int u = 0; u < params->num_units; u++)
        split_unit(&params->units[u], &params->setup);
    const struct optimizer_kind *kind = params->setup.optimizer;
    for (int i = 0; kind && i < kind->num_rules; i++)
        if (kind->rules[i]->owns == OWNS_MATRICES)
            assign_owners(params, kind->rules[i]);
}

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
    layout_units(params);
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

void params_create(struct params *params, struct device *dev, const struct params_setup *setup) {
    struct arena *arenas[NUM_ARENAS];
    params_measure(params, setup);
    params->dev = dev;
    all_arenas(params, arenas);
    for (int i = 0; i < NUM_ARENAS; i++)
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

void params_free(struct params *params) {
    struct arena *arenas[NUM_ARENAS];
    all_arenas(params, arenas);
    for (int i = 0; i < NUM_ARENAS; i++)
        arena_free(arenas[i]);
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
