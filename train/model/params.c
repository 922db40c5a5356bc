/* params.c - the layout of the units and their memory.  What moves between ranks is in shard.c. */
#include "train/model/params.h"

#include <stdlib.h>
#include <string.h>

/* Every shard starts on a 64-byte line of f32. */
enum { SHARD_ALIGN_COUNT = 16 };

static int64_t round_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* unit_of - embedding, layers and head in the order of their use; a tied head is with the embedding. */
static struct unit *unit_of(const struct params *params, struct param param, enum param_place place) {
    int unit = place == PLACE_INPUT ? 0 : place == PLACE_LAYER ? 1 + param.layer : params_head_unit(params);
    return &params->units[unit];
}

static void unit_add(struct params *params, struct param param, struct tensor shape) {
    const struct model_config *model = params->setup.model;
    const struct param_spec *spec = param_spec(model, param.role);
    struct unit *unit = unit_of(params, param, spec->place);
    unit->tensors = xrealloc(unit->tensors, (size_t)(unit->num_tensors + 1) * sizeof *unit->tensors);
    unit->tensors[unit->num_tensors++] = (struct unit_tensor){param, spec, unit->count, tensor_count(shape)};
    unit->count += tensor_count(shape);
    /* The backward writes matrices whole.  An embedding of its own is added to row by row instead. */
    bool is_product = shape.ndim >= 2 && (spec->place != PLACE_INPUT || model->tied_head);
    if (is_product)
        unit->zero_first = unit->count;
}

/* add_tensors - all of one kind; within a unit in the family's order, which has neighbours that are
 * multiplied together side by side. */
static void add_tensors(struct params *params, int ndim) {
    struct param at = PARAM_START;
    while (family_next_param(params->setup.model, &at)) {
        struct tensor shape = param_shape(params->setup.model, at);
        if (shape.ndim == ndim)
            unit_add(params, at, shape);
    }
}

/* unit_split - pad, and say what this rank owns. */
static void unit_split(struct unit *unit, const struct params_setup *setup) {
    unit->count = round_up(unit->count, (int64_t)setup->num_ranks * SHARD_ALIGN_COUNT);
    unit->shard_count = unit->count / setup->num_ranks;
    unit->own_first = setup->stage == 0 ? 0 : setup->rank * unit->shard_count;
    unit->own_count = setup->stage == 0 ? unit->count : unit->shard_count;
}

static void layout_units(struct params *params) {
    const struct model_config *model = params->setup.model;
    params->num_units = model->num_layers + (model->tied_head ? 1 : 2);
    params->units = xcalloc((size_t)params->num_units, sizeof *params->units);
    add_tensors(params, 2); /* matrices first: what the backward overwrites is one range */
    add_tensors(params, 1);
    for (int u = 0; u < params->num_units; u++)
        unit_split(&params->units[u], &params->setup);
}

static void *plus(void *base, int64_t count, enum dtype dtype) {
    return base ? (char *)base + (size_t)count * dtype_bytes(dtype) : NULL;
}

/* place_weights - compute copies and masters; in f32 they are the same memory. */
static void place_weights(struct params *params, struct unit *unit) {
    enum dtype compute = params->setup.compute;
    int64_t resident = params->setup.stage < 3 ? unit->count : unit->shard_count;
    void *weights = arena_take(&params->arena_params, resident, compute);
    *(params->setup.stage < 3 ? &unit->full : &unit->shard) = weights;
    if (compute == DTYPE_F32)
        unit->master = params->setup.stage < 3 ? plus(weights, unit->own_first, compute) : weights;
    else
        unit->master = arena_take(params->setup.offloads ? &params->arena_offloaded : &params->arena_params,
                                  unit->own_count, DTYPE_F32);
}

static void place_training(struct params *params, struct unit *unit) {
    unit->grad = arena_take(&params->arena_grads, params->setup.stage < 2 ? unit->count : unit->shard_count,
                            DTYPE_F32);
    struct arena *arena = params->setup.offloads ? &params->arena_offloaded : &params->arena_optimizer;
    unit->m = arena_take(arena, unit->own_count, params->setup.moments);
    unit->v = arena_take(arena, unit->own_count, params->setup.moments);
}

static int slot_of(const struct params *params, int unit) {
    bool vocab = unit == 0 || unit == params_head_unit(params);
    return vocab ? SLOT_VOCAB : unit % 2 ? SLOT_ODD : SLOT_EVEN;
}

struct unit_slot *params_slot(struct unit_slot *slots, const struct params *params, int unit) {
    return &slots[slot_of(params, unit)];
}

/* place_slots - buffers as large as the largest unit that passes through them. */
static void place_slots(struct params *params) {
    int64_t largest[SLOT_COUNT] = {0}, largest_shard[SLOT_COUNT] = {0};
    for (int u = 0; u < params->num_units; u++) {
        int slot = slot_of(params, u);
        if (params->units[u].count > largest[slot]) {
            largest[slot] = params->units[u].count;
            largest_shard[slot] = params->units[u].shard_count;
        }
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        params->gathered[slot].unit = params->gradient[slot].unit = -1;
        if (params->setup.stage == 3)
            params->gathered[slot].data =
                arena_take(&params->arena_comm, largest[slot], params->setup.compute);
        if (!params->setup.trains)
            continue;
        if (params->setup.stage >= 2) {
            params->gradient[slot].data = arena_take(&params->arena_comm, largest[slot], DTYPE_F32);
            params->gradient[slot].landing = arena_take(&params->arena_comm, largest_shard[slot], DTYPE_F32);
        }
    }
}

static void place_all(struct params *params) {
    for (int u = 0; u < params->num_units; u++) {
        place_weights(params, &params->units[u]);
        if (params->setup.trains)
            place_training(params, &params->units[u]);
    }
    place_slots(params);
}

void params_plan(struct params *params, const struct params_setup *setup) {
    memset(params, 0, sizeof *params);
    params->setup = *setup;
    params->arena_params.name = "parameters";
    params->arena_grads.name = "gradients";
    params->arena_optimizer.name = "optimizer";
    params->arena_comm.name = "gather and reduce buffers";
    params->arena_offloaded.name = "masters and optimizer in host memory";
    params->arena_offloaded.on_host = true;
    layout_units(params);
    place_all(params);
}

enum { NUM_ARENAS = 5 };

static void all_arenas(struct params *params, struct arena *arenas[NUM_ARENAS]) {
    arenas[0] = &params->arena_params;
    arenas[1] = &params->arena_grads;
    arenas[2] = &params->arena_optimizer;
    arenas[3] = &params->arena_comm;
    arenas[4] = &params->arena_offloaded;
}

void params_create(struct params *params, struct device *dev, const struct params_setup *setup) {
    struct arena *arenas[NUM_ARENAS];
    params_plan(params, setup);
    params->dev = dev;
    all_arenas(params, arenas);
    for (int i = 0; i < NUM_ARENAS; i++)
        arena_allocate(arenas[i], dev);
    place_all(params);
}

void params_free(struct params *params) {
    struct arena *arenas[NUM_ARENAS];
    all_arenas(params, arenas);
    for (int i = 0; i < NUM_ARENAS; i++)
        arena_free(arenas[i]);
    for (int u = 0; u < params->num_units; u++)
        free(params->units[u].tensors);
    free(params->units);
    params->units = NULL;
    params->num_units = 0;
}

int params_head_unit(const struct params *params) {
    return params->setup.model->tied_head ? 0 : params->num_units - 1;
}

static const struct unit_tensor *find_role(const struct params *params, int unit, enum tensor_role role) {
    const struct unit *u = &params->units[unit];
    for (int i = 0; i < u->num_tensors; i++)
        if (u->tensors[i].param.role == role)
            return &u->tensors[i];
    die("unit %d has no tensor of role %d", unit, (int)role);
}

/* values_of - what the forward reads of a unit, [count]; NULL where it is not gathered. */
static void *values_of(const struct params *params, int unit) {
    const struct unit_slot *slot = &params->gathered[slot_of(params, unit)];
    if (params->setup.stage < 3)
        return params->units[unit].full;
    return slot->unit == unit ? slot->data : NULL;
}

struct weight params_weight(const struct params *params, int unit, enum tensor_role role) {
    const struct unit_tensor *tensor = find_role(params, unit, role);
    const struct unit *u = &params->units[unit];
    struct tensor shape = param_shape(params->setup.model, tensor->param);
    struct weight weight = {.value = shape, .grad = shape, .write = u->write};
    weight.value.dtype = params->setup.compute;
    weight.value.data = plus(values_of(params, unit), tensor->offset, params->setup.compute);
    weight.grad.data = plus(u->open_grad, tensor->offset, DTYPE_F32);
    return weight;
}

struct weight params_fused(const struct params *params, int unit, enum tensor_role first,
                           enum tensor_role last) {
    struct weight weight = params_weight(params, unit, first);
    const struct unit_tensor *begin = find_role(params, unit, first), *end = find_role(params, unit, last);
    int64_t count = end->offset + end->count - begin->offset;
    weight.value.dims[0] = weight.grad.dims[0] = count / weight.value.dims[1];
    return weight;
}

void *params_shard_of(const struct params *params, int unit, void *own, enum dtype dtype) {
    const struct unit *u = &params->units[unit];
    return params->setup.stage == 0 ? plus(own, params->setup.rank * u->shard_count, dtype) : own;
}

int params_each_piece(const struct params *params, int unit, int64_t first, int64_t count, params_visit visit,
                      void *user) {
    const struct unit *u = &params->units[unit];
    for (int i = 0; i < u->num_tensors; i++) {
        const struct unit_tensor *tensor = &u->tensors[i];
        int64_t begin = tensor->offset > first ? tensor->offset : first;
        int64_t tensor_end = tensor->offset + tensor->count, range_end = first + count;
        int64_t end = tensor_end < range_end ? tensor_end : range_end;
        if (begin >= end)
            continue;
        int status = visit(user, unit, tensor, begin - tensor->offset, begin - first, end - begin);
        if (status)
            return status;
    }
    return 0;
}
