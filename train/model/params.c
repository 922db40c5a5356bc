/* params.c - the layout of the units.  Their memory is in params_memory.c, what moves between ranks in shard.c. */
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

void params_lay_out(struct params *params) {
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
