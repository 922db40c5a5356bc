/* rank_device.h - where a rank stands and what it computes with: its place in the grid, a share of the host's
 * cores or a GPU of its own, and the ways from its memory to that of the other ranks. */
#pragma once

#include "configs/schema/config.h"
#include "train/ranks/axes.h"

struct rank_device {
    struct device dev;
    struct grid grid;
    struct axes axes;
    struct transport
        *link; /* of axes: between the ranks that hold a replica together, over what divides the parameters */
    struct transport *across; /* of axes: over what divides the loss and not the parameters: the replicas */
    struct transport
        *context; /* of axes: between the ranks that share the rows of a micro-batch, along AXIS_CONTEXT */
    struct transport
        *tensor; /* of axes: between the ranks that divide the tensors of a layer, along AXIS_TENSOR */
    struct transport *expert;  /* of axes: between the ranks that divide experts, along AXIS_EXPERT */
    struct transport *holders; /* of axes: between the ranks of a replica that have the same experts */
    char gpu_uuid[48];         /* "" on a CPU */
    char gpu_bus[24];          /* the same: its PCI address */
    bool uses_nccl;            /* between its memory and that of other ranks; else MPI */
};

/* rank_device_take - the device that run.device asks for; with GPUs the root prints which rank has which.
 * rank_device_connect - then the grid and the groups along its axes; config holds no 'auto' any more.
 * rank_device_join - of connect the groups alone, in the grid that is in rank already.
 * rank_device_open - take and connect.  Return true on all ranks, or false on all when one failed, which the root has
 * said: ranks that do not fit the grid, no GPU, other GPUs than Slurm gave to the job, a driver too old,
 * two ranks on one GPU, NCCL that does not start.  Collective.  rank_device_close - all of it, also after one
 * that failed. */
bool rank_device_take(struct rank_device *rank, const struct config *config, struct comm *comm);
bool rank_device_connect(struct rank_device *rank, const struct config *config, struct comm *comm);
bool rank_device_join(struct rank_device *rank, const struct config *config, struct comm *comm);
bool rank_device_open(struct rank_device *rank, const struct config *config, struct comm *comm);
void rank_device_close(struct rank_device *rank);

/* rank_transfers_beside - whether gathers or reductions of that parallel.stage run while layers compute. */
bool rank_transfers_beside(int64_t zero_stage);

/* rank_device_spare_sms - from here on products leave the transfers of that parallel.stage room while they run: the one place
 * that decides it. */
void rank_device_spare_sms(struct rank_device *rank, int zero_stage);

/* rank_num_per_node - ranks on each node, or 0 where the nodes have different numbers.  Collective. */
int rank_num_per_node(struct comm *comm);

/* rank_node_name - of the node this rank is on, as Slurm's --exclude takes it; outside Slurm the host's name.
 */
const char *rank_node_name(const struct comm *comm);

/* rank_cores - an equal share of the host's cores, but no more than this rank may run on: mpirun binds each of two ranks
 * to one core, Slurm to those of --cpus-per-task.  rank_threads - OpenMP threads of this rank: run.threads, or as many. */
int rank_cores(const struct comm *comm);
int rank_threads(const struct config *config, const struct comm *comm);
