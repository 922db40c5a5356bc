/* state_save.c - writing a checkpoint.  The phases are those of checkpoints/checkpoint/checkpoint.h with an agreement after
 * each. */
#include "train/model/state_save.h"

#include <stdlib.h>

#include "train/model/state_internal.h"

/* What is done until a rank needs to know that the others are as far. */
enum save_phase { SAVE_BEGIN, SAVE_WRITE, SAVE_HASH, SAVE_COMMIT, SAVE_OVER };

/* A checkpoint that is being written. */
struct saving {
    struct params *params;
    struct comm *comm;
    const struct state_save *save;
    struct state_list list;
    struct weights *origin; /* that holds what is carried; NULL: save->carried_begin does */
    struct checkpoint *cp;
    uint64_t *hashes; /* [checkpoint_num_blocks] */
    struct err err;   /* of this rank in the present phase */
};

/* save_values - into the part that is being written. */
static int save_values(struct transfer_job *job, const struct unit_tensor *tensor, int64_t first,
                       int64_t count, float *values) {
    return checkpoint_write(job->checkpoint, job->part, tensor->param, first, count, values, job->err);
}

/* write_part - this rank's byte ranges of the files of one part. */
static int write_part(struct saving *saving, int part) {
    const struct checkpoint_state *state = part < PART_STATE ? NULL : &saving->list.states[part - PART_STATE];
    struct transfer_job job = {.params = saving->params,
                               .checkpoint = saving->cp,
                               .part = (enum checkpoint_part)part,
                               .state = state,
                               .err = &saving->err,
                               .wanted = WANT_SAVED,
                               .move = save_values};
    return state_each_piece(&job);
}

/* write_parts - of every file.  Replicas hold the same, and the first one writes. */
static int write_parts(struct saving *saving) {
    const struct params_setup *setup = &saving->params->setup;
    struct checkpoint *cp = saving->cp;
    if (setup->replica != 0)
        return 0;
    if (checkpoint_open_ranges(cp, &saving->err) != 0)
        return -1;
    int status = checkpoint_write_carried(cp, setup->rank, setup->num_ranks, &saving->err);
    for (int part = PART_MODEL; part < PART_STATE + saving->list.count && status == 0; part++)
        status = write_part(saving, part);
    int closed = checkpoint_close_ranges(cp, status == 0 ? &saving->err : NULL);
    return status == 0 ? closed : -1;
}

/* hash_blocks - each rank its share of the blocks. */
static int hash_blocks(struct saving *saving) {
    return checkpoint_hash_blocks(saving->cp, comm_rank(saving->comm), comm_num_ranks(saving->comm),
                                  saving->hashes, &saving->err);
}

/* check_owner - a save may take long: the folder can have been moved since it was begun. */
static int check_owner(const struct state_save *save, struct err *err) {
    if (save->owns_folder(save->owner))
        return 0;
    return err_set(
        err, "checkpoint of step %lld: '%s' was moved or removed while it was written; it stays unfinished",
        (long long)save->step, save->run_folder);
}

/* begin, commit - the root's: only in the run's own folder. */
static int begin(struct saving *saving) {
    if (!comm_is_root(saving->comm))
        return 0;
    return check_owner(saving->save, &saving->err) == 0 ? checkpoint_begin(saving->cp, &saving->err) : -1;
}

static int commit(struct saving *saving) {
    if (!comm_is_root(saving->comm))
        return 0;
    if (check_owner(saving->save, &saving->err) != 0)
        return -1;
    return checkpoint_commit(saving->cp, saving->hashes, saving->save->state_text, &saving->err);
}

/* work - this rank's part of a phase; nothing in it communicates. */
static int work(struct saving *saving, enum save_phase phase) {
    static int (*const parts[SAVE_OVER])(struct saving *) = {
        [SAVE_BEGIN] = begin, [SAVE_WRITE] = write_parts, [SAVE_HASH] = hash_blocks, [SAVE_COMMIT] = commit};
    return parts[phase](saving);
}

/* abandon - what was written so far goes, for on a full disk the space is needed; but not what another has under
 * the same name. */
static void abandon(const struct saving *saving) {
    if (comm_is_root(saving->comm) && saving->save->owns_folder(saving->save->owner))
        checkpoint_abandon(saving->cp);
}

/* agree - that a phase went well on all ranks; of the blocks' hashes the sum over the ranks is the whole list.  What begin
 * and commit left they have removed themselves. */
static bool agree(struct saving *saving, enum save_phase phase, int status) {
    bool is_well = comm_all_ok(saving->comm, status, &saving->err);
    if (is_well && phase == SAVE_HASH)
        comm_sum_i64(saving->comm, (int64_t *)saving->hashes, checkpoint_num_blocks(saving->cp));
    if (!is_well && (phase == SAVE_WRITE || phase == SAVE_HASH))
        abandon(saving);
    return is_well;
}

/* open_carried - the folder that holds what is carried, on every rank; *weights is NULL where there is none.  Collective. */
static bool open_carried(struct weights **weights, const char *folder, struct comm *comm) {
    struct err err = {""};
    *weights = folder ? weights_open(folder, &err) : NULL;
    return comm_all_ok(comm, folder && !*weights ? -1 : 0, &err);
}

/* open_saving - the checkpoint planned, the same on every rank; nothing is written.  Collective. */
static bool open_saving(struct saving *saving, struct params *params, struct comm *comm,
                        const struct state_save *save) {
    struct checkpoint_source source = save->source;
    *saving = (struct saving){.params = params, .comm = comm, .save = save};
    if (!open_carried(&saving->origin, save->carried_from, comm))
        return false;
    state_list_open(&saving->list, params);
    source.states = saving->list.states;
    source.num_states = saving->list.count;
    const struct weights *holder = saving->origin ? saving->origin : save->carried_begin;
    source.carried = holder ? weights_carried(holder) : NULL;
    saving->cp = checkpoint_create(save->run_folder, save->step, &source, true);
    saving->hashes = xcalloc((size_t)checkpoint_num_blocks(saving->cp), sizeof *saving->hashes);
    return true;
}

static void close_saving(struct saving *saving) {
    free(saving->hashes);
    checkpoint_free(saving->cp);
    state_list_close(&saving->list);
    weights_close(saving->origin);
}

/* Each phase ends in an agreement before the next begins: no rank may write into files that the root could not make, and the
 * manifest, which makes the checkpoint complete, is written when all have closed theirs. */
bool state_save(struct params *params, struct comm *comm, const struct state_save *save) {
    struct saving saving;
    bool is_well = open_saving(&saving, params, comm, save);
    for (int phase = SAVE_BEGIN; phase < SAVE_OVER && is_well; phase++)
        is_well = agree(&saving, (enum save_phase)phase, work(&saving, (enum save_phase)phase));
    close_saving(&saving);
    return is_well;
}
