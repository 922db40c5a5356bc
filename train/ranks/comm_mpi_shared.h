/* comm_mpi_shared.h - gathers and sums of the ranks of one host in memory that they share: a value is written once and read by
 * who needs it, where messages between all pairs cost more than the bytes in them.  Of comm.h's implementation. */
#pragma once

#include "train/ranks/comm.h"
#include "train/ranks/terms.h"

struct shared; /* of one comm */

enum shared_kind { SHARED_GATHER, SHARED_SUM };

/* One under way.  Its pieces have numbers that count all pieces of the comm, in the order of the starts. */
struct shared_transfer {
    enum shared_kind kind;
    enum term_type type; /* of a sum */
    void *out;           /* a gather: the ranks' shards one after the other; a sum: this rank's part */
    const void *in;      /* a gather: this rank's shard; a sum: the terms of all parts */
    size_t shard_bytes;  /* of one rank's part */
    size_t piece_bytes;  /* of one rank's part in one piece */
    uint64_t first, end; /* its pieces: first to end - 1 */
    struct shared_transfer *next; /* started after it */
};

/* shared_open - memory between the ranks of comm, whose watch is open.  NULL on all ranks where it cannot be had: other
 * hosts, other containers, no memory.  shared_close - NULL: nothing; no transfer is under way.  Both collective. */
struct shared *shared_open(struct comm *comm);
void shared_close(struct shared *shared);

/* shared_bytes - of that memory, for so many ranks of one host; 0 where there is none: one rank, or too many. */
size_t shared_bytes(int num_ranks);

/* shared_start - kind, out, in and shard_bytes are set and the same sizes on all ranks; buffers and the struct stay
 * until shared_wait.  out may be where in is, at this rank's place.  shared_wait - until it is complete, and those that
 * were started before it.  The same order on all ranks. */
void shared_start(struct shared *shared, struct shared_transfer *transfer);
void shared_wait(struct shared *shared, struct shared_transfer *transfer, const char *what);

/* shared_gather - at once; all[r] = rank r's mine, of size_bytes each; 0: a barrier. */
void shared_gather(struct shared *shared, const void *mine, size_t size_bytes, void *all, const char *what);
