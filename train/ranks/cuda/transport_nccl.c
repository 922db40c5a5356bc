/* transport_nccl.c - see transport.h: gathers and reductions by NCCL.  Gathers by copy engines: nccl_windows.c.
 *
 * Two lanes, each a communicator with a stream of its own: a gather of the next weights need not queue behind
 * a reduction of the last gradients.  An event orders a lane after the compute stream at the start of a
 * transfer, another orders the compute stream after the lane at its wait; the host waits for neither.
 *
 * The communicators are non-blocking: no call of NCCL can hang, every wait is a loop of ours that looks for
 * errors and the timeout.  The host stays at most MAX_AHEAD transfers ahead of the GPU.  Without that bound a
 * rank whose GPU waits for a lost neighbour would fill the driver's launch queue and block there, where
 * nobody looks.
 *
 * Bits.  NCCL fixes the order of additions by algorithm, protocol, channels and topology, so the same job on
 * the same nodes repeats its bits, with one exception: sums inside the NVLink switch (NVLS) differ from call
 * to call (github.com/NVIDIA/nccl/issues/1497).  They are off unless NCCL_NVLS_ENABLE is set by hand.
 *
 * Two communicators on one GPU can deadlock when their kernels start in another order on another rank;
 * NCCL_LAUNCH_ORDER_IMPLICIT (NCCL 2.26) keeps them in the order of the calls. */
#include <math.h>
#include <stdlib.h>

#include "kernels/clock.h"
#include "train/ranks/cuda/nccl_state.h"
#include "train/ranks/cuda/transport_cuda.h"

enum { OLDEST_NCCL = 22600 }; /* NCCL_LAUNCH_ORDER_IMPLICIT */

/* What a rank sends in a second inside a node, for how long products leave multiprocessors to a transfer.  With all the blocks it
 * likes (24) NCCL was measured at 361e9 in gathers and 363e9 in reductions on 8 H200 (stas00/ml-engineering); 12 have half of
 * that or more, if fewer fill the links.  A100 has two thirds of the links.  Between nodes rates differ by a factor of ten, and a
 * transfer counts until its wait. */
static const double SENT_PER_S_SM80 = 130e9, SENT_PER_S_SM90 = 240e9;
static const double START_S = 30e-6; /* kernels started, ranks met */

/* hold_back - the host is too far ahead of the GPU. */
static void hold_back(struct nccl *nccl) {
    double start = clock_s();
    nccl_advance(nccl);
    while (nccl->num_started - nccl->num_finished >= MAX_AHEAD) {
        nccl_look_or_die(nccl, clock_s() - start);
        nccl_pause();
    }
}

/* --- transfers --- */

/* begin - the lane goes on once the device has done what it was given so far. */
static void begin(struct nccl *nccl, int lane, const struct transfer *transfer) {
    CHECK(transfer->number == 0, "a transfer was started on one that is in use (number %lld)",
          (long long)transfer->number);
    hold_back(nccl);
    CUDA_CHECK(cudaEventRecord(nccl->ready, cuda_stream(nccl->device)));
    CUDA_CHECK(cudaStreamWaitEvent(nccl->streams[lane], nccl->ready, 0));
}

/* expected_s - how long products make room for a transfer of so many bytes, all ranks' together. */
static double expected_s(const struct nccl *nccl, size_t size_bytes) {
    double ranks = comm_num_ranks(nccl->comm), rate;
    if (comm_num_local_ranks(nccl->comm) < comm_num_ranks(nccl->comm))
        return INFINITY;
    rate = cuda_arch(nccl->device) >= 90 ? SENT_PER_S_SM90 : SENT_PER_S_SM80;
    return START_S + (double)size_bytes * (ranks - 1) / ranks / rate;
}

/* end - NCCL was called with that communicator, and said status. */
static void end(struct nccl *nccl, int comm, ncclResult_t status, struct transfer *transfer, const char *what,
                size_t size_bytes) {
    struct flight *flight = &nccl->flights[(nccl->num_started + 1) % MAX_AHEAD];
    enum beside_way way = comm == COMM_ENGINES ? BESIDE_ENGINES : BESIDE_KERNELS;
    int lane = comm == COMM_ENGINES ? LANE_GATHER : comm;
    nccl->phase = what; /* the first of its kind connects the ranks, which may take seconds */
    nccl_settle(nccl, comm, status);
    nccl->phase = NULL;
    CUDA_CHECK(cudaEventRecord(flight->done, nccl->streams[lane]));
    flight->what = what;
    flight->size_bytes = size_bytes;
    if (nccl->num_started == nccl->num_finished)
        nccl->moved_s = clock_s();
    transfer->number = ++nccl->num_started;
    transfer->lane = lane;
    transfer->ticket =
        nccl->is_counted ? cuda_beside_start(nccl->device, lane, expected_s(nccl, size_bytes), way) : 0;
}

static void nccl_wait(struct transport *t, struct transfer *transfer) {
    struct nccl *nccl = t->state;
    if (transfer->number == 0)
        return;
    /* What the host has seen finish needs no event, and its place may have been given to another transfer.  The device is asked for its
     * stream in any case: where a list of ops ends must not depend on what the host happens to have seen. */
    cudaStream_t stream = cuda_stream(nccl->device);
    if (transfer->number > nccl->num_finished)
        CUDA_CHECK(cudaStreamWaitEvent(stream, nccl->flights[transfer->number % MAX_AHEAD].done, 0));
    if (transfer->ticket > 0)
        cuda_beside_end(nccl->device, transfer->lane, transfer->ticket);
    transfer->number = transfer->ticket = 0;
}

static void nccl_all_gather_start(struct transport *t, void *full, const void *shard, size_t shard_bytes,
                                  struct transfer *transfer) {
    struct nccl *nccl = t->state;
    size_t full_bytes = shard_bytes * (size_t)comm_num_ranks(nccl->comm);
    bool by_engines = nccl_has_window(nccl, full, full_bytes) && nccl_has_window(nccl, shard, shard_bytes);
    int comm = by_engines ? COMM_ENGINES : LANE_GATHER;
    if (shard_bytes == 0)
        return;
    begin(nccl, LANE_GATHER, transfer);
    ncclResult_t status =
        ncclAllGather(shard, full, shard_bytes, ncclUint8, nccl->comms[comm], nccl->streams[LANE_GATHER]);
    end(nccl, comm, status, transfer, "all-gather", full_bytes);
}

static void nccl_reduce_scatter_start(struct transport *t, enum term_type type, void *shard, const void *full,
                                      int64_t shard_count, struct transfer *transfer) {
    struct nccl *nccl = t->state;
    ncclDataType_t value = type == TERMS_I64 ? ncclInt64 : ncclFloat32;
    ncclComm_t comm = nccl->comms[LANE_REDUCE];
    size_t shard_bytes = terms_bytes(type, shard_count);
    if (shard_count == 0)
        return;
    begin(nccl, LANE_REDUCE, transfer);
    ncclResult_t status =
        ncclReduceScatter(full, shard, (size_t)shard_count, value, ncclSum, comm, nccl->streams[LANE_REDUCE]);
    end(nccl, LANE_REDUCE, status, transfer, "reduce-scatter",
        shard_bytes * (size_t)comm_num_ranks(nccl->comm));
}

static void nccl_sum_f32(struct transport *t, float *values, int64_t count) {
    struct nccl *nccl = t->state;
    struct transfer transfer = {.number = 0};
    if (count == 0)
        return;
    begin(nccl, LANE_REDUCE, &transfer);
    ncclResult_t status = ncclAllReduce(values, values, (size_t)count, ncclFloat32, ncclSum,
                                        nccl->comms[LANE_REDUCE], nccl->streams[LANE_REDUCE]);
    end(nccl, LANE_REDUCE, status, &transfer, "sum", (size_t)count * sizeof *values);
    nccl_wait(t, &transfer);
}

/* One message between this rank and another: either sent or received is set. */
struct message {
    const void *sent;
    void *received;
    size_t size_bytes;
    int rank; /* the other one */
};

/* give_message - to NCCL, on the lane of the reductions: what is sent is mostly gradients. */
static ncclResult_t give_message(struct nccl *nccl, const struct message *m) {
    ncclComm_t comm = nccl->comms[LANE_REDUCE];
    cudaStream_t stream = nccl->streams[LANE_REDUCE];
    return m->sent ? ncclSend(m->sent, m->size_bytes, ncclUint8, m->rank, comm, stream)
                   : ncclRecv(m->received, m->size_bytes, ncclUint8, m->rank, comm, stream);
}

static void message_start(struct nccl *nccl, const struct message *m, struct transfer *transfer) {
    if (m->size_bytes == 0)
        return;
    begin(nccl, LANE_REDUCE, transfer);
    ncclResult_t status = give_message(nccl, m);
    end(nccl, LANE_REDUCE, status, transfer, m->sent ? "send" : "receive", m->size_bytes);
}

static void nccl_send_start(struct transport *t, const void *data, size_t size_bytes, int to,
                            struct transfer *transfer) {
    message_start(t->state, &(struct message){data, NULL, size_bytes, to}, transfer);
}

static void nccl_receive_start(struct transport *t, void *data, size_t size_bytes, int from,
                               struct transfer *transfer) {
    message_start(t->state, &(struct message){NULL, data, size_bytes, from}, transfer);
}

/* give_pieces - sends and receives of a group, which NCCL begins together.  Returns the first fault. */
static ncclResult_t give_pieces(struct nccl *nccl, const struct comm_pieces *pieces) {
    const char *sent = pieces->sent;
    char *received = pieces->received;
    ncclResult_t status = ncclSuccess;
    for (int r = 0; r < comm_num_ranks(nccl->comm); r++) {
        const struct message messages[] = {{sent, NULL, pieces->sent_bytes[r], r},
                                           {NULL, received, pieces->received_bytes[r], r}};
        for (int i = 0; i < 2; i++)
            if (messages[i].size_bytes > 0 && (status == ncclSuccess || status == ncclInProgress))
                status = give_message(nccl, &messages[i]);
        sent += pieces->sent_bytes[r];
        received += pieces->received_bytes[r];
    }
    return status == ncclInProgress ? ncclSuccess : status;
}

static void nccl_all_to_all_start(struct transport *t, const struct comm_pieces *pieces,
                                  struct transfer *transfer) {
    struct nccl *nccl = t->state;
    size_t sent_bytes = 0, received_bytes = 0;
    for (int r = 0; r < comm_num_ranks(nccl->comm); r++) {
        sent_bytes += pieces->sent_bytes[r];
        received_bytes += pieces->received_bytes[r];
    }
    if (sent_bytes + received_bytes == 0) /* a group of nothing reaches no stream */
        return;
    begin(nccl, LANE_REDUCE, transfer);
    ncclResult_t status = ncclGroupStart();
    ncclResult_t inside = status == ncclSuccess ? give_pieces(nccl, pieces) : status;
    status = ncclGroupEnd();
    end(nccl, LANE_REDUCE, inside != ncclSuccess ? inside : status, transfer, "all-to-all",
        sent_bytes + received_bytes);
}

/* --- start and end --- */

/* What the root finds out for everybody. */
struct invitation {
    int status;
    struct err err;
    int version;
    ncclUniqueId ids[NUM_LANES];
};

static void invite(struct invitation *invitation) {
    ncclResult_t result = ncclGetVersion(&invitation->version);
    for (int lane = 0; lane < NUM_LANES && result == ncclSuccess; lane++)
        result = ncclGetUniqueId(&invitation->ids[lane]);
    if (result != ncclSuccess)
        invitation->status = err_set(&invitation->err,
                                     "NCCL cannot start: %s: look at the network interfaces, or set "
                                     "'parallel.comm: mpi' to go without NCCL",
                                     ncclGetErrorString(result));
    else if (invitation->version < OLDEST_NCCL)
        invitation->status = err_set(&invitation->err,
                                     "NCCL's version is %d, too old: 2.26 or later is needed, or set "
                                     "'parallel.comm: mpi' to go without NCCL",
                                     invitation->version);
}

/* settings - of NCCL's, where the user has not chosen: the preamble says why. */
static void settings(void) {
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", 0);
}

static void open_streams(struct nccl *nccl) {
    int least = 0, greatest = 0;
    CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    /* Transfers first: they need few multiprocessors, and others wait for them. */
    for (int lane = 0; lane < NUM_LANES; lane++)
        CUDA_CHECK(cudaStreamCreateWithPriority(&nccl->streams[lane], cudaStreamNonBlocking, greatest));
    CUDA_CHECK(cudaEventCreateWithFlags(&nccl->ready, cudaEventDisableTiming));
    for (int i = 0; i < MAX_AHEAD; i++)
        CUDA_CHECK(cudaEventCreateWithFlags(&nccl->flights[i].done, cudaEventDisableTiming));
}

static void close_streams(struct nccl *nccl) {
    for (int i = 0; i < MAX_AHEAD; i++)
        CUDA_CHECK(cudaEventDestroy(nccl->flights[i].done));
    CUDA_CHECK(cudaEventDestroy(nccl->ready));
    for (int lane = 0; lane < NUM_LANES; lane++)
        CUDA_CHECK(cudaStreamDestroy(nccl->streams[lane]));
}

static void nccl_close(struct transport *t) {
    struct nccl *nccl = t->state;
    nccl_windows_close(t); /* nothing, where the caller did; it waits for the GPU */
    nccl->phase = "end of NCCL";
    nccl->moved_s = clock_s();
    for (int lane = 0; lane < NUM_LANES; lane++) {
        nccl_settle(nccl, lane, ncclCommFinalize(nccl->comms[lane]));
        ncclCommDestroy(nccl->comms[lane]); /* frees memory of this rank alone */
        nccl->comms[lane] = NULL;
    }
    nccl->device->while_waiting = nccl->look_before;
    nccl->device->waiting_user = nccl->look_before_user;
    close_streams(nccl);
    free(nccl);
}

static const struct transport_ops NCCL_OPS = {.name = "nccl",
                                              .all_gather_start = nccl_all_gather_start,
                                              .reduce_scatter_start = nccl_reduce_scatter_start,
                                              .sum_f32 = nccl_sum_f32,
                                              .send_start = nccl_send_start,
                                              .receive_start = nccl_receive_start,
                                              .all_to_all_start = nccl_all_to_all_start,
                                              .wait = nccl_wait,
                                              .close = nccl_close,
                                              .windows_open = nccl_windows_open,
                                              .windows_close = nccl_windows_close};

int transport_nccl_open(struct transport *transport, struct err *err) {
    struct comm *comm = transport->comm;
    struct invitation invitation = {.status = 0};
    settings();
    if (comm_is_root(comm))
        invite(&invitation);
    comm_broadcast(comm, &invitation, sizeof invitation);
    if (invitation.status)
        return err_set(err, "%s", invitation.err.text);

    struct nccl *nccl = xcalloc(1, sizeof *nccl);
    nccl->comm = comm;
    nccl->device = transport->device;
    nccl->is_counted = transport->sms > 0;
    open_streams(nccl);
    nccl->phase = "start of NCCL";
    nccl->moved_s = clock_s();
    for (int lane = 0; lane < NUM_LANES; lane++) {
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 0;
        if (transport->sms > 0)
            config.maxCTAs = transport->sms; /* a block of NCCL's has a multiprocessor to itself */
        nccl_settle(nccl, lane,
                    ncclCommInitRankConfig(&nccl->comms[lane], comm_num_ranks(comm), invitation.ids[lane],
                                           comm_rank(comm), &config));
    }
    nccl->phase = NULL;
    nccl->look_before = nccl->device->while_waiting;
    nccl->look_before_user = nccl->device->waiting_user;
    nccl->device->while_waiting = nccl_look_while_waiting;
    nccl->device->waiting_user = nccl;
    transport->ops = &NCCL_OPS;
    transport->state = nccl;
    return 0;
}
