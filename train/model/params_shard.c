/* params_shard.c - a rank's shard of what a segment keeps, and the room for its copy. */
#include "train/model/params.h"

void *params_shard_of(const struct params *params, const struct segment *segment, void *own,
                      enum dtype dtype) {
    int64_t first = params->setup.zero_stage == 0 ? params->setup.rank * segment->shard_count : 0;
    return own ? (char *)own + (size_t)first * dtype_bytes(dtype) : NULL;
}

int64_t params_own_in_shard(const struct params *params, const struct segment *segment) {
    return params->setup.zero_stage == 0 ? 0 : segment->own_first - params->setup.rank * segment->shard_count;
}

void *params_value_shard(const struct params *params, const struct segment *segment) {
    if (params->setup.zero_stage == 3)
        return segment->shard;
    return segment->full ? (char *)segment->full + (size_t)params->setup.rank * segment->shard_bytes : NULL;
}

enum dtype params_state_type(const struct params *params, const struct segment *segment, int i) {
    return segment->rule->states[i].type == STATE_AS_SET ? params->setup.moments : DTYPE_F32;
}

int params_num_arrays(const struct segment *segment) {
    return segment->storage == STORAGE_TRAINED ? 1 + segment->rule->num_states : 0;
}

enum dtype params_array_type(const struct params *params, const struct segment *segment, int i) {
    return i == 0 ? DTYPE_F32 : params_state_type(params, segment, i - 1);
}

/* Of what this rank writes: replicas may hold the same, and then the first one does. */
void params_place_snapshot(struct params *params, struct segment *segment) {
    if (!params->setup.snapshots || !params_writes(params, segment))
        return;
    int64_t count = params_file_range(params, segment).count;
    for (int i = 0; i < params_num_arrays(segment); i++)
        segment->snapshot[i] =
            arena_take(&params->arena_snapshot, count, params_array_type(params, segment, i));
}
