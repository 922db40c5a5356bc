/* params_weights.c - the weights of a unit as operations take them: where the forward reads them, and where the backward puts
 * their gradients. */
#include "train/model/divided.h"
#include "train/model/params.h"

/* plus - so many elements further; NULL stays NULL. */
static void *plus(void *base, int64_t count, enum dtype dtype) {
    return base ? (char *)base + (size_t)count * dtype_bytes(dtype) : NULL;
}

/* A role of a unit: its segment, and the tensor in it. */
struct place {
    const struct segment *segment;
    const struct unit_tensor *tensor;
};

/* find_role - dies where the unit has no such tensor: a layer plan and its table of parameters would disagree. */
static struct place find_role(const struct params *params, int unit, enum tensor_role role) {
    const struct unit *u = &params->units[unit];
    for (int s = 0; s < u->num_segments; s++)
        for (int i = 0; i < u->segments[s].num_tensors; i++)
            if (u->segments[s].tensors[i].param.role == role)
                return (struct place){&u->segments[s], &u->segments[s].tensors[i]};
    die("unit %d has no tensor of role %d", unit, (int)role);
}

/* values_of - what the forward reads of a segment, [count]; NULL where its unit is not gathered. */
static void *values_of(const struct params *params, const struct segment *segment) {
    const struct unit_slot *slot = &params->gathered[params_slot_index(params, segment->unit)];
    if (!params_passes_slot(segment, &params->setup))
        return segment->full;
    return slot->unit == segment->unit ? plus(slot->data, segment->first, segment->stored) : NULL;
}

struct weight params_weight(const struct params *params, int unit, enum tensor_role role) {
    struct place at = find_role(params, unit, role);
    struct tensor shape = divided_shape(&params->setup, at.tensor->param);
    struct weight weight = {.value = shape, .grad = shape, .write = params->units[unit].write};
    weight.value.dtype = at.segment->compute;
    weight.value.data = plus(values_of(params, at.segment), at.tensor->offset, at.segment->stored);
    weight.grad.data = plus(at.segment->open_grad, at.tensor->offset, DTYPE_F32);
    if (at.segment->storage == STORAGE_STORED)
        weight.stored = (struct stored){at.segment->rows + (at.tensor - at.segment->tensors), 1};
    return weight;
}

/* They lie side by side because segments keep the family's order; a family that lists query, key and value apart would die
 * here at its first step, and not compute something else. */
struct weight params_fused(const struct params *params, int unit, enum tensor_role first,
                           enum tensor_role last) {
    struct weight weight = params_weight(params, unit, first);
    struct place begin = find_role(params, unit, first);
    int64_t count = begin.tensor->count;
    for (int role = (int)first + 1; role <= (int)last; role++) {
        struct place next = find_role(params, unit, (enum tensor_role)role);
        CHECK(
            next.segment == begin.segment && next.tensor->offset == begin.tensor->offset + count,
            "unit %d: roles %d to %d are one product, but do not lie side by side; freeze all of them or none",
            unit, (int)first, (int)last);
        count += next.tensor->count;
        weight.stored.num_parts += weight.stored.num_parts > 0;
    }
    int64_t row_count = weight.value.ndim == 1 ? 1 : weight.value.dims[1];
    weight.value.dims[0] = weight.grad.dims[0] = count / row_count;
    return weight;
}

struct weight params_experts(const struct params *params, int unit, enum tensor_role role) {
    struct weight weight = params_weight(params, unit, role);
    struct place first = find_role(params, unit, role);
    struct param param = first.tensor->param;
    int num_experts = family_layer_plan(params->setup.model, param.layer).num_experts, num_own = 0;
    const struct unit_tensor *end = first.segment->tensors + first.segment->num_tensors;
    for (; param.expert < num_experts && divided_has(&params->setup, param); param.expert++, num_own++) {
        const struct unit_tensor *next = first.tensor + num_own;
        CHECK(next < end && next->param.role == role && next->param.expert == param.expert,
              "unit %d: the experts of role %d do not lie side by side; freeze all of them or none", unit,
              (int)role);
    }
    weight.value.dims[0] *= num_own;
    weight.grad.dims[0] *= num_own;
    return weight;
}
