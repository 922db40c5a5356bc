/* comm.h - what ranks say to each other.  A function communicates only if it takes a struct comm * or a struct transport *,
 * or a struct of a run that holds them (axes, rank_device, saving, trainer), and every rank of it must call in the same order.
 * Host buffers only, implemented on MPI in comm_mpi.c; transport.h moves buffers of the device.
 *
 * Nothing here returns an error: a library that failed, a rank that is gone or a size that differs between the ranks ends
 * the process with one line, and MPI_Abort ends the others.  What may fail on one rank alone (a file, a setting) is
 * agreed on with comm_all_ok.
 *
 * Every wait has a limit, that of the phase the run is in.  After COMM_TELL_S a rank says what is waited for
 * and which rank has not come; at the limit the ranks that wait die, naming the same. */
#pragma once

#include "kernels/error.h"
#include "train/ranks/terms.h"

struct comm;

/* Seconds: what a start may take where nothing else is set, and after how long a wait is told to the user. */
enum { COMM_START_LIMIT_S = 1800, COMM_TELL_S = 10 };

/* comm_start - initialise MPI (or a single rank when started alone), install the abort hook and the message
 * prefix "rank 3/16 host".  MPI may take words of its own from argv.  Once in a process, by all that were
 * started together.  comm_start_within - the same with a limit of its own for the start, in seconds.
 * comm_finish - finalise and free; all ranks together, with every group of comm_split joined before. */
struct comm *comm_start(int *argc, char ***argv);
struct comm *comm_start_within(int *argc, char ***argv, double limit_s);
void comm_finish(struct comm *comm);

/* comm_split - the ranks that pass the same group, in their order, as a comm of their own; host and place on
 * the host are those of the whole.  Collective.  comm_join - the end of it (NULL: nothing); collective among
 * its ranks. */
struct comm *comm_split(struct comm *comm, int group);
void comm_join(struct comm *part);

/* comm_rank - this rank's number in the comm, 0 to comm_num_ranks - 1: of a group, in the group.  comm_is_root - it is 0.
 * None of these communicates; texts live as long as the comm. */
int comm_rank(const struct comm *comm);
int comm_num_ranks(const struct comm *comm);
bool comm_is_root(const struct comm *comm);
int comm_local_rank(const struct comm *comm); /* among the ranks of this host */
int comm_num_local_ranks(const struct comm *comm);
const char *comm_host(const struct comm *comm);    /* this rank's host name */
const char *comm_library(const struct comm *comm); /* "Open MPI 4.1.4" */
/* comm_library_name - the same without a comm; may be called before comm_start. */
void comm_library_name(char *name, size_t room_bytes);

/* What the run is doing, how long a rank may wait for the others in it, and where the user sets that. */
struct comm_phase {
    const char *name; /* "starting", "training", "saving": for messages; a literal */
    const char *key;  /* "run.timeout_s" */
    double limit_s;
};

/* comm_set_phase - of the whole, not of a group.  comm_phase - of a group: that of the whole.
 * comm_set_timeout changes the limit alone; comm_timeout - the limit that holds now, in seconds.  None is collective;
 * set them at the same point on all ranks. */
void comm_set_phase(struct comm *comm, const struct comm_phase *phase);
const struct comm_phase *comm_phase(const struct comm *comm);
void comm_set_timeout(struct comm *comm, double seconds);
double comm_timeout(const struct comm *comm);

/* comm_tell_wait - for a wait that lasts: tells the others that this rank waits in what, after COMM_TELL_S
 * the user for whom, and dies at the phase's limit.  comm.h's own waits do; it is for waits elsewhere, such
 * as a GPU's transfers between ranks.  To be called about five times a second with how long this wait has
 * lasted.  Not collective. */
void comm_tell_wait(struct comm *comm, const char *what, double waited_s);

/* comm_note_wait - the same without dying: false when the limit is over, and then *whom names the ranks that
 * have not come; for callers that have something to do before they die.  whom: room of at least
 * COMM_WHOM_ROOM bytes. */
enum { COMM_WHOM_ROOM = 400 };
bool comm_note_wait(struct comm *comm, const char *what, double waited_s, char *whom);

/* comm_has_messages - what its transfers move goes by messages of MPI, not through memory that the ranks share. */
bool comm_has_messages(const struct comm *comm);

/* comm_can_be_lent - one thread may call what is in comm.h after another, never two at a time; where MPI does not allow it, the first alone. */
bool comm_can_be_lent(void);

/* comm_poll - let MPI move what is under way while this rank waits for something else.  Not collective. */
void comm_poll(struct comm *comm);

/* comm_move - what can be done, without waiting, for the transfers that are under way in the whole and its groups; true when some
 * are left.  comm_is_moving - some are not known to be over.  Neither is collective, and no two threads are inside comm.h at a time. */
bool comm_move(struct comm *comm);
bool comm_is_moving(const struct comm *comm);

/* comm_set_piece_bytes - largest piece of a long buffer handed to MPI at once (below 2 GiB), and scratch
 * memory of one sum.  The defaults suit; tests make them small.  Same on all ranks, before the first sum.
 * comm_piece_bytes - the first of them. */
void comm_set_piece_bytes(struct comm *comm, int64_t piece_bytes, int64_t scratch_bytes);
int64_t comm_piece_bytes(const struct comm *comm);

/* comm_use_messages - this comm and its groups made later are to exchange messages, as between hosts, where ranks of one host
 * gather and add in memory that they share: for tests of both.  Same on all ranks, with no transfer under way. */
void comm_use_messages(struct comm *comm);

/* comm_all_ok - every rank passes its status (0 or -1) and err.  True on all when all are 0.  Otherwise false
 * on all, and the root prints once: "error: TEXT (on rank 2; 2 of 4 ranks failed)".  Collective. */
bool comm_all_ok(struct comm *comm, int status, const struct err *err);

/* comm_barrier - no rank leaves before all have come.  comm_broadcast - the root's bytes to all; size_bytes the same on
 * every rank, of any length.  Collective. */
void comm_barrier(struct comm *comm);
void comm_broadcast(struct comm *comm, void *data, size_t size_bytes);
/* comm_broadcast_text - the root's malloc'ed text (or NULL) becomes everybody's; *text is freed and replaced on the
 * others.  Collective. */
void comm_broadcast_text(struct comm *comm, char **text);

/* comm_sum_f64, comm_sum_i64, comm_sum_f32, comm_max_i64, comm_max_f64 - over all ranks, element by element, in place;
 * the same count on all, the same bits on every rank.  Floating-point terms are added in the order of the ranks, here and
 * in comm_reduce_scatter_start.  comm_max_f64: NaN when any rank's is.  Collective. */
void comm_sum_f64(struct comm *comm, double *values, int count);
void comm_sum_i64(struct comm *comm, int64_t *values, int64_t count);
void comm_max_i64(struct comm *comm, int64_t *values, int count);
void comm_max_f64(struct comm *comm, double *values, int count);
void comm_sum_f32(struct comm *comm, float *values, int64_t count);

/* comm_num_agreements - small exchanges that this rank has taken part in, in the whole and its groups: sums of numbers, maxima, gathers,
 * broadcasts, votes and barriers; what moves parameters and gradients is none.  Not collective. */
int64_t comm_num_agreements(const struct comm *comm);

/* comm_gather_f64 - all[r * count + i] = rank r's values[i], on every rank; all has room for num_ranks * count.
 * Collective. */
void comm_gather_f64(struct comm *comm, const double *values, int count, double *all);
/* comm_gather_bytes - the same for any records, of size_bytes each, below 2 GiB.  Collective. */
void comm_gather_bytes(struct comm *comm, const void *mine, size_t size_bytes, void *all);

/* A transfer under way; the buffers must stay until comm_wait.  A zeroed request is idle and may be waited
 * for. */
struct comm_request {
    void *handle;     /* of the implementation; NULL when idle */
    const char *what; /* for the timeout's message */
};

/* comm_all_gather_start - full = the ranks' shards one after the other; shard_bytes is the same on all. shard
 * may be this rank's place inside full. */
void comm_all_gather_start(struct comm *comm, void *full, const void *shard, size_t shard_bytes,
                           struct comm_request *request);

/* comm_reduce_scatter_start - shard = this rank's part of the sum of the ranks' full; shard_count elements
 * each. shard may be this rank's place inside full.  The same bits as comm_sum_f32 of full. */
void comm_reduce_scatter_start(struct comm *comm, float *shard, const float *full, int64_t shard_count,
                               struct comm_request *request);
/* comm_reduce_scatter_terms_start - the same of either type; integers modulo 2^64. */
void comm_reduce_scatter_terms_start(struct comm *comm, enum term_type type, void *shard, const void *full,
                                     int64_t shard_count, struct comm_request *request);

/* comm_send_start, comm_receive_start - size_bytes to or from one other rank, which makes the opposite call with the
 * same size; between two ranks in the same order on both. */
void comm_send_start(struct comm *comm, const void *data, size_t size_bytes, int to,
                     struct comm_request *request);
void comm_receive_start(struct comm *comm, void *data, size_t size_bytes, int from,
                        struct comm_request *request);

/* What each rank has for each, bytes of any numbers: the pieces for rank 0, 1, ... lie one after the other in sent,
 * those from rank 0, 1, ... in received.  What this rank has for r is what r expects of it. */
struct comm_pieces {
    const void *sent;
    void *received;
    const size_t *sent_bytes, *received_bytes; /* [num_ranks] each; read at the start only */
};

/* comm_all_to_all_start - every rank's pieces to their ranks, its own one too; received must not overlap sent. */
void comm_all_to_all_start(struct comm *comm, const struct comm_pieces *pieces, struct comm_request *request);

/* comm_wait - until the transfer is complete and its buffers may be used again; the additions of a reduce-scatter are
 * done in here, by the rank itself.  In the order of the starts, the same on all ranks. */
void comm_wait(struct comm *comm, struct comm_request *request);
