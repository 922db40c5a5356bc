/* rank_device.c - a rank's device, its place in the grid, its threads, and its ways to the others, in this order. */
#include "train/ranks/rank_device.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/device_cuda.h"
#include "train/ranks/cuda/gpu_map.h"

/* Multiprocessors that one transfer inside a replica may occupy.  NCCL's blocks share theirs with no other
 * kernel (github.com/NVIDIA/nccl/issues/1656); left alone it takes what the links can carry, 24 on a node of
 * A100 (there, 1225), and products planned for the whole GPU then need a second wave for their last tiles.
 * Its maintainers name config.maxCTAs as the way to hold it (there, 1598); NCCL_MAX_CTAS in the environment
 * comes before it, unseen by the products.  Two transfers at once, as in a backward at stage 3, fill the links
 * with 12 each; one alone has at least half of them, which still hides it beside 4096 tokens of a layer.  That
 * follows from counts (kernels/cuda/NOTES.md) and has not been measured. */
enum { TRANSFER_SMS = 12 };

/* Those of the other stages come after the backward, when NCCL may have the whole GPU. */
bool rank_transfers_beside(int64_t zero_stage) {
    return zero_stage >= 2;
}

int rank_cores(const struct comm *comm) {
    cpu_set_t allowed;
    long share = sysconf(_SC_NPROCESSORS_ONLN) / comm_num_local_ranks(comm);
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) < share)
        share = CPU_COUNT(&allowed);
    return share > 0 ? (int)share : 1;
}

/* More threads than cores would make OpenMP's barriers wait for threads that do not run. */
int rank_threads(const struct config *config, const struct comm *comm) {
    return config->run.threads > 0 ? (int)config->run.threads : rank_cores(comm);
}

/* wants_gpu - whether this run computes on GPUs: as asked for, or where every rank sees one.  A rank without
 * one among others with one is told by the open that fails.  GPUs that Slurm gave and nobody can use are an
 * error: the job would be paid for them and compute on processors.  Returns false on all ranks then. */
static bool wants_gpu(const struct config *config, struct comm *comm, bool *wanted) {
    struct gpu_allocation allocation = gpu_allocation_read();
    struct err err = {""}, why = {""};
    int ordinal, status = 0;
    *wanted = config->run.device == DEVICE_CUDA;
    if (config->run.device != DEVICE_AUTO)
        return true;
    double sees_gpu = gpu_map_choose(comm, &ordinal, &why) == 0;
    comm_max_f64(comm, &sees_gpu, 1);
    *wanted = sees_gpu > 0;
    if (!*wanted && allocation.per_node > 0)
        status = err_set(&err, "Slurm allocated %lld GPU%s on '%s' (%s), and run.device is auto, but %.400s",
                         (long long)allocation.per_node, allocation.per_node > 1 ? "s" : "",
                         rank_node_name(comm), allocation.variable, why.text);
    return comm_all_ok(comm, status, &err);
}

/* check_allocation - the GPUs that CUDA shows are those that were given to this job. */
static int check_allocation(const struct comm *comm, int ordinal, struct err *err) {
    struct gpu_allocation allocation = gpu_allocation_read();
    struct gpu_seen seen;
    gpu_map_see(&seen, ordinal);
    return gpu_allocation_check(&allocation, &seen, rank_node_name(comm), err);
}

/* gpu_transport - NCCL, unless parallel.comm asks for the way through host memory. */
static enum transport_kind gpu_transport(const struct config *config) {
    return config->parallel.comm == COMM_MPI ? TRANSPORT_STAGED : TRANSPORT_NCCL;
}

/* open_gpu - this rank's GPU, checked against those of the others. */
static bool open_gpu(struct rank_device *rank, const struct config *config, struct comm *comm) {
    const enum transport_kind kind = gpu_transport(config);
    struct err err = {""};
    struct gpu_map map;
    int ordinal = 0, status = gpu_map_choose(comm, &ordinal, &err);
    if (!status)
        status = check_allocation(comm, ordinal, &err);
    if (!status)
        status = device_open_cuda(&rank->dev, ordinal, &err);
    if (!status &&
        config->train.compute != COMPUTE_FP8) /* which asks for more, and is looked at by the run */
        status = cuda_check_compute(&rank->dev, config_activations(config), "train.compute", &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    gpu_map_gather(&map, comm, ordinal);
    if (comm_is_root(comm))
        gpu_map_print(&map, stderr);
    snprintf(rank->gpu_uuid, sizeof rank->gpu_uuid, "%s", map.entries[comm_rank(comm)].uuid);
    snprintf(rank->gpu_bus, sizeof rank->gpu_bus, "%s", map.entries[comm_rank(comm)].bus);
    status = gpu_map_check(&map, kind, &err);
    gpu_map_free(&map);
    return comm_all_ok(comm, status, &err);
}

const char *rank_node_name(const struct comm *comm) {
    const char *name = getenv("SLURMD_NODENAME");
    return name && name[0] ? name : comm_host(comm);
}

/* The most, and the negative of the least, in one reduction. */
int rank_num_per_node(struct comm *comm) {
    int64_t most[2] = {comm_num_local_ranks(comm), -comm_num_local_ranks(comm)};
    comm_max_i64(comm, most, 2);
    return most[0] == -most[1] ? (int)most[0] : 0;
}

/* Before the grid, as the automatic layout has to know the device before it can choose parallel.replicas. */
bool rank_device_take(struct rank_device *rank, const struct config *config, struct comm *comm) {
    bool on_gpu;
    memset(rank, 0, sizeof *rank);
    if (!wants_gpu(config, comm, &on_gpu))
        return false;
    if (on_gpu)
        return open_gpu(rank, config, comm);
    device_open_cpu(&rank->dev, rank_threads(config, comm));
    return true;
}

bool rank_device_connect(struct rank_device *rank, const struct config *config, struct comm *comm) {
    struct err err = {""};
    const struct grid_shape shape = {.num_ranks = comm_num_ranks(comm),
                                     .ranks_per_node = rank_num_per_node(comm),
                                     .num_replicas = (int)config->parallel.replicas,
                                     .num_context = (int)config->parallel.context,
                                     .num_tensor = (int)config->parallel.tensor,
                                     .num_expert = (int)config->parallel.expert};
    int status = grid_make(&rank->grid, &shape, comm_rank(comm), &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    return rank_device_join(rank, config, comm);
}

bool rank_device_join(struct rank_device *rank, const struct config *config, struct comm *comm) {
    const struct axes_setup setup = {
        .grid = &rank->grid,
        .device = &rank->dev,
        .kind = rank->dev.ops->host_memory ? TRANSPORT_HOST : gpu_transport(config),
        .shard_sms = rank_transfers_beside(config->parallel.zero_stage) ? TRANSFER_SMS : 0};
    rank->uses_nccl = setup.kind == TRANSPORT_NCCL;
    if (!axes_open(&rank->axes, &setup, comm))
        return false;
    rank->link = axes_transport(&rank->axes, grid_axes(&rank->grid, DIVIDES_PARAMETERS));
    rank->across = axes_transport(&rank->axes, grid_replica_axes(&rank->grid));
    if (rank->grid.rows == GRID_AXES) {
        rank->context = axes_transport(&rank->axes, AXIS_BIT(AXIS_CONTEXT));
        rank->tensor = axes_transport(&rank->axes, AXIS_BIT(AXIS_TENSOR));
        rank->expert = axes_transport(&rank->axes, AXIS_BIT(AXIS_EXPERT));
        rank->holders = axes_transport(&rank->axes, grid_holder_axes(&rank->grid));
    }
    return true;
}

bool rank_device_open(struct rank_device *rank, const struct config *config, struct comm *comm) {
    return rank_device_take(rank, config, comm) && rank_device_connect(rank, config, comm);
}

/* Where the stage has transfers beside products; the transport tells those products of each (kernels/cuda/beside.c). */
void rank_device_spare_sms(struct rank_device *rank, int zero_stage) {
    if (!rank->dev.ops->host_memory)
        cuda_linear_spare_sms(&rank->dev, rank_transfers_beside(zero_stage) ? rank->link->sms : 0);
}

void rank_device_close(struct rank_device *rank) {
    axes_close(&rank->axes);
    if (rank->dev.ops)
        device_close(&rank->dev);
}
