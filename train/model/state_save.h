/* state_save.h - a checkpoint of the parameters and the optimizer's state, written by all ranks together: while they wait for
 * it, or from a snapshot while they train.  The files are the same to the last byte.
 *
 * Beside the training each rank has a thread that works through one phase of checkpoint.h, and calls nothing of MPI; between
 * two phases the ranks agree on their main threads, when they look.  A rank that is alone has nobody to agree with: its
 * thread goes through all phases.  The name of the checkpoint and `latest` are the last phase's, so that until then a kill
 * leaves what was there before. */
#pragma once

#include "train/model/state.h"

/* What a checkpoint is made of besides the parameters. */
struct state_save {
    const char *run_folder;
    int64_t step;
    struct checkpoint_source source; /* without states: state_save adds those of the optimizer */
    const char *state_text;          /* training.json */
    /* Of a wrapper: who holds its other tensors, the checkpoint that this start wrote last (a folder), or before the first
     * one what it began with, whose files are open: that folder may have gone meanwhile. */
    const char *carried_from;
    const struct weights *carried_begin;
    /* Root: whether the run folder is still the run's, before a name in it is taken or removed. */
    bool (*owns_folder)(const void *owner);
    const void *owner; /* borrowed */
};

/* state_save - write a checkpoint, all ranks together.  Returns true on all ranks when it is complete;
 * otherwise the root has said why and the older checkpoints are as they were; where the folder is not the run's
 * any more, nothing in it was touched since.  Collective. */
bool state_save(struct params *params, struct comm *comm, const struct state_save *save);

/* A checkpoint that is being written from the snapshot (snapshot.h), which must not be taken anew until it has ended. */
struct saving;

/* saving_begin - the same, on a thread of each rank; all that save points to must stay as it is until saving_end.  Returns
 * NULL on all ranks when it could not be begun, which the root has said.  Collective. */
struct saving *saving_begin(struct params *params, struct comm *comm, const struct state_save *save);

/* saving_is_over - to be asked between two steps: what is done by all is agreed on and the next phase begun.  True when none
 * is left, or one failed.  A phase that has lasted limit_s is waited for, as a save beside no training is: the ranks that are
 * done then say for whom.  Collective; the same on all ranks. */
bool saving_is_over(struct saving *saving, double limit_s);

/* saving_end - wait for the rest, and free.  Returns as state_save does; *worked_s: how long the slowest rank worked, without
 * what lay between two looks.  Collective. */
bool saving_end(struct saving *saving, double *worked_s);
