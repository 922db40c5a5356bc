/* comm_mpi.h - what the files of comm.h's implementation share: comm_mpi.c (start, end, waiting, small
 * collectives), comm_mpi_sums.c (sums of long arrays, transfers), comm_mpi_shared.c (both in memory that the ranks of a
 * host share), comm_mpi_pairs.c (from rank to rank) and comm_mpi_watch.c (who has not come).
 * Nobody else calls MPI. */
#pragma once

#include <mpi.h>

#include "train/ranks/comm.h"
#include "train/ranks/comm_mpi_shared.h"

struct marks; /* comm_marks.h */
struct watch; /* of comm_mpi_watch.c */

/* How a transfer goes: as messages from rank to rank, as those of a sum, through memory that the ranks share. */
enum transfer_kind { TRANSFER_MESSAGES, TRANSFER_SUM, TRANSFER_SHARED };

/* A transfer under way.  Kept in a list for reuse: nothing is allocated once the first step is over. */
struct transfer_buffers {
    struct transfer_buffers *next; /* of those that are idle, or of those that move */
    struct comm *comm;             /* whose it is; of one that moves */
    bool is_moving;                /* in the list of the whole */
    enum transfer_kind kind;
    int num_requests, room;
    MPI_Request
        *requests; /* a sum: from and to each other rank, for each half of terms; others: all their pieces */
    /* of a sum: */
    int tag;
    enum term_type type;
    char *shard;
    const char *full;
    int64_t shard_count, num_started; /* elements of the shard whose exchange has been posted */
    int64_t num_done;
    int64_t piece_count;
    int half;       /* of terms, whose piece is the next to be added */
    char *terms[2]; /* [num_ranks, piece_count] each: one piece travels while the other is added */
    struct shared_transfer shared;
};

enum { HOST_ROOM = 64 };

struct comm {
    MPI_Comm world;
    struct comm *parent; /* of a group made by comm_split; it has the limit and the watch */
    int rank, num_ranks, local_rank, num_local_ranks;
    struct comm_phase phase;
    int64_t piece_bytes, scratch_bytes; /* see comm_set_piece_bytes */
    int64_t message_bytes; /* the least of a sum that goes to one rank at once, whatever scratch_bytes */
    struct transfer_buffers *idle;
    struct transfer_buffers
        *moving;        /* of the whole and its groups, in the whole's: begun and not known to be over */
    float *sum_scratch; /* of comm_sum_f32 */
    struct marks *marks;
    struct watch *watch;    /* NULL: one rank */
    struct shared *shared;  /* NULL: messages alone */
    int64_t num_sums;       /* reduce-scatters begun: their tags */
    int64_t num_agreements; /* of the whole and its groups, in the whole's */
    bool is_between_hosts;  /* said to be: comm_use_messages */
    int *ranks;             /* [num_ranks] in the whole; NULL: this is the whole */
    char host[HOST_ROOM], library[64];
};

/* comm_mpi_die - a call of MPI failed: its text, and MPI's own words for the status. */
void comm_mpi_die(int status, const char *call, const char *file, int line) __attribute__((noreturn));

/* MPI_CHECK - die unless a call of MPI succeeded.  It says so itself only because its error handler returns (comm_mpi.c). */
#define MPI_CHECK(call)                                                                                      \
    do {                                                                                                     \
        int mpi_status_ = (call);                                                                            \
        if (mpi_status_ != MPI_SUCCESS)                                                                      \
            comm_mpi_die(mpi_status_, #call, __FILE__, __LINE__);                                            \
    } while (0)

/* comm_mpi_wait - until the request is complete, at most as long as the phase allows.  Not collective itself. */
void comm_mpi_wait(struct comm *comm, MPI_Request *request, const char *what);

/* A wait that lasts.  Starts with what: for messages, and zeros. */
struct patience {
    const char *what;
    double last, waited_s, told_s;
};

/* comm_mpi_look - to be called again and again while this rank waits: tells after a while, dies at the phase's limit.  Time
 * that this rank itself did not run (a job that was suspended) is not waiting: between two looks a second counts at
 * most.  Not collective. */
void comm_mpi_look(struct comm *comm, struct patience *patience);

/* comm_mpi_gather - all[r] = rank r's mine, of size_bytes each; what: for messages.  Collective. */
void comm_mpi_gather(struct comm *comm, const void *mine, int size_bytes, void *all, const char *what);

/* comm_mpi_transfer - one with room for so many requests, out of the list; comm_wait puts it back.  Not collective. */
struct transfer_buffers *comm_mpi_transfer(struct comm *comm, int num_requests);

/* comm_mpi_begin - all its messages have been posted: from here on comm_move looks after it.  Not collective. */
void comm_mpi_begin(struct comm *comm, struct transfer_buffers *transfer);

/* comm_mpi_scratch_bytes - terms of one piece of a sum, all ranks together. */
int64_t comm_mpi_scratch_bytes(const struct comm *comm);

/* comm_mpi_release_buffers - what transfers and sums left for reuse.  Not collective. */
void comm_mpi_release_buffers(struct comm *comm);

/* watch_open - of the whole, once its ranks are known.  watch_close - when no rank waits for anything any
 * more: takes what is still on its way.  Both collective. */
struct watch *watch_open(struct comm *whole);
void watch_close(struct comm *whole);

/* watch_same_host - whether all ranks of the comm, the whole or a group, have one host name.  The same on all. */
bool watch_same_host(const struct comm *comm);
