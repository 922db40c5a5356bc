/* state_internal.h - what state.c and state_save.c share: a visit of what this rank has of the parameters, part by part. */
#pragma once

#include "train/model/state.h"

/* Which tensors are visited, where there is an adapter: without one all of them. */
enum wanted_tensors { WANT_ALL, WANT_BASE, WANT_PAIRS, WANT_SAVED };

/* A file of state beside the masters, by its name, and which array of a segment it holds: "adam_m", "outer_anchor", "master". */
struct state_entry {
    struct checkpoint_state file; /* of name and holds, the entry's own */
    char *name;
    bool *holds;
    const char *array;
    int replica; /* whose alone it is, where replicas learn apart; -1: it is the same in all */
};

/* Everything a visit of the pieces of this rank's shards may need.  move handles values [first, first +
 * count) of a tensor at `values` in host memory. */
struct transfer_job {
    struct params *params;
    const struct weights *weights;
    const struct checkpoint_reader *reader;
    struct checkpoint *checkpoint;
    const struct state_entry *state; /* NULL: the masters */
    enum checkpoint_part part;       /* of the checkpoint being written */
    struct value_type type;          /* what the values must fit into */
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

/* What is owed of gradients that cross in 8 bits (feedback.h): a checkpoint of a run where they did not has none. */
#define STATE_FEEDBACK "wire_feedback"

/* All of them, as files of a checkpoint. */
struct state_list {
    int count;
    struct state_entry *entries;     /* [count] */
    struct checkpoint_state *states; /* [count] their files */
};

/* state_list_open - by the optimizer's table: which states there are, and which tensors have each, here or on another rank.  Where
 * replicas learn apart: anchor and velocity, and of each replica but the first masters and states of its own, NAME_replicaR.  Where
 * gradients cross in 8 bits: what is owed.
 * state_list_close frees. */
void state_list_open(struct state_list *list, const struct params *params);
void state_list_close(struct state_list *list);

/* state_array - which of a segment's arrays (params_array) an array's name means; -1: it has none of that name. */
int state_array(const struct params *params, const struct segment *segment, const char *name);

/* state_each_piece - visit the tensor parts inside this rank's shard of every segment that has what is asked for.  Returns 0,
 * or what job->move returned when it was not 0. */
int state_each_piece(struct transfer_job *job);
