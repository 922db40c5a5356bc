/* transport.h - moving buffers of the device between ranks: the gathers and reductions of shard.c, for
 * whatever memory the device has.  One small table per kind, chosen once:
 *
 *   TRANSPORT_HOST     CPU device: comm.h directly on the buffers; waits block the host; messages move beside ops (mover.h)
 *   TRANSPORT_NCCL     one GPU per rank: two communicators with a stream each, gathers and reductions; gathers by copy engines
 *                      where the library has that, between the GPUs of a node (transport_windows_open)
 *   TRANSPORT_STAGED   GPU buffers through pinned host memory and comm.h: slow and synchronous, for several
 *                      ranks on one GPU and for finding out whether a fault is NCCL's
 *
 * Order.  A transfer runs after everything that was given to the device before its start; what is given to
 * the device after transport_wait runs after the transfer.  Between the two the device computes and the
 * transfer proceeds beside it, so its buffers must be left alone.  transport_wait does not block the host on
 * NCCL: results are read through device_download, as those of ops are.
 *
 * Every call is collective: all ranks make the same ones in the same order; of send and receive the two ranks
 * that they join.  One rank, or comm NULL, needs no
 * communicator: then a transfer is a copy on the device, or nothing.
 *
 * Bits.  HOST and STAGED add f32 terms in the order of the ranks.  Sums of rounded terms do on every kind: the terms
 * travel as they are, and each rank adds those of its part in f32.  NCCL adds f32 terms each element in an order that it
 * fixes by algorithm, protocol and topology, chosen at open and by message size: the same run on the same
 * nodes has the same bits; another number of ranks, placement, NCCL version or NCCL_* setting may have
 * others.
 *
 * Bytes.  sent_bytes counts what a rank sends to the others, as the bandwidth of a bus is counted: of n ranks (n - 1) / n of the
 * whole in a gather or a reduce-scatter, twice as much in a sum for all, and what is for other ranks of pieces.  How a library
 * moves them may take more.
 *
 * Faults.  While the host waits for the device (device.while_waiting), and when it is too far ahead of it,
 * NCCL's asynchronous errors and the timeout of comm.h are looked at; a rank that sees one aborts both
 * communicators and dies with one line naming rank, host, GPU, step, the oldest unfinished transfer and what
 * to do. */
#pragma once

#include "kernels/ops.h"
#include "train/ranks/comm.h"

enum transport_kind { TRANSPORT_HOST, TRANSPORT_NCCL, TRANSPORT_STAGED };

/* A transfer under way; zeroed: idle, and may be waited for. */
struct transfer {
    struct comm_request request; /* HOST */
    int64_t number;              /* NCCL: counts the starts from 1; 0 when idle */
    int lane; /* NCCL: which of its two, and its ticket there; 0: products do not count it */
    int64_t ticket;
    const struct sum_rounded *sum; /* of rounded terms: what is left to do once they are here; or NULL */
};

/* A sum of terms that were rounded before they travel: each rank gets its part of the sum, in f32. */
struct sum_rounded {
    float *shard;        /* out [shard_count]: this rank's part */
    const void *full;    /* in [num_ranks, shard_count]: this rank's terms, a row for each rank */
    enum dtype dtype;    /* of the terms, on the wire too: bf16 or f16; with has_codes of no meaning */
    bool has_codes;      /* rows are blobs of PACKED_INT8 (op_quantise), shard_count values each */
    int64_t shard_count; /* the same on all ranks */
    void *terms;         /* scratch, as full: the ranks' terms of this part */
    float *widened;      /* scratch [shard_count]: one of them */
};

/* Memory for the ends of gathers, which all ranks lay out alike. */
struct transport_window {
    size_t size_bytes; /* wanted: the same on all ranks */
    uint64_t layout;   /* of what lies where in it (arena.h): likewise */
    void *memory;      /* out: zeroed; NULL: the device's own does as well */
};
enum { TRANSPORT_MAX_WINDOWS = 2 };

struct transport;

struct transport_ops {
    const char *name; /* "host", "nccl", "staged"; "none" for one rank */
    void (*all_gather_start)(struct transport *, void *full, const void *shard, size_t shard_bytes,
                             struct transfer *);
    void (*reduce_scatter_start)(struct transport *, enum term_type, void *shard, const void *full,
                                 int64_t shard_count, struct transfer *);
    void (*sum_f32)(struct transport *, float *values, int64_t count);
    void (*send_start)(struct transport *, const void *data, size_t size_bytes, int to, struct transfer *);
    void (*receive_start)(struct transport *, void *data, size_t size_bytes, int from, struct transfer *);
    void (*all_to_all_start)(struct transport *, const struct comm_pieces *, struct transfer *);
    void (*wait)(struct transport *, struct transfer *);
    void (*close)(struct transport *);
    /* NULL: there is no such way. */
    void (*windows_open)(struct transport *, struct comm *whole, struct transport_window *, int count);
    void (*windows_close)(struct transport *);
};

struct transport {
    const struct transport_ops *ops;
    struct comm *comm;     /* borrowed; NULL: one rank */
    struct device *device; /* borrowed */
    int64_t sent_bytes;    /* since it was opened, as below */
    double stood_s;        /* the host, in transport_stand, since then */
    int sms;               /* NCCL: multiprocessors that one transfer may occupy; 0: as many as NCCL likes */
    void *state;           /* the kind's own */
    char gathers[160];     /* how gathers go, in words, since transport_windows_open asked; "": nobody did */
};

/* transport_open - for the buffers of that device, which must outlive the transport.  HOST belongs to the CPU
 * device, NCCL to a GPU, STAGED to any.  NCCL and STAGED install device.while_waiting.  A device
 * may have several transports, closed in the reverse order.  Collective.
 * Returns 0, or -1 with err set, then on every rank: a build without CUDA, NCCL that cannot start (the text
 * is that of the first rank that failed).  Dies when a rank does not come within the timeout of comm.h.
 * transport_close - all transfers must have been waited for.  Collective.  A zeroed transport is closed. */
int transport_open(struct transport *transport, struct comm *comm, struct device *device,
                   enum transport_kind kind, struct err *err);
void transport_close(struct transport *transport);

/* transport_open_beside - the same for transfers that run beside the device's products and shall leave them
 * room: one at a time occupies at most so many multiprocessors, and those products are told of it that are given to
 * the device while it runs (kernels/cuda/cuda.h, cuda_beside_start).  transport->sms is 0 where nothing of a
 * transfer runs on them: one rank, HOST, STAGED. */
int transport_open_beside(struct transport *transport, struct comm *comm, struct device *device,
                          enum transport_kind kind, int sms, struct err *err);

/* transport_windows_open - gathers between two places of these windows shall occupy no multiprocessor, where transfers run beside
 * products (transport->sms) and every rank of whole can have that; else all gathers stay as they are, and transport->gathers says why.
 * Memory may be there in either case.  Once, before the transfers that it is for.  Collective over whole, the comm of all that have such a
 * transport, so that none gathers otherwise than another: what is chosen beside gathers is the same everywhere.
 * transport_windows_close - gives the windows' memory back, after all transfers; nothing where none was opened.  Collective. */
void transport_windows_open(struct transport *transport, struct comm *whole, struct transport_window *windows,
                            int count);
void transport_windows_close(struct transport *transport);

/* transport_kind_name - "host", "nccl", "staged". */
const char *transport_kind_name(enum transport_kind kind);

/* transport_all_gather_start - full = the ranks' shards one after the other; shard_bytes is the same on all.
 * shard may be this rank's place inside full. */
void transport_all_gather_start(struct transport *transport, void *full, const void *shard,
                                size_t shard_bytes, struct transfer *transfer);

/* transport_reduce_scatter_start - shard = this rank's part of the sum of the ranks' full, shard_count
 * elements each.  shard may be this rank's place inside full. */
void transport_reduce_scatter_start(struct transport *transport, float *shard, const float *full,
                                    int64_t shard_count, struct transfer *transfer);

/* transport_reduce_scatter_i64_start - the same of integers, modulo 2^64: the same bits on every kind. */
void transport_reduce_scatter_i64_start(struct transport *transport, int64_t *shard, const int64_t *full,
                                        int64_t shard_count, struct transfer *transfer);

/* transport_sum_f32 - sum over all ranks, in place, the same bits on each; as if waited for. */
void transport_sum_f32(struct transport *transport, float *values, int64_t count);

/* transport_send_start, transport_receive_start - size_bytes to or from one other rank, which makes the opposite call
 * with the same size.  A send may last until it is received: two ranks that have something for each other use
 * the all-to-all. */
void transport_send_start(struct transport *transport, const void *data, size_t size_bytes, int to,
                          struct transfer *transfer);
void transport_receive_start(struct transport *transport, void *data, size_t size_bytes, int from,
                             struct transfer *transfer);

/* transport_all_to_all_start - pieces of given sizes from every rank to every rank (comm.h), in buffers of the
 * device; sent and received must not overlap. */
void transport_all_to_all_start(struct transport *transport, const struct comm_pieces *pieces,
                                struct transfer *transfer);

/* transport_sum_rounded_start - shard = this rank's part of the sum of the ranks' full, added in f32 in the order of the
 * ranks: the same bits on every kind, and no rounding of terms but the caller's own.  sum must stay until
 * transport_wait, which adds.  The whole sum on every rank: cast shard, then gather. */
void transport_sum_rounded_start(struct transport *transport, const struct sum_rounded *sum,
                                 struct transfer *transfer);

/* transport_arrive - the same as transport_wait without the additions of transport_sum_rounded_start, which a transport_wait then does:
 * they are ops of the device, and do not count as waiting. */
void transport_arrive(struct transport *transport, struct transfer *transfer);

/* transport_wait - what is given to the device from here on sees the transfer's result. */
void transport_wait(struct transport *transport, struct transfer *transfer);

/* transport_stand - the same where nothing has been given to the device to do beside the transfer, as in the middle of a pass: what it lasts counts as
 * waiting, in stood_s or on the time line of a device that goes on by itself. */
void transport_stand(struct transport *transport, struct transfer *transfer);
