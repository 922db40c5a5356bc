/* params_units.c - the units of a model and their segments: the way through them, and which slot is whose. */
#include "train/model/params.h"

int params_head_unit(const struct params *params) {
    return params->setup.model->tied_head ? 0 : params->num_units - 1;
}

/* A segment knows its unit, so that no iterator has to be kept. */
struct segment *params_next(const struct params *params, const struct segment *segment) {
    int unit = segment ? segment->unit : 0;
    int index = segment ? (int)(segment - params->units[unit].segments) + 1 : 0;
    for (; unit < params->num_units; unit++, index = 0)
        if (index < params->units[unit].num_segments)
            return &params->units[unit].segments[index];
    return NULL;
}

struct segment *params_next_trained(const struct params *params, const struct segment *segment,
                                    const struct update_rule *rule) {
    struct segment *next = params_next(params, segment);
    while (next && (next->storage != STORAGE_TRAINED || (rule && next->rule != rule)))
        next = params_next(params, next);
    return next;
}

/* Embedding and head are as a rule larger than a layer, and never needed at the same time: one slot for both. */
int params_slot_index(const struct params *params, int unit) {
    bool vocab = unit == 0 || unit == params_head_unit(params);
    return vocab ? SLOT_VOCAB : unit % 2 ? SLOT_ODD : SLOT_EVEN;
}

struct unit_slot *params_slot(struct unit_slot *slots, const struct params *params, int unit) {
    return &slots[params_slot_index(params, unit)];
}

int params_num_first(const struct params *params) {
    int num_units =
        1 + params->setup.model->num_layers; /* without a head of its own: it has the embedding's slot */
    if (params->setup.zero_stage < 3 || params_is_split(&params->setup))
        return 0;
    return num_units < SLOT_COUNT ? num_units : SLOT_COUNT;
}
