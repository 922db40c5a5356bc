/* listened.h - what the transports of all axes are asked for, in order: a table of operations in front of each one's own, which records
 * and then does the same. */
#pragma once

#include "train/plan/timetable.h"
#include "train/ranks/comm.h"
#include "train/ranks/transport.h"

/* What the transports were asked for, in order, on all axes together. */
struct record {
    enum exchange_axis axis;
    int64_t bytes;
};

enum { MOST_RECORDS = 4096 };
static struct record records[MOST_RECORDS];
static int num_records;

/* A transport that is listened to: its own table, and one that records and then does the same. */
struct listener {
    struct transport *transport;
    const struct transport_ops *real;
    struct transport_ops ops;
};
static struct listener listeners[EXCHANGE_AXES];

/* heard - bytes to each of the others; what goes to nobody is not an exchange. */
static const struct transport_ops *heard(const struct transport *t, int64_t bytes) {
    for (int axis = 0; axis < EXCHANGE_AXES; axis++)
        if (listeners[axis].transport == t) {
            CHECK(num_records < MOST_RECORDS, "more than %d exchanges", (int)MOST_RECORDS);
            if (bytes > 0)
                records[num_records++] = (struct record){(enum exchange_axis)axis, bytes};
            return listeners[axis].real;
        }
    die("a transport that nobody listens to");
}

static int64_t num_others(const struct transport *t) {
    return t->comm ? comm_num_ranks(t->comm) - 1 : 0;
}

static void hear_gather(struct transport *t, void *full, const void *shard, size_t shard_bytes,
                        struct transfer *transfer) {
    const struct transport_ops *real = heard(t, num_others(t) * (int64_t)shard_bytes);
    real->all_gather_start(t, full, shard, shard_bytes, transfer);
}

static void hear_reduce(struct transport *t, enum term_type type, void *shard, const void *full,
                        int64_t shard_count, struct transfer *transfer) {
    const struct transport_ops *real = heard(t, num_others(t) * (int64_t)terms_bytes(type, shard_count));
    real->reduce_scatter_start(t, type, shard, full, shard_count, transfer);
}

static void hear_sum(struct transport *t, float *values, int64_t count) {
    int64_t others = num_others(t);
    const struct transport_ops *real = heard(t, 2 * others * count * (int64_t)sizeof *values / (others + 1));
    real->sum_f32(t, values, count);
}

static void hear_all_to_all(struct transport *t, const struct comm_pieces *pieces,
                            struct transfer *transfer) {
    int64_t bytes = 0;
    for (int r = 0; r <= num_others(t); r++)
        bytes += t->comm && r != comm_rank(t->comm) ? (int64_t)pieces->sent_bytes[r] : 0;
    heard(t, bytes)->all_to_all_start(t, pieces, transfer);
}

/* listen - to one axis; ranks alone share a transport, which sends nothing. */
static void listen(enum exchange_axis axis, struct transport *transport) {
    struct listener *listener = &listeners[axis];
    *listener = (struct listener){.transport = transport, .real = transport->ops};
    for (int other = 0; other < (int)axis; other++)
        if (listeners[other].transport == transport)
            listener->real = listeners[other].real;
    listener->ops = *listener->real;
    listener->ops.all_gather_start = hear_gather;
    listener->ops.reduce_scatter_start = hear_reduce;
    listener->ops.sum_f32 = hear_sum;
    listener->ops.all_to_all_start = hear_all_to_all;
    transport->ops = &listener->ops;
}
