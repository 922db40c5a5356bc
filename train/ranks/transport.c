/* transport.c - see transport.h: the front, the kind for host memory, and the kind of one rank alone.
 * The others are in transport_staged.c and train/ranks/cuda/transport_nccl.c. */
#include "train/ranks/transport.h"

#include <string.h>

#include "train/ranks/cuda/transport_cuda.h"

/* --- host memory: comm.h itself --- */

static void host_all_gather_start(struct transport *t, void *full, const void *shard, size_t shard_bytes,
                                  struct transfer *transfer) {
    comm_all_gather_start(t->comm, full, shard, shard_bytes, &transfer->request);
}

static void host_reduce_scatter_start(struct transport *t, float *shard, const float *full,
                                      int64_t shard_count, struct transfer *transfer) {
    comm_reduce_scatter_start(t->comm, shard, full, shard_count, &transfer->request);
}

static void host_sum_f32(struct transport *t, float *values, int64_t count) {
    comm_sum_f32(t->comm, values, count);
}

static void host_wait(struct transport *t, struct transfer *transfer) {
    comm_wait(t->comm, &transfer->request);
}

static void nothing_to_close(struct transport *t) {
    (void)t;
}

static const struct transport_ops HOST_OPS = {
    "host", host_all_gather_start, host_reduce_scatter_start, host_sum_f32, host_wait, nothing_to_close};

/* --- one rank: its shard is the whole --- */

/* copy_alone - in order with the ops of the device, so there is nothing left to wait for. */
static void copy_alone(struct transport *t, void *to, const void *from, size_t size_bytes) {
    if (to != from && size_bytes > 0)
        t->device->ops->copy(t->device, to, from, size_bytes);
}

static void alone_all_gather_start(struct transport *t, void *full, const void *shard, size_t shard_bytes,
                                   struct transfer *transfer) {
    (void)transfer;
    copy_alone(t, full, shard, shard_bytes);
}

static void alone_reduce_scatter_start(struct transport *t, float *shard, const float *full,
                                       int64_t shard_count, struct transfer *transfer) {
    (void)transfer;
    copy_alone(t, shard, full, (size_t)shard_count * sizeof *shard);
}

static void alone_sum_f32(struct transport *t, float *values, int64_t count) {
    (void)t;
    (void)values;
    (void)count;
}

static void alone_wait(struct transport *t, struct transfer *transfer) {
    (void)t;
    (void)transfer;
}

static const struct transport_ops ALONE_OPS = {
    "none", alone_all_gather_start, alone_reduce_scatter_start, alone_sum_f32, alone_wait, nothing_to_close};

/* --- the front --- */

const char *transport_kind_name(enum transport_kind kind) {
    static const char *const names[] = {"host", "nccl", "staged"};
    return names[kind];
}

int transport_open_beside(struct transport *transport, struct comm *comm, struct device *device,
                          enum transport_kind kind, int sms, struct err *err) {
    *transport = (struct transport){.comm = comm, .device = device};
    if (!comm || comm_num_ranks(comm) == 1) {
        transport->ops = &ALONE_OPS;
        return 0;
    }
    if (kind == TRANSPORT_HOST) {
        CHECK(device->ops->host_memory, "the host transport was asked for buffers of a GPU");
        transport->ops = &HOST_OPS;
        return 0;
    }
    if (kind == TRANSPORT_STAGED)
        return transport_staged_open(transport, err);
    CHECK(!device->ops->host_memory, "NCCL was asked for host buffers");
    transport->sms = sms;
    return transport_nccl_open(transport, err);
}

int transport_open(struct transport *transport, struct comm *comm, struct device *device,
                   enum transport_kind kind, struct err *err) {
    return transport_open_beside(transport, comm, device, kind, 0, err);
}

void transport_close(struct transport *transport) {
    if (transport->ops)
        transport->ops->close(transport);
    memset(transport, 0, sizeof *transport);
}

void transport_all_gather_start(struct transport *transport, void *full, const void *shard,
                                size_t shard_bytes, struct transfer *transfer) {
    transport->ops->all_gather_start(transport, full, shard, shard_bytes, transfer);
}

void transport_reduce_scatter_start(struct transport *transport, float *shard, const float *full,
                                    int64_t shard_count, struct transfer *transfer) {
    transport->ops->reduce_scatter_start(transport, shard, full, shard_count, transfer);
}

void transport_sum_f32(struct transport *transport, float *values, int64_t count) {
    transport->ops->sum_f32(transport, values, count);
}

void transport_wait(struct transport *transport, struct transfer *transfer) {
    transport->ops->wait(transport, transfer);
}
