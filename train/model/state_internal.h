/* state_internal.h - what state.c and state_save.c share: a visit of what this rank has of the parameters, part by part. */
#pragma once

#include "train/model/state.h"

/* Which tensors are visited, where there is an adapter: without one all of them. */
enum wanted_tensors { WANT_ALL, WANT_BASE, WANT_PAIRS, WANT_SAVED };

/* Everything a visit of the pieces of this rank's shards may need.  move handles values [first, first +
 * count) of a tensor at `values` in host memory. */
struct transfer_job {
    struct params *params;
    const struct weights *weights;
    const struct checkpoint_reader *reader;
    struct checkpoint *checkpoint;
    const struct checkpoint_state *state; /* of the optimizer; NULL: the masters */
    enum checkpoint_part part;            /* of the checkpoint being written */
    struct value_type type;               /* what the values must fit into */
    struct value_scan *scan;
    int64_t seed;
    bool writes_device;       /* values go to the device, not from it */
    enum state_source source; /* else where they come from */
    enum wanted_tensors wanted;
    float *stage; /* [STAGE_COUNT] */
    struct err *err;
    int (*move)(struct transfer_job *, const struct unit_tensor *, int64_t first, int64_t count,
                float *values);
};

/* The states of the optimizer, as files of a checkpoint. */
struct state_list {
    int count;
    struct checkpoint_state states[CHECKPOINT_MAX_STATES];
    bool *holds; /* [count, param_num_slots] */
};

/* state_list_open - by the optimizer's table: which states there are, and which tensors have each, here or on another rank.
 * state_list_close frees. */
void state_list_open(struct state_list *list, const struct params *params);
void state_list_close(struct state_list *list);

/* state_each_piece - visit the tensor parts inside this rank's shard of every segment that has what is asked for.  Returns 0,
 * or what job->move returned when it was not 0. */
int state_each_piece(struct transfer_job *job);
