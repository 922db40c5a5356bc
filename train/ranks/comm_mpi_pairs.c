/* comm_mpi_pairs.c - comm.h on MPI: buffers from one rank to another, and from every rank to every rank.  Messages between
 * two ranks keep the order of the calls, so that one tag serves all of them. */
#include <string.h>

#include "train/ranks/comm_mpi.h"

enum { TAG = 2 };

/* num_messages - that a buffer is handed over in. */
static int num_messages(const struct comm *comm, size_t size_bytes) {
    return (int)((size_bytes + (size_t)comm->piece_bytes - 1) / (size_t)comm->piece_bytes);
}

/* One buffer to or from a rank. */
struct leg {
    bool sends;
    char *data; /* of one that sends it is only read */
    size_t size_bytes;
    int rank;
};

/* post - all messages of a leg; returns the request after the last one. */
static MPI_Request *post(struct comm *comm, const struct leg *leg, MPI_Request *requests) {
    for (size_t at = 0; at < leg->size_bytes; at += (size_t)comm->piece_bytes) {
        size_t left = leg->size_bytes - at;
        int n = (int)(left < (size_t)comm->piece_bytes ? left : (size_t)comm->piece_bytes);
        if (leg->sends)
            MPI_CHECK(MPI_Isend(leg->data + at, n, MPI_BYTE, leg->rank, TAG, comm->world, requests++));
        else
            MPI_CHECK(MPI_Irecv(leg->data + at, n, MPI_BYTE, leg->rank, TAG, comm->world, requests++));
    }
    return requests;
}

/* start - one leg as a request of its own.  The partner is another rank: a caller that names itself has counted wrong. */
static void start(struct comm *comm, const struct leg *leg, const char *what, struct comm_request *request) {
    CHECK(!request->handle, "a transfer was started on a request that is in use for '%s'", request->what);
    CHECK(leg->rank >= 0 && leg->rank < comm->num_ranks && leg->rank != comm->rank,
          "%s: rank %d of %d has no partner %d", what, comm->rank, comm->num_ranks, leg->rank);
    struct transfer_buffers *transfer = comm_mpi_transfer(comm, num_messages(comm, leg->size_bytes));
    post(comm, leg, transfer->requests);
    comm_mpi_begin(comm, transfer);
    *request = (struct comm_request){transfer, what};
}

void comm_send_start(struct comm *comm, const void *data, size_t size_bytes, int to,
                     struct comm_request *request) {
    start(comm, &(struct leg){true, (char *)(uintptr_t)data, size_bytes, to}, "send", request);
}

void comm_receive_start(struct comm *comm, void *data, size_t size_bytes, int from,
                        struct comm_request *request) {
    start(comm, &(struct leg){false, data, size_bytes, from}, "receive", request);
}

/* Messages and not MPI_Ialltoallv, whose counts and offsets are int: pieces may be larger. */
void comm_all_to_all_start(struct comm *comm, const struct comm_pieces *pieces,
                           struct comm_request *request) {
    CHECK(!request->handle, "a transfer was started on a request that is in use for '%s'", request->what);
    char *sent = (char *)(uintptr_t)pieces->sent, *received = pieces->received;
    int count = 0;
    for (int r = 0; r < comm->num_ranks; r++)
        count += num_messages(comm, pieces->sent_bytes[r]) + num_messages(comm, pieces->received_bytes[r]);
    struct transfer_buffers *transfer = comm_mpi_transfer(comm, count);
    MPI_Request *next = transfer->requests;
    for (int r = 0; r < comm->num_ranks; r++) { /* receives first: what comes early has its place */
        next = post(comm, &(struct leg){false, received, pieces->received_bytes[r], r}, next);
        received += pieces->received_bytes[r];
    }
    for (int r = 0; r < comm->num_ranks; r++) {
        next = post(comm, &(struct leg){true, sent, pieces->sent_bytes[r], r}, next);
        sent += pieces->sent_bytes[r];
    }
    comm_mpi_begin(comm, transfer);
    *request = (struct comm_request){transfer, "all-to-all"};
}
