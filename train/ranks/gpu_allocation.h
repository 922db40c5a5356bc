/* gpu_allocation.h - the GPUs that Slurm, or the script of `atelier submit`, gave to this process, against
 * those that CUDA shows it: by the environment alone. */
#pragma once

#include "kernels/error.h"

struct gpu_allocation {
    int64_t per_node;     /* GPUs of the job on this node; 0: none, or no job */
    const char *variable; /* the one that says so */
    int64_t asked;        /* per node, by the script of the job; 0: not told */
    const char *gpu;      /* kind that the job was submitted for; NULL: not told */
    int64_t visible;      /* named by CUDA_VISIBLE_DEVICES; 0: it is not set */
};

/* What CUDA shows a process. */
struct gpu_seen {
    int count;
    int arch; /* of the rank's own GPU, 10 * major + minor */
    char name[96];
};

/* gpu_allocation_read - of this process.  Texts are borrowed from the environment. */
struct gpu_allocation gpu_allocation_read(void);

/* gpu_allocation_check - a process must see the GPUs it was given: their number and kind.  Without an
 * allocation anything is right.  Returns 0, or -1 with err set: what was given, what is seen, what to do. */
int gpu_allocation_check(const struct gpu_allocation *allocation, const struct gpu_seen *seen,
                         const char *node, struct err *err);
