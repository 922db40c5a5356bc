/* params_shard.c - a rank's shard of what a segment keeps, who has the others, and the room for its copy. */
#include "train/model/params.h"

void *params_shard_of(const struct params *params, const struct segment *segment, void *own,
                      enum dtype dtype) {
    int64_t first = params->setup.zero_stage == 0 ? segment->shards.index * segment->shard_count : 0;
    return own ? (char *)own + (size_t)first * dtype_bytes(dtype) : NULL;
}

int64_t params_own_in_shard(const struct params *params, const struct segment *segment) {
    return params->setup.zero_stage == 0 ? 0
                                         : segment->own_first - segment->shards.index * segment->shard_count;
}

void *params_value_shard(const struct params *params, const struct segment *segment) {
    if (params->setup.zero_stage == 3)
        return segment->shard;
    return segment->full ? (char *)segment->full + (size_t)segment->shards.index * segment->shard_bytes
                         : NULL;
}

enum dtype params_state_type(const struct params *params, const struct segment *segment, int i) {
    return segment->rule->states[i].type == STATE_AS_SET ? params->setup.moments : DTYPE_F32;
}

bool params_is_apart(const struct params_setup *setup) {
    return setup->apart.size > 0;
}

int params_num_arrays(const struct params *params, const struct segment *segment) {
    int outer = params_is_apart(&params->setup) ? OUTER_ARRAYS : 0;
    int lost = params_crosses_coded(&params->setup) ? 1 : 0;
    return segment->storage == STORAGE_TRAINED ? 1 + segment->rule->num_states + outer + lost : 0;
}

/* Replicas that learn apart send no gradients: a segment has either of the two. */
void *params_array(const struct segment *segment, int i) {
    if (i == 0) /* of a segment without a rule of update, too */
        return segment->master;
    if (i <= segment->rule->num_states)
        return segment->states[i - 1];
    if (segment->own_lost)
        return segment->own_lost;
    return i == segment->rule->num_states + 1 ? segment->anchor : segment->velocity;
}

enum dtype params_array_type(const struct params *params, const struct segment *segment, int i) {
    bool is_state = i > 0 && i <= segment->rule->num_states;
    return is_state ? params_state_type(params, segment, i - 1) : DTYPE_F32;
}

bool params_is_split(const struct params_setup *setup) {
    return setup->zero_stage > 0 && setup->replicas.size > 1;
}

bool params_crosses_rounded(const struct params_setup *setup) {
    bool rounds = setup->wire != DTYPE_F32 || setup->wire_has_codes;
    return rounds && params_is_split(setup) && setup->trains && !setup->adds_exactly;
}

bool params_crosses_coded(const struct params_setup *setup) {
    return setup->wire_has_codes && params_crosses_rounded(setup);
}

size_t params_wire_bytes(const struct params_setup *setup, int64_t count) {
    if (params_crosses_coded(setup))
        return packed_places_of(PACKED_INT8, count).total;
    return (size_t)count * dtype_bytes(params_crosses_rounded(setup) ? setup->wire : DTYPE_F32);
}

struct params_range params_file_range(const struct params *params, const struct segment *s) {
    if (s->storage == STORAGE_TRAINED && params->setup.zero_stage > 0)
        return (struct params_range){s->own_first, s->own_count};
    return (struct params_range){s->shards.index * s->shard_count, s->shard_count};
}

bool params_writes(const struct params *params, const struct segment *s) {
    bool is_apart = s->storage == STORAGE_TRAINED && params_is_split(&params->setup);
    return is_apart || params->setup.replica == 0;
}

/* Of what this rank writes: replicas may hold the same, and then the first one does. */
void params_place_snapshot(struct params *params, struct segment *segment) {
    if (!params->setup.snapshots || (!params_writes(params, segment) && !params_is_apart(&params->setup)))
        return;
    int64_t count = params_file_range(params, segment).count;
    for (int i = 0; i < params_num_arrays(params, segment); i++)
        segment->snapshot[i] =
            arena_take(&params->arena_snapshot, count, params_array_type(params, segment, i));
}

void params_join_replicas(struct params *params, struct transport *across) {
    params->across = across;
}

void params_join_tensor(struct params *params, struct transport *along) {
    params->along = along;
}

void params_join_experts(struct params *params, struct transport *experts, struct transport *holders) {
    params->experts = experts;
    params->holders = holders;
}

struct transport *params_link(const struct params *params, struct transport *link,
                              const struct segment *segment) {
    return segment->is_experts ? params->holders : link;
}
