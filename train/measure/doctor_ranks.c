/* doctor_ranks.c - rates of the device and of both axes, agreed on by all ranks. */
#include "train/measure/doctor_ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/device_cuda.h"
#include "kernels/units.h"
#include "train/measure/measure.h"

/* Large enough to be bandwidth and not latency, small enough for a second. */
enum { COPY_BYTES = GIB, HOST_LINK_BYTES = 256 * MIB, PRODUCT_SIZE = 8192 };
enum { GPU_TRANSFER_BYTES = 128 * MIB, CPU_TRANSFER_BYTES = 4 * MIB };

/* measure_gpu - the slowest rank's figures, for a job is as fast as that one. */
static bool measure_gpu(struct rank_rates *rates, struct device *device, struct comm *comm) {
    struct err err = {""};
    double figures[4] = {0};
    int status = measure_copy(device, COPY_BYTES, &figures[0], &err);
    if (!status)
        status = measure_matmul(device, PRODUCT_SIZE, &figures[1], &err);
    if (!status)
        status = measure_host_link(device, HOST_LINK_BYTES, &figures[2], &figures[3], &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    for (int i = 0; i < 4; i++)
        figures[i] = -figures[i];
    comm_max_f64(comm, figures, 4);
    rates->copy_bytes_per_s = -figures[0];
    rates->flops_16 = -figures[1];
    rates->up_bytes_per_s = -figures[2];
    rates->down_bytes_per_s = -figures[3];
    return true;
}

/* measure_axis - bus bandwidth of a rank, of the slower collective and the slowest group.  0: no other rank
 * there. */
static bool measure_axis(double *bytes_per_s, struct transport *transport, bool on_gpu, struct comm *comm) {
    struct err err = {""};
    struct measure_transfer result = {.size_bytes = on_gpu ? GPU_TRANSFER_BYTES : CPU_TRANSFER_BYTES};
    bool is_alone = !transport->comm || comm_num_ranks(transport->comm) == 1;
    int status = is_alone ? 0 : measure_transfers(transport, &result, 1, &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    double slower = result.gather_bytes_per_s < result.reduce_scatter_bytes_per_s
                        ? result.gather_bytes_per_s
                        : result.reduce_scatter_bytes_per_s;
    double least = is_alone ? 0 : -slower;
    comm_max_f64(comm, &least, 1);
    *bytes_per_s = is_alone ? 0 : -least;
    return true;
}

/* measure_all - the device alone first: two measurements beside each other would slow each other down. */
static bool measure_all(struct rank_rates *rates, struct rank_device *rank, struct comm *comm) {
    double across;
    snprintf(rates->transport, sizeof rates->transport, "%s", rank->link->ops->name);
    if (rates->on_gpu && !measure_gpu(rates, &rank->dev, comm))
        return false;
    if (!measure_axis(&rates->link_bytes_per_s, rank->link, rates->on_gpu, comm) ||
        !measure_axis(&across, rank->across, rates->on_gpu, comm))
        return false;
    rates->node_bytes_per_s = across * rank->grid.axes[AXIS_SHARD].size; /* as many rings at the same time */
    return true;
}

/* Opened as a run would open its ranks, at stage 3, which is what uses every way between them. */
bool rank_rates_measure(struct rank_rates *rates, struct comm *comm) {
    struct rank_device rank;
    char log[64];
    int per_node = rank_num_per_node(comm);
    int64_t is_first = comm_local_rank(comm) == 0;
    *rates = (struct rank_rates){.num_ranks = comm_num_ranks(comm)};
    comm_sum_i64(comm, &is_first, 1);
    rates->num_nodes = (int)is_first;
    snprintf(log, sizeof log, "/tmp/atelier-doctor-nccl-%ld", (long)getpid());
    bool has_log = rates->num_ranks > 1 && comm_is_root(comm) && measure_log_begin(log);
    /* One replica for each node: then one axis lies inside the nodes, the other between them. */
    const struct config config = {.parallel = {.zero_stage = 3, .replicas = per_node > 0 ? 0 : 1}};
    bool is_open = rank_device_open(&rank, &config, comm);
    rates->on_gpu = is_open && !rank.dev.ops->host_memory;
    device_describe_cuda(0, rates->device, sizeof rates->device);
    if (is_open)
        places_gather(&rates->places, &rank, comm);
    bool done = is_open && measure_all(rates, &rank, comm);
    if (done && has_log && rates->on_gpu)
        measure_log_routes(log, rates->routes, sizeof rates->routes);
    rank_device_close(&rank);
    if (has_log)
        unlink(log);
    return done;
}

void rank_rates_free(struct rank_rates *rates) {
    places_free(&rates->places);
}
