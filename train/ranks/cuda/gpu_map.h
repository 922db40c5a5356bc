/* gpu_map.h - which GPU each rank uses: chosen by its place among the ranks of its host, told once at the
 * start, refused where two ranks would share one.  GPUs are numbered as the process sees them, that is after
 * CUDA_VISIBLE_DEVICES; the UUID says which board it is. */
#pragma once

#include <stdio.h>

#include "train/ranks/gpu_allocation.h"
#include "train/ranks/transport.h"

/* One rank's GPU. */
struct gpu_entry {
    char host[64];
    char name[96]; /* "NVIDIA H100 80GB HBM3" */
    char uuid[48]; /* "GPU-01234567-89ab-cdef-0123-456789abcdef" */
    char bus[24];  /* PCI address */
    int ordinal;   /* as the process counts */
    int numa;      /* node of the host's memory that is nearest; -1: unknown */
};

struct gpu_map {
    int num_ranks;
    struct gpu_entry *entries; /* [num_ranks] */
};

/* gpu_map_choose - the GPU of this rank: the only one if the process sees one, else the local rank modulo
 * their number.  The local rank is comm's, or ATELIER_LOCAL_RANK where that is set (a host that plays several
 * nodes). comm NULL: alone, local rank 0.  Returns 0, or -1 with err set: no GPU, no driver, a driver too
 * old, a local rank that is not a number. */
int gpu_map_choose(const struct comm *comm, int *ordinal, struct err *err);

/* gpu_map_see - what CUDA shows this process, and of which kind its own GPU is. */
void gpu_map_see(struct gpu_seen *seen, int ordinal);

/* gpu_map_gather - every rank's GPU, on every rank; comm NULL: this one.  Collective.  gpu_map_free
 * afterwards. gpu_map_print - "rank 3 host r7i2n0 GPU 1 NVIDIA H100 UUID GPU-... NUMA 0", a line for each
 * rank. */
void gpu_map_gather(struct gpu_map *map, struct comm *comm, int ordinal);
void gpu_map_print(const struct gpu_map *map, FILE *out);
void gpu_map_free(struct gpu_map *map);

/* gpu_map_check - two ranks on one GPU are refused unless the transport is STAGED: NCCL cannot do it.  The
 * same answer on every rank.  Returns 0, or -1 with err set. */
int gpu_map_check(const struct gpu_map *map, enum transport_kind kind, struct err *err);
