/* state_save.h - a checkpoint of the parameters and the optimizer's state, written by all ranks together. */
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
