/* carried.h - tensors that are not trained, such as those of a vision tower beside a text decoder: from one folder's files
 * into another's, byte for byte, whatever their type. */
#pragma once

#include "checkpoints/safetensors/safetensors.h"

struct carried {
    const struct st_files *files; /* borrowed, and so the list */
    const int64_t *indices;       /* [count] of the tensors in files */
    int64_t count;
};

/* carried_add - all of them into a layout; *handles [count], malloc'ed.  NULL carries nothing. */
void carried_add(const struct carried *carried, struct st_layout *layout, int64_t **handles);

/* carried_write - every num_ranks-th of them, from `rank` on, into the layout's open files.  Returns 0, or -1 with err
 * set: I/O error, short file. */
int carried_write(const struct carried *carried, struct st_layout *layout, const int64_t *handles, int rank,
                  int num_ranks, struct err *err);

/* carried_bytes - of all of them. */
int64_t carried_bytes(const struct carried *carried);
