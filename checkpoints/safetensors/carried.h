/* carried.h - tensors that are not trained, such as those of a vision tower beside a text decoder: from one folder's files
 * into another's, byte for byte, whatever their type.  Matrices that are quantised come out as bf16, where the folder that
 * is written says of none how it is stored. */
#pragma once

#include "checkpoints/safetensors/quantised.h"

struct carried {
    const struct st_files *files; /* borrowed, and so the list */
    const int64_t *indices;       /* [count] of the tensors in files */
    int64_t count;
    const struct quantised
        *quantised; /* how matrices among them are stored that are to be bf16; NULL: all as they are */
};

/* carried_add - all of them into a layout; *handles [count], malloc'ed.  NULL carries nothing. */
void carried_add(const struct carried *carried, struct st_layout *layout, int64_t **handles);

/* carried_write - every num_ranks-th of them, from `rank` on, into the layout's open files.  Returns 0, or -1 with err
 * set: I/O error, short file, a quantised value that is not finite. */
int carried_write(const struct carried *carried, struct st_layout *layout, const int64_t *handles, int rank,
                  int num_ranks, struct err *err);

/* carried_check - every num_ranks-th of them, from `rank` on, can be written: of those that are quantised the values are read
 * and are finite.  What carried_write would find at the first checkpoint, after hours.  Returns 0, or -1 with err set: I/O error,
 * the first value that is not finite, by tensor and element. */
int carried_check(const struct carried *carried, int rank, int num_ranks, struct err *err);

/* carried_bytes - of all of them, as they are written. */
int64_t carried_bytes(const struct carried *carried);

/* carried_is_restored - tensor i of the list is written as bf16, for it is quantised.  carried_num_restored - how many are. */
bool carried_is_restored(const struct carried *carried, int64_t i);
int64_t carried_num_restored(const struct carried *carried);
