/* state_save.c - writing a checkpoint.  The phases are those of checkpoints/checkpoint/checkpoint.h with an agreement after
 * each. */
#include "train/model/state_save.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "kernels/clock.h"
#include "train/model/state_internal.h"

/* What is done until a rank needs to know that the others are as far. */
enum save_phase { SAVE_BEGIN, SAVE_WRITE, SAVE_HASH, SAVE_COMMIT, SAVE_OVER };

struct saving {
    struct params *params;
    struct comm *comm;
    struct state_save save;
    enum state_source source;
    struct state_list list;
    struct weights *origin; /* that holds what is carried; NULL: save.carried_begin does */
    struct checkpoint *cp;
    uint64_t *hashes; /* [checkpoint_num_blocks] */

    /* Of the present phase on this rank: the thread's, while there is one. */
    enum save_phase phase;
    int status;
    struct err err;
    double worked_s; /* and of those before it */

    /* Of the main thread. */
    pthread_t thread;
    double began_s;      /* the thread */
    bool has_failed;     /* a phase, on some rank */
    bool is_over;        /* no phase is left, or one has failed: `phase` may be the thread's */
    atomic_bool is_idle; /* set by the thread, as the last that it does */
};

/* save_values - into the part that is being written. */
static int save_values(struct transfer_job *job, const struct unit_tensor *tensor, int64_t first,
                       int64_t count, float *values) {
    return checkpoint_write(job->checkpoint, job->part, tensor->param, first, count, values, job->err);
}

/* write_part - this rank's byte ranges of the files of one part. */
static int write_part(struct saving *saving, int part) {
    const struct state_entry *state = part < PART_STATE ? NULL : &saving->list.entries[part - PART_STATE];
    struct transfer_job job = {.params = saving->params,
                               .checkpoint = saving->cp,
                               .part = (enum checkpoint_part)part,
                               .state = state,
                               .err = &saving->err,
                               .source = saving->source,
                               .wanted = WANT_SAVED,
                               .move = save_values};
    return state_each_piece(&job);
}

/* write_parts - of every file.  What replicas hold alike the first one writes. */
static int write_parts(struct saving *saving) {
    const struct params_setup *setup = &saving->params->setup;
    struct checkpoint *cp = saving->cp;
    bool is_first = setup->replica == 0 && setup->tensor.index == 0;
    if (setup->replica != 0 && !params_is_split(setup) && !params_is_apart(setup))
        return 0;
    if (checkpoint_open_ranges(cp, &saving->err) != 0)
        return -1;
    int status = is_first ? checkpoint_write_carried(cp, setup->rank, setup->num_ranks, &saving->err) : 0;
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
    return check_owner(&saving->save, &saving->err) == 0 ? checkpoint_begin(saving->cp, &saving->err) : -1;
}

static int commit(struct saving *saving) {
    if (!comm_is_root(saving->comm))
        return 0;
    if (check_owner(&saving->save, &saving->err) != 0)
        return -1;
    return checkpoint_commit(saving->cp, saving->hashes, saving->save.state_text, &saving->err);
}

/* work - this rank's part of the present phase; nothing in it communicates. */
static void work(struct saving *saving) {
    static int (*const parts[SAVE_OVER])(struct saving *) = {
        [SAVE_BEGIN] = begin, [SAVE_WRITE] = write_parts, [SAVE_HASH] = hash_blocks, [SAVE_COMMIT] = commit};
    double start = clock_s();
    saving->status = parts[saving->phase](saving);
    saving->worked_s += clock_s() - start;
}

/* abandon - what was written so far goes, for on a full disk the space is needed; but not what another has under
 * the same name. */
static void abandon(const struct saving *saving) {
    if (comm_is_root(saving->comm) && saving->save.owns_folder(saving->save.owner))
        checkpoint_abandon(saving->cp);
}

/* agree - that the present phase went well on all ranks, and on to the next.  Of the blocks' hashes the sum over the ranks is
 * the whole list.  What begin and commit left they have removed themselves. */
static void agree(struct saving *saving) {
    enum save_phase phase = saving->phase;
    saving->has_failed = !comm_all_ok(saving->comm, saving->status, &saving->err);
    if (!saving->has_failed && phase == SAVE_HASH)
        comm_sum_i64(saving->comm, (int64_t *)saving->hashes, checkpoint_num_blocks(saving->cp));
    if (saving->has_failed && (phase == SAVE_WRITE || phase == SAVE_HASH))
        abandon(saving);
    saving->phase++;
    saving->is_over = saving->has_failed || saving->phase == SAVE_OVER;
}

/* open_carried - the folder that holds what is carried, on every rank; *weights is NULL where there is none.  Collective. */
static bool open_carried(struct weights **weights, const char *folder, struct comm *comm) {
    struct err err = {""};
    *weights = folder ? weights_open(folder, &err) : NULL;
    return comm_all_ok(comm, folder && !*weights ? -1 : 0, &err);
}

/* open_saving - the checkpoint planned, the same on every rank; nothing is written.  Collective. */
static bool open_saving(struct saving *saving, enum state_source source) {
    const struct state_save *save = &saving->save;
    struct checkpoint_source parts = save->source;
    if (!open_carried(&saving->origin, save->carried_from, saving->comm))
        return false;
    saving->source = source;
    state_list_open(&saving->list, saving->params);
    parts.states = saving->list.states;
    parts.num_states = saving->list.count;
    const struct weights *holder = saving->origin ? saving->origin : save->carried_begin;
    parts.carried = holder ? weights_carried(holder) : NULL;
    saving->cp = checkpoint_create(save->run_folder, save->step, &parts, true);
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
    struct saving saving = {.params = params, .comm = comm, .save = *save};
    bool is_open = open_saving(&saving, STATE_NOW);
    while (is_open && !saving.is_over) {
        work(&saving);
        agree(&saving);
    }
    close_saving(&saving);
    return is_open && !saving.has_failed;
}

/* --- beside the training --- */

/* Where a thread computes on each core, this is by how much less of a core the one that writes gets: a tenth of it.  The write
 * may last longer, the step may not.  On a core that is free it makes no difference. */
enum { LESS_URGENT = 10 };

/* work_beside - the thread; process 0 is to Linux the calling thread.  A rank that is alone agrees with itself. */
static void *work_beside(void *user) {
    struct saving *saving = user;
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + LESS_URGENT);
    work(saving);
    while (comm_num_ranks(saving->comm) == 1 && saving->status == 0 && saving->phase < SAVE_COMMIT) {
        saving->phase++;
        work(saving);
    }
    atomic_store(&saving->is_idle, true);
    return NULL;
}

/* launch - the thread of the present phase.  Signals are not for it. */
static void launch(struct saving *saving) {
    sigset_t all, before;
    atomic_store(&saving->is_idle, false);
    saving->began_s = clock_s();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(&saving->thread, NULL, work_beside, saving);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    CHECK(status == 0, "cannot start the thread that writes a checkpoint: raise 'ulimit -u'");
}

/* conclude - wait for the thread, agree, and launch the next.  Collective. */
static void conclude(struct saving *saving) {
    CHECK(pthread_join(saving->thread, NULL) == 0,
          "the thread that writes a checkpoint cannot be waited for");
    agree(saving);
    if (!saving->is_over)
        launch(saving);
}

struct saving *saving_begin(struct params *params, struct comm *comm, const struct state_save *save) {
    struct saving *saving = xcalloc(1, sizeof *saving);
    *saving = (struct saving){.params = params, .comm = comm, .save = *save};
    if (open_saving(saving, STATE_SNAPSHOT)) {
        launch(saving);
        return saving;
    }
    close_saving(saving);
    free(saving);
    return NULL;
}

bool saving_is_over(struct saving *saving, double limit_s) {
    if (saving->is_over)
        return true;
    int64_t is_late = clock_s() - saving->began_s >= limit_s;
    int64_t asked[2] = {!atomic_load(&saving->is_idle), is_late};
    comm_max_i64(saving->comm, asked, 2);
    if (!asked[0] || asked[1])
        conclude(saving);
    return saving->is_over;
}

bool saving_end(struct saving *saving, double *worked_s) {
    while (!saving->is_over)
        conclude(saving);
    bool is_well = !saving->has_failed;
    *worked_s = saving->worked_s;
    comm_max_f64(saving->comm, worked_s, 1);
    close_saving(saving);
    free(saving);
    return is_well;
}
