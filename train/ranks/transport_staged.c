/* transport_staged.c - the transport that moves device buffers through host memory and comm.h.
 *
 * A piece at a time: down, between the ranks, up.  Slow, as the device stands still meanwhile, and simple: it
 * needs neither NCCL nor a GPU of one's own.  Sums are those of comm.h, added on the host in the order of the
 * ranks; how a transfer is cut into pieces changes no bit of them. */
#include <stdlib.h>

#include "kernels/units.h"
#include "train/ranks/cuda/transport_cuda.h"

enum { STAGE_BYTES = 64 * MIB }; /* all ranks' parts of one piece */

struct staged {
    struct comm *comm; /* borrowed */
    int num_ranks;
    int64_t part_count; /* f32 of one rank in one piece */
    float *full;        /* pinned, [num_ranks * part_count] */
    float *shard;       /* pinned, [part_count] */
    /* The device's hook before this transport took it. */
    void (*look_before)(void *user, double waited_s);
    void *look_before_user;
};

/* at, at_out - a place inside a buffer of the device, which the host cannot read. */
static const char *at(const void *base, size_t offset_bytes) {
    return (const char *)base + offset_bytes;
}

static char *at_out(void *base, size_t offset_bytes) {
    return (char *)base + offset_bytes;
}

static void staged_all_gather_start(struct transport *t, void *full, const void *shard, size_t shard_bytes,
                                    struct transfer *transfer) {
    struct staged *staged = t->state;
    struct device *device = t->device;
    size_t piece_bytes = (size_t)staged->part_count * sizeof(float);
    (void)transfer; /* over when this returns */
    for (size_t done = 0; done < shard_bytes; done += piece_bytes) {
        struct comm_request request = {0};
        size_t n = shard_bytes - done < piece_bytes ? shard_bytes - done : piece_bytes;
        device->ops->download(device, staged->shard, at(shard, done), n);
        comm_all_gather_start(t->comm, staged->full, staged->shard, n, &request);
        comm_wait(t->comm, &request);
        for (int r = 0; r < staged->num_ranks; r++)
            device->ops->upload(device, at_out(full, (size_t)r * shard_bytes + done),
                                at(staged->full, (size_t)r * n), n);
    }
}

/* A value of 64 bits takes the room of two of 32. */
static void staged_reduce_scatter_start(struct transport *t, enum term_type type, void *shard,
                                        const void *full, int64_t shard_count, struct transfer *transfer) {
    struct staged *staged = t->state;
    struct device *device = t->device;
    int64_t most = staged->part_count * (int64_t)sizeof(float) / (int64_t)terms_bytes(type, 1);
    size_t shard_bytes = terms_bytes(type, shard_count);
    (void)transfer;
    for (int64_t done = 0; done < shard_count; done += most) {
        struct comm_request request = {0};
        int64_t n = shard_count - done < most ? shard_count - done : most;
        size_t n_bytes = terms_bytes(type, n), at_bytes = terms_bytes(type, done);
        for (int r = 0; r < staged->num_ranks; r++)
            device->ops->download(device, at_out(staged->full, (size_t)r * n_bytes),
                                  at(full, (size_t)r * shard_bytes + at_bytes), n_bytes);
        comm_reduce_scatter_terms_start(t->comm, type, staged->shard, staged->full, n, &request);
        comm_wait(t->comm, &request);
        device->ops->upload(device, at_out(shard, at_bytes), staged->shard, n_bytes);
    }
}

static void staged_sum_f32(struct transport *t, float *values, int64_t count) {
    struct staged *staged = t->state;
    struct device *device = t->device;
    int64_t room = staged->part_count * staged->num_ranks;
    for (int64_t done = 0; done < count; done += room) {
        int64_t n = count - done < room ? count - done : room;
        device->ops->download(device, staged->full, values + done, (size_t)n * sizeof(float));
        comm_sum_f32(t->comm, staged->full, n);
        device->ops->upload(device, values + done, staged->full, (size_t)n * sizeof(float));
    }
}

/* A buffer of the device for one rank, or from it. */
struct leg {
    char *data; /* what is sent is only read */
    size_t size_bytes;
    int rank;
};

/* piece_at - how much of a leg is moved at this place. */
static size_t piece_at(const struct leg *leg, size_t done, size_t piece_bytes) {
    if (done >= leg->size_bytes)
        return 0;
    return leg->size_bytes - done < piece_bytes ? leg->size_bytes - done : piece_bytes;
}

/* exchange - one leg out and one in, a piece of each at a time. */
static void exchange(struct transport *t, const struct leg *out, const struct leg *in) {
    struct staged *staged = t->state;
    struct device *device = t->device;
    size_t piece_bytes = (size_t)staged->part_count * sizeof(float);
    for (size_t done = 0; done < out->size_bytes || done < in->size_bytes; done += piece_bytes) {
        struct comm_request sent = {0}, received = {0};
        size_t out_bytes = piece_at(out, done, piece_bytes), in_bytes = piece_at(in, done, piece_bytes);
        if (in_bytes > 0)
            comm_receive_start(t->comm, staged->full, in_bytes, in->rank, &received);
        if (out_bytes > 0) {
            device->ops->download(device, staged->shard, out->data + done, out_bytes);
            comm_send_start(t->comm, staged->shard, out_bytes, out->rank, &sent);
        }
        comm_wait(t->comm, &received);
        comm_wait(t->comm, &sent);
        if (in_bytes > 0)
            device->ops->upload(device, in->data + done, staged->full, in_bytes);
    }
}

static void staged_send_start(struct transport *t, const void *data, size_t size_bytes, int to,
                              struct transfer *transfer) {
    (void)transfer;
    exchange(t, &(struct leg){(char *)(uintptr_t)data, size_bytes, to}, &(struct leg){NULL, 0, 0});
}

static void staged_receive_start(struct transport *t, void *data, size_t size_bytes, int from,
                                 struct transfer *transfer) {
    (void)transfer;
    exchange(t, &(struct leg){NULL, 0, 0}, &(struct leg){data, size_bytes, from});
}

/* piece_of - the piece for a rank, or from it, inside a buffer of all. */
static struct leg piece_of(const void *all, const size_t *sizes_bytes, int rank) {
    char *data = (char *)(uintptr_t)all;
    for (int r = 0; r < rank; r++)
        data += sizes_bytes[r];
    return (struct leg){data, sizes_bytes[rank], rank};
}

/* Each rank's neighbours at distance 1, then 2, and so on. */
static void staged_all_to_all_start(struct transport *t, const struct comm_pieces *pieces,
                                    struct transfer *transfer) {
    int rank = comm_rank(t->comm), num_ranks = comm_num_ranks(t->comm);
    struct leg own = piece_of(pieces->sent, pieces->sent_bytes, rank);
    (void)transfer;
    if (own.size_bytes > 0)
        t->device->ops->copy(t->device, piece_of(pieces->received, pieces->received_bytes, rank).data,
                             own.data, own.size_bytes);
    for (int d = 1; d < num_ranks; d++) {
        struct leg out = piece_of(pieces->sent, pieces->sent_bytes, (rank + d) % num_ranks);
        struct leg in =
            piece_of(pieces->received, pieces->received_bytes, (rank + num_ranks - d) % num_ranks);
        exchange(t, &out, &in);
    }
}

/* staged_wait - every transfer was over when its start returned. */
static void staged_wait(struct transport *t, struct transfer *transfer) {
    (void)t;
    (void)transfer;
}

/* look_while_waiting - the device does not depend on other ranks here: a wait past the timeout is its own
 * fault. */
static void look_while_waiting(void *user, double waited_s) {
    struct staged *staged = user;
    comm_poll(staged->comm);
    if (waited_s > comm_timeout(staged->comm))
        die("waited %.1f s for the GPU's own work: it hangs or is slower than that; %s sets the limit",
            waited_s, comm_phase(staged->comm)->key);
}

static void staged_release(struct staged *staged, struct device *device) {
    size_t part_bytes = (size_t)staged->part_count * sizeof(float);
    device_release_host(device, staged->full, part_bytes * (size_t)staged->num_ranks);
    device_release_host(device, staged->shard, part_bytes);
    free(staged);
}

static void staged_close(struct transport *t) {
    struct staged *staged = t->state;
    t->device->while_waiting = staged->look_before;
    t->device->waiting_user = staged->look_before_user;
    staged_release(staged, t->device);
}

static const struct transport_ops STAGED_OPS = {.name = "staged",
                                                .all_gather_start = staged_all_gather_start,
                                                .reduce_scatter_start = staged_reduce_scatter_start,
                                                .sum_f32 = staged_sum_f32,
                                                .send_start = staged_send_start,
                                                .receive_start = staged_receive_start,
                                                .all_to_all_start = staged_all_to_all_start,
                                                .wait = staged_wait,
                                                .close = staged_close};

/* The same room on all ranks, as a piece on one is a piece on all; and a failure on one is a failure on all, agreed on before
 * the first transfer could hang. */
int transport_staged_open(struct transport *transport, struct err *err) {
    struct comm *comm = transport->comm;
    struct device *device = transport->device;
    struct staged *staged = xcalloc(1, sizeof *staged);
    int64_t room_bytes = comm_piece_bytes(comm), num_failed;
    staged->comm = comm;
    staged->num_ranks = comm_num_ranks(comm);
    if (room_bytes > STAGE_BYTES)
        room_bytes = STAGE_BYTES;
    staged->part_count = room_bytes / staged->num_ranks / (int64_t)sizeof(float);
    if (staged->part_count < 2) /* one of 64 bits */
        staged->part_count = 2;
    size_t part_bytes = (size_t)staged->part_count * sizeof(float);
    staged->full = device_allocate_host(device, part_bytes * (size_t)staged->num_ranks);
    staged->shard = device_allocate_host(device, part_bytes);
    num_failed = !staged->full || !staged->shard;
    comm_sum_i64(comm, &num_failed, 1);
    if (num_failed > 0) {
        staged_release(staged, device);
        return err_set(
            err,
            "cannot allocate %lld bytes of pinned host memory on %lld of %d ranks: free memory on those hosts, or "
            "raise 'ulimit -l'",
            (long long)room_bytes, (long long)num_failed, comm_num_ranks(comm));
    }
    staged->look_before = device->while_waiting;
    staged->look_before_user = device->waiting_user;
    device->while_waiting = look_while_waiting;
    device->waiting_user = staged;
    transport->ops = &STAGED_OPS;
    transport->state = staged;
    return 0;
}
