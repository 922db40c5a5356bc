/* state.c - see state.h.  The phases of a save are those of checkpoints/checkpoint.h with an agreement after
 * each. */
#include "train/state.h"

#include <stdlib.h>

#include "kernels/rng.h"

/* Everything a visit of the pieces of this rank's shards may need. */
struct transfer {
    struct params *params;
    const struct weights *weights;
    const struct checkpoint_reader *reader;
    struct checkpoint *checkpoint;
    enum checkpoint_part part;
    int64_t seed;
    struct err *err;
};

/* part_shard - this rank's shard of the copy that a checkpoint part holds. */
static float *part_shard(const struct params *params, int unit, enum checkpoint_part part) {
    const struct unit *u = &params->units[unit];
    float *own = part == PART_ADAM_M ? u->m : part == PART_ADAM_V ? u->v : u->master;
    return params_shard_of(params, unit, own);
}

/* each_shard_piece - visit the tensor parts inside this rank's shard of every unit. */
static int each_shard_piece(struct params *params, params_visit visit, struct transfer *transfer) {
    for (int u = 0; u < params->num_units; u++) {
        int64_t shard_count = params->units[u].shard_count;
        int status =
            params_each_piece(params, u, params->setup.rank * shard_count, shard_count, visit, transfer);
        if (status)
            return status;
    }
    return 0;
}

static int load_piece(void *user, int unit, const struct unit_tensor *tensor, int64_t tensor_first,
                      int64_t at, int64_t count) {
    struct transfer *t = user;
    float *target = part_shard(t->params, unit, t->part) + at;
    int layer = t->params->units[unit].layer;
    if (t->reader)
        return checkpoint_read(t->reader, tensor->role, layer, tensor_first, count, target, t->err);
    return weights_read(t->weights, tensor->role, layer, tensor_first, count, target, t->err);
}

int state_load_weights(struct params *params, const struct weights *weights, struct err *err) {
    struct transfer transfer = {.params = params, .weights = weights, .part = PART_MASTER, .err = err};
    return each_shard_piece(params, load_piece, &transfer);
}

int state_load_checkpoint(struct params *params, const char *folder, struct err *err) {
    for (enum checkpoint_part part = PART_MASTER; part < PART_COUNT; part++) {
        struct checkpoint_reader *reader = checkpoint_reader_open(folder, part, params->setup.model, err);
        if (!reader)
            return -1;
        struct transfer transfer = {.params = params, .reader = reader, .part = part, .err = err};
        int status = each_shard_piece(params, load_piece, &transfer);
        checkpoint_reader_close(reader);
        if (status)
            return -1;
    }
    return 0;
}

static int init_piece(void *user, int unit, const struct unit_tensor *tensor, int64_t tensor_first,
                      int64_t at, int64_t count) {
    struct transfer *t = user;
    float *target = part_shard(t->params, unit, PART_MASTER) + at;
    float scale = t->params->setup.model->initializer_range;
    uint64_t id = (uint64_t)unit * ROLE_COUNT + tensor->role;
    for (int64_t i = 0; i < count; i++)
        target[i] = tensor->decays ? scale * (float)rng_normal((uint64_t)t->seed, rng_stream(RNG_INIT, id),
                                                               (uint64_t)(tensor_first + i))
                                   : 1.0f;
    return 0;
}

void state_init(struct params *params, int64_t seed) {
    struct transfer transfer = {.params = params, .seed = seed};
    each_shard_piece(params, init_piece, &transfer);
}

static int save_piece(void *user, int unit, const struct unit_tensor *tensor, int64_t tensor_first,
                      int64_t at, int64_t count) {
    struct transfer *t = user;
    return checkpoint_write(t->checkpoint, t->part, tensor->role, t->params->units[unit].layer, tensor_first,
                            count, part_shard(t->params, unit, t->part) + at, t->err);
}

static int write_parts(struct params *params, struct checkpoint *cp, struct err *err) {
    for (enum checkpoint_part part = PART_MODEL; part < PART_COUNT; part++) {
        struct transfer transfer = {.params = params, .checkpoint = cp, .part = part, .err = err};
        if (each_shard_piece(params, save_piece, &transfer)) {
            checkpoint_close_ranges(cp, NULL);
            return -1;
        }
    }
    return checkpoint_close_ranges(cp, err);
}

/* hash_blocks - each rank its share of the blocks; the sum over ranks is the whole list. */
static bool hash_blocks(struct params *params, struct comm *comm, struct checkpoint *cp, uint64_t *hashes) {
    struct err err = {""};
    int status = checkpoint_hash_blocks(cp, params->setup.rank, params->setup.num_ranks, hashes, &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    comm_sum_i64(comm, (int64_t *)hashes, checkpoint_num_blocks(cp));
    return true;
}

bool state_save(struct params *params, struct comm *comm, const struct state_save *save) {
    struct err err = {""};
    struct checkpoint *cp = checkpoint_plan(save->run_folder, save->step, &save->source, true);
    uint64_t *hashes = xcalloc((size_t)checkpoint_num_blocks(cp), sizeof *hashes);
    bool done = false;

    int status = comm_is_root(comm) ? checkpoint_begin(cp, &err) : 0;
    if (!comm_all_ok(comm, status, &err))
        goto out;
    status = checkpoint_open_ranges(cp, &err);
    if (!status)
        status = write_parts(params, cp, &err);
    if (!comm_all_ok(comm, status, &err) || !hash_blocks(params, comm, cp, hashes)) {
        if (comm_is_root(comm))
            checkpoint_abandon(cp); /* on a full disk the space is needed */
        goto out;
    }
    status = comm_is_root(comm) ? checkpoint_commit(cp, hashes, save->state_text, save->keep_count, &err) : 0;
    done = comm_all_ok(comm, status, &err);
out:
    free(hashes);
    checkpoint_free(cp);
    return done;
}

int64_t state_bytes(const struct params *params, enum dtype model_dtype) {
    int64_t per_value = (int64_t)dtype_bytes(model_dtype) + 3 * (int64_t)sizeof(float);
    return model_num_parameters(params->setup.model) * per_value;
}
