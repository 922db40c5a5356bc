/* transport.c - the front of all transports, the kind for host memory, the kind of one rank alone, and sums of rounded terms,
 * which every kind does by the same exchange.  The other kinds are in transport_staged.c and
 * train/ranks/cuda/transport_nccl.c. */
#include "train/ranks/transport.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"
#include "train/ranks/cuda/transport_cuda.h"
#include "train/ranks/mover.h"

/* --- host memory: comm.h itself --- */

static void host_all_gather_start(struct transport *t, void *full, const void *shard, size_t shard_bytes,
                                  struct transfer *transfer) {
    comm_all_gather_start(t->comm, full, shard, shard_bytes, &transfer->request);
}

static void host_reduce_scatter_start(struct transport *t, enum term_type type, void *shard, const void *full,
                                      int64_t shard_count, struct transfer *transfer) {
    comm_reduce_scatter_terms_start(t->comm, type, shard, full, shard_count, &transfer->request);
}

static void host_sum_f32(struct transport *t, float *values, int64_t count) {
    comm_sum_f32(t->comm, values, count);
}

static void host_send_start(struct transport *t, const void *data, size_t size_bytes, int to,
                            struct transfer *transfer) {
    comm_send_start(t->comm, data, size_bytes, to, &transfer->request);
}

static void host_receive_start(struct transport *t, void *data, size_t size_bytes, int from,
                               struct transfer *transfer) {
    comm_receive_start(t->comm, data, size_bytes, from, &transfer->request);
}

static void host_all_to_all_start(struct transport *t, const struct comm_pieces *pieces,
                                  struct transfer *transfer) {
    comm_all_to_all_start(t->comm, pieces, &transfer->request);
}

static void host_wait(struct transport *t, struct transfer *transfer) {
    comm_wait(t->comm, &transfer->request);
}

/* open_mover - by the first transport of a device that has messages: the last to be closed.  Without one they move while this rank waits. */
static void open_mover(struct transport *t) {
    if (!t->device->before_op && comm_has_messages(t->comm) && comm_can_be_lent())
        t->state = mover_open(t->comm, t->device);
}

static void host_close(struct transport *t) {
    if (t->state)
        mover_close(t->state);
}

/* nothing_to_close - the kind that keeps no state. */
static void nothing_to_close(struct transport *t) {
    (void)t;
}

static const struct transport_ops HOST_OPS = {.name = "host",
                                              .all_gather_start = host_all_gather_start,
                                              .reduce_scatter_start = host_reduce_scatter_start,
                                              .sum_f32 = host_sum_f32,
                                              .send_start = host_send_start,
                                              .receive_start = host_receive_start,
                                              .all_to_all_start = host_all_to_all_start,
                                              .wait = host_wait,
                                              .close = host_close};

/* --- one rank: its shard is the whole ---
 *
 * A kind of its own, so that no caller asks whether there are others. */

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

static void alone_reduce_scatter_start(struct transport *t, enum term_type type, void *shard,
                                       const void *full, int64_t shard_count, struct transfer *transfer) {
    (void)transfer;
    copy_alone(t, shard, full, terms_bytes(type, shard_count));
}

static void alone_sum_f32(struct transport *t, float *values, int64_t count) {
    (void)t;
    (void)values;
    (void)count;
}

static void alone_send_start(struct transport *t, const void *data, size_t size_bytes, int to,
                             struct transfer *transfer) {
    (void)t, (void)data, (void)transfer;
    die("one rank alone sends %zu bytes to rank %d", size_bytes, to);
}

static void alone_receive_start(struct transport *t, void *data, size_t size_bytes, int from,
                                struct transfer *transfer) {
    (void)t, (void)data, (void)transfer;
    die("one rank alone expects %zu bytes from rank %d", size_bytes, from);
}

static void alone_all_to_all_start(struct transport *t, const struct comm_pieces *pieces,
                                   struct transfer *transfer) {
    (void)transfer;
    copy_alone(t, pieces->received, pieces->sent, pieces->sent_bytes[0]);
}

static void alone_wait(struct transport *t, struct transfer *transfer) {
    (void)t;
    (void)transfer;
}

static const struct transport_ops ALONE_OPS = {.name = "none",
                                               .all_gather_start = alone_all_gather_start,
                                               .reduce_scatter_start = alone_reduce_scatter_start,
                                               .sum_f32 = alone_sum_f32,
                                               .send_start = alone_send_start,
                                               .receive_start = alone_receive_start,
                                               .all_to_all_start = alone_all_to_all_start,
                                               .wait = alone_wait,
                                               .close = nothing_to_close};

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
        open_mover(transport);
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

void transport_windows_open(struct transport *transport, struct comm *whole, struct transport_window *windows,
                            int count) {
    CHECK(count <= TRANSPORT_MAX_WINDOWS, "%d windows of a transport", count);
    for (int i = 0; i < count; i++)
        windows[i].memory = NULL;
    if (transport->ops->windows_open && transport->sms > 0)
        transport->ops->windows_open(transport, whole, windows, count);
}

void transport_windows_close(struct transport *transport) {
    if (transport->ops->windows_close)
        transport->ops->windows_close(transport);
}

/* num_others - ranks that this one sends to. */
static int64_t num_others(const struct transport *transport) {
    return transport->comm ? comm_num_ranks(transport->comm) - 1 : 0;
}

void transport_all_gather_start(struct transport *transport, void *full, const void *shard,
                                size_t shard_bytes, struct transfer *transfer) {
    transport->sent_bytes += num_others(transport) * (int64_t)shard_bytes;
    transport->ops->all_gather_start(transport, full, shard, shard_bytes, transfer);
}

void transport_reduce_scatter_start(struct transport *transport, float *shard, const float *full,
                                    int64_t shard_count, struct transfer *transfer) {
    transport->sent_bytes += num_others(transport) * shard_count * (int64_t)sizeof *shard;
    transport->ops->reduce_scatter_start(transport, TERMS_F32, shard, full, shard_count, transfer);
}

void transport_reduce_scatter_i64_start(struct transport *transport, int64_t *shard, const int64_t *full,
                                        int64_t shard_count, struct transfer *transfer) {
    transport->sent_bytes += num_others(transport) * shard_count * (int64_t)sizeof *shard;
    transport->ops->reduce_scatter_start(transport, TERMS_I64, shard, full, shard_count, transfer);
}

void transport_sum_f32(struct transport *transport, float *values, int64_t count) {
    int64_t others = num_others(transport);
    transport->sent_bytes += 2 * others * count * (int64_t)sizeof *values / (others + 1);
    transport->ops->sum_f32(transport, values, count);
}

void transport_send_start(struct transport *transport, const void *data, size_t size_bytes, int to,
                          struct transfer *transfer) {
    transport->sent_bytes += (int64_t)size_bytes;
    transport->ops->send_start(transport, data, size_bytes, to, transfer);
}

void transport_receive_start(struct transport *transport, void *data, size_t size_bytes, int from,
                             struct transfer *transfer) {
    transport->ops->receive_start(transport, data, size_bytes, from, transfer);
}

void transport_all_to_all_start(struct transport *transport, const struct comm_pieces *pieces,
                                struct transfer *transfer) {
    for (int r = 0; r <= num_others(transport); r++)
        if (transport->comm && r != comm_rank(transport->comm))
            transport->sent_bytes += (int64_t)pieces->sent_bytes[r];
    transport->ops->all_to_all_start(transport, pieces, transfer);
}

/* --- sums of rounded terms: an exchange, and additions on the device --- */

/* row_bytes - of the terms for one rank. */
static size_t row_bytes(const struct sum_rounded *sum) {
    return sum->has_codes ? packed_places_of(PACKED_INT8, sum->shard_count).total
                          : (size_t)sum->shard_count * dtype_bytes(sum->dtype);
}

/* Every rank sends each other one the row that is theirs to add: rounding happens once, before the wire.  A ring of rounded
 * additions would round at every hop, and differently for another number of ranks. */
void transport_sum_rounded_start(struct transport *transport, const struct sum_rounded *sum,
                                 struct transfer *transfer) {
    CHECK(sum->has_codes || sum->dtype == DTYPE_BF16 || sum->dtype == DTYPE_F16,
          "a sum of rounded terms that are %s", dtype_name(sum->dtype));
    int num_ranks = transport->comm ? comm_num_ranks(transport->comm) : 1;
    size_t *piece_bytes = xcalloc((size_t)num_ranks, sizeof *piece_bytes);
    for (int r = 0; r < num_ranks; r++)
        piece_bytes[r] = row_bytes(sum);
    const struct comm_pieces pieces = {sum->full, sum->terms, piece_bytes, piece_bytes};
    transport_all_to_all_start(transport, &pieces, transfer);
    free(piece_bytes);
    transfer->sum = sum;
}

/* widen - a rank's terms, in f32. */
static void widen(struct device *dev, struct tensor values, const struct sum_rounded *sum, int rank) {
    char *row = (char *)sum->terms + (size_t)rank * row_bytes(sum);
    const struct packed codes = {.kind = PACKED_INT8, .blobs = row, .blob_count = sum->shard_count};
    if (sum->has_codes)
        op_dequantise(dev, values, &codes);
    else
        op_cast(dev, values, tensor_1d(row, sum->dtype, sum->shard_count));
}

/* add_terms - the ranks' terms of this part are in sum.terms. */
static void add_terms(struct transport *transport, const struct sum_rounded *sum) {
    struct device *dev = transport->device;
    int num_ranks = transport->comm ? comm_num_ranks(transport->comm) : 1;
    struct tensor shard = tensor_1d(sum->shard, DTYPE_F32, sum->shard_count);
    struct tensor widened = tensor_1d(sum->widened, DTYPE_F32, sum->shard_count);
    for (int r = 0; r < num_ranks && sum->shard_count > 0; r++) {
        widen(dev, r == 0 ? shard : widened, sum, r);
        if (r > 0)
            op_add(dev, shard, shard, widened);
    }
}

void transport_arrive(struct transport *transport, struct transfer *transfer) {
    transport->ops->wait(transport, transfer);
}

void transport_wait(struct transport *transport, struct transfer *transfer) {
    const struct sum_rounded *sum = transfer->sum;
    transport_arrive(transport, transfer);
    transfer->sum = NULL;
    if (sum)
        add_terms(transport, sum);
}

void transport_stand(struct transport *transport, struct transfer *transfer) {
    struct device *dev = transport->device;
    double start = clock_s();
    if (dev->ops->op_begin)
        dev->ops->op_begin(dev, OP_TRANSFER);
    transport_arrive(transport, transfer);
    if (dev->ops->op_end)
        dev->ops->op_end(dev, OP_TRANSFER);
    transport->stood_s += clock_s() - start;
    transport_wait(transport, transfer);
}
