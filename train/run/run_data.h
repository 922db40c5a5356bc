/* run_data.h - the data of a run before its first step: the token files, whether there is anything to learn in them, and
 * what is left out. */
#pragma once

#include "configs/schema/config.h"
#include "data/tokens/loader.h"
#include "train/ranks/comm.h"
#include "train/record/metrics.h"

struct run_data {
    struct loader *train, *valid; /* valid NULL: there is no validation */
    struct teacher **teachers;    /* of train's files (run_teachers.h) */
    int num_teachers;
};

/* run_data_open - the files of data.train and data.valid, with ids below vocab_size (0: any; a new model takes its
 * vocabulary from the tokenizer, which is compared with the files' later).  Returns true on all ranks, or false on all
 * when one cannot be read, which the root has said.  Collective.  run_data_close - harmless on a zeroed struct. */
bool run_data_open(struct run_data *data, const struct config *config, int64_t vocab_size, struct comm *comm);
void run_data_close(struct run_data *data);

/* run_data_tell - a file that is read many times over or next to never; documents longer than a sequence and what of them
 * is never used: a line for each file.
 * Returns 0, or -1 with err set: a loss mask could not be read. */
int run_data_tell(const struct config *config, const struct loader *train, struct metrics *metrics,
                  struct err *err);
