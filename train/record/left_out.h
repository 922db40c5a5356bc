/* left_out.h - the batches of a run that are not learnt from, as their losses were spikes (train.spike).  Batches are counted from 0
 * in the present order of the data (training.json: data_start), whatever ranks read them; their list stands in training.json
 * as "left_out".
 *
 * skip: the batch was read in its step, which made no update.  rollback: the run went back and does not read it: all later batches
 * come one step earlier. */
#pragma once

#include "data/corpus/json.h"

enum left_out_by { LEFT_OUT_SKIP, LEFT_OUT_ROLLBACK };

struct left_out_batch {
    int64_t batch, step; /* step: in which it was met, from 1 */
    enum left_out_by by;
    double loss, grad_norm; /* what it was left out for; NaN or infinite: not a number */
};

struct left_out {
    struct left_out_batch *batches; /* ascending by batch, each once */
    int64_t count;
};

/* left_out_add - at its place; one that is there already is replaced.  left_out_release - harmless on a zeroed struct. */
void left_out_add(struct left_out *list, struct left_out_batch batch);
void left_out_release(struct left_out *list);

/* left_out_batch_of - which batch is the n-th that is read, n from 0.  left_out_place_of - the other way; -1: the run went back and
 * does not read it.  left_out_find - what the list says of a batch; NULL: nothing. */
int64_t left_out_batch_of(const struct left_out *list, int64_t n);
int64_t left_out_place_of(const struct left_out *list, int64_t batch);
const struct left_out_batch *left_out_find(const struct left_out *list, int64_t batch);

/* left_out_go_back - the run stands after this step again: what was skipped later is not skipped yet. */
void left_out_go_back(struct left_out *list, int64_t step);

/* left_out_json, left_out_read - of training.json: NULL for an empty list, and a checkpoint without it has one.  left_out_read fills
 * an empty list; returns 0, or -1 with err set. */
json_t *left_out_json(const struct left_out *list);
int left_out_read(struct left_out *list, const json_t *state, struct err *err);
