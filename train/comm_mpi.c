/* comm_mpi.c - see comm.h.  The only file that calls MPI.
 *
 * Every collective is one of MPI's non-blocking ones plus the wait loop below, so that a rank whose peers are
 * gone says so and ends instead of hanging. Floating-point sums do not use MPI's reductions, whose order
 * depends on its version and on the message size: the ranks exchange their terms and add them in the order of
 * the ranks.  A sum therefore has the same bits on every rank, in every run of the same number of ranks, and
 * whether it was scattered or not. Buffers of any length are handed over in pieces that fit MPI's int counts.
 */
#include "train/comm.h"

#include <limits.h>
#include <math.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/clock.h"

enum {
    PIECE_BYTES = 1 << 28,       /* largest piece of a broadcast or gather */
    SUM_SCRATCH_BYTES = 1 << 20, /* terms of one piece of a sum, all ranks together: stays in the cache */
    SMALL_SUM_COUNT = 2048,      /* up to here every rank adds everything, which saves a message */
};

/* A gather or a sum under way.  Kept in a list for reuse: nothing is allocated once the first step is over.
 */
struct transfer {
    struct transfer *next;
    bool is_sum;
    int num_requests, room;
    MPI_Request *requests; /* gather: all its pieces.  sum: one for each half of terms */
    /* of a sum: */
    float *shard;
    const float *full;
    int64_t shard_count, num_started; /* elements of the shard whose exchange has been posted */
    int64_t num_done;
    int64_t piece_count;
    float *terms[2]; /* [num_ranks, piece_count] each: one piece travels while the other is added */
};

struct comm {
    MPI_Comm world;
    struct comm *parent; /* of a group made by comm_split; it has the timeout */
    int rank, num_ranks, local_rank, num_local_ranks;
    double timeout_s;
    int64_t piece_bytes, scratch_bytes; /* constants above; tests make them small */
    struct transfer *idle;
    float *sum_scratch; /* of comm_sum_f32 */
    char host[64], library[64];
};

static void mpi_die(int status, const char *call, const char *file, int line) __attribute__((noreturn));

/* mpi_die - with the library's own words. */
static void mpi_die(int status, const char *call, const char *file, int line) {
    char words[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    MPI_Error_string(status, words, &length);
    die_at(file, line, "MPI: %.120s: %s", call, words);
}

#define MPI_CHECK(call)                                                                                      \
    do {                                                                                                     \
        int mpi_status_ = (call);                                                                            \
        if (mpi_status_ != MPI_SUCCESS)                                                                      \
            mpi_die(mpi_status_, #call, __FILE__, __LINE__);                                                 \
    } while (0)

static void abort_all_ranks(int exit_code) {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    _exit(exit_code);
}

/* --- start and end --- */

/* The first words of MPI's long self-description: "Open MPI v4.1.4". */
void comm_library_name(char *name, size_t room_bytes) {
    char words[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_CHECK(MPI_Get_library_version(words, &length));
    words[strcspn(words, ",\n")] = '\0';
    snprintf(name, room_bytes, "%s", words);
}

struct comm *comm_start(int *argc, char ***argv) {
    struct comm *comm = xcalloc(1, sizeof *comm);
    int level = 0;
    /* Without this a program started by hand makes Open MPI start a daemon beside it, for spawning processes,
     * which atelier never does.  It has no effect under mpirun or srun. */
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    MPI_CHECK(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &level));
    comm->world = MPI_COMM_WORLD;
    MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
    error_set_abort_hook(abort_all_ranks);
    MPI_CHECK(MPI_Comm_rank(comm->world, &comm->rank));
    MPI_CHECK(MPI_Comm_size(comm->world, &comm->num_ranks));
    gethostname(comm->host, sizeof comm->host - 1);
    char prefix[128];
    snprintf(prefix, sizeof prefix, "rank %d/%d %s", comm->rank, comm->num_ranks, comm->host);
    error_set_prefix(prefix);
    CHECK(level >= MPI_THREAD_FUNNELED, "MPI does not support programs with threads (level %d)", level);
    comm_library_name(comm->library, sizeof comm->library);
    comm->timeout_s = 1800;
    comm->piece_bytes = PIECE_BYTES;
    comm->scratch_bytes = SUM_SCRATCH_BYTES;

    MPI_Comm
        host_ranks; /* environment variables tell this too, but not the same ones under mpirun and srun */
    MPI_CHECK(MPI_Comm_split_type(comm->world, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &host_ranks));
    MPI_CHECK(MPI_Comm_rank(host_ranks, &comm->local_rank));
    MPI_CHECK(MPI_Comm_size(host_ranks, &comm->num_local_ranks));
    MPI_CHECK(MPI_Comm_free(&host_ranks));
    return comm;
}

struct comm *comm_split(struct comm *comm, int group) {
    struct comm *part = xcalloc(1, sizeof *part);
    *part = *comm;
    part->parent = comm;
    part->idle = NULL;
    part->sum_scratch = NULL;
    MPI_CHECK(MPI_Comm_split(comm->world, group, comm->rank, &part->world));
    MPI_CHECK(MPI_Comm_rank(part->world, &part->rank));
    MPI_CHECK(MPI_Comm_size(part->world, &part->num_ranks));
    return part;
}

/* release_buffers - what transfers and sums left for reuse. */
static void release_buffers(struct comm *comm) {
    while (comm->idle) {
        struct transfer *transfer = comm->idle;
        comm->idle = transfer->next;
        free(transfer->requests);
        free(transfer->terms[0]);
        free(transfer->terms[1]);
        free(transfer);
    }
    free(comm->sum_scratch);
}

void comm_join(struct comm *part) {
    if (!part)
        return;
    release_buffers(part);
    MPI_CHECK(MPI_Comm_free(&part->world));
    free(part);
}

void comm_finish(struct comm *comm) {
    release_buffers(comm);
    MPI_CHECK(MPI_Finalize());
    error_set_abort_hook(NULL); /* MPI_Abort is no longer allowed */
    free(comm);
}

int comm_rank(const struct comm *comm) {
    return comm->rank;
}

int comm_num_ranks(const struct comm *comm) {
    return comm->num_ranks;
}

bool comm_is_root(const struct comm *comm) {
    return comm->rank == 0;
}

int comm_local_rank(const struct comm *comm) {
    return comm->local_rank;
}

int comm_num_local_ranks(const struct comm *comm) {
    return comm->num_local_ranks;
}

const char *comm_host(const struct comm *comm) {
    return comm->host;
}

const char *comm_library(const struct comm *comm) {
    return comm->library;
}

void comm_set_timeout(struct comm *comm, double seconds) {
    comm->timeout_s = seconds;
}

double comm_timeout(const struct comm *comm) {
    return comm->parent ? comm_timeout(comm->parent) : comm->timeout_s;
}

void comm_set_piece_bytes(struct comm *comm, int64_t piece_bytes, int64_t scratch_bytes) {
    comm->piece_bytes = piece_bytes;
    comm->scratch_bytes = scratch_bytes;
}

int64_t comm_piece_bytes(const struct comm *comm) {
    return comm->piece_bytes;
}

/* --- waiting --- */

/* wait_done - poll until the request is complete.  Ranks may share cores, so a waiting rank must leave its
 * core to one that computes: it yields, and sleeps once nothing has moved for a while.  MPI copies data
 * inside MPI_Test, so a slow test is a sign that data moves, and sleeping would then cost bandwidth. */
static void wait_done(const struct comm *comm, MPI_Request *request, const char *what) {
    const double slow_test_s = 4e-6, sleep_after_s = 200e-6;
    double start = clock_s(), moved = start, before = start;
    for (int done = 0;;) {
        MPI_CHECK(MPI_Test(request, &done, MPI_STATUS_IGNORE));
        if (done)
            return;
        double after = clock_s();
        if (after - before > slow_test_s)
            moved = after;
        if (after - start > comm_timeout(comm))
            die("waited %.1f s for the other ranks in '%s': one of them ended, hangs or is slower than that; "
                "run.timeout_s sets the limit",
                after - start, what);
        if (after - moved < sleep_after_s) {
            sched_yield();
        } else {
            struct timespec pause = {0, 20000};
            nanosleep(&pause, NULL);
        }
        before = clock_s();
    }
}

/* comm_poll - any call that looks for messages makes MPI progress; this one finds none, as we send none that
 * are not part of a collective. */
void comm_poll(struct comm *comm) {
    int found = 0;
    MPI_CHECK(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm->world, &found, MPI_STATUS_IGNORE));
}

/* --- small collectives --- */

void comm_barrier(struct comm *comm) {
    MPI_Request request;
    MPI_CHECK(MPI_Ibarrier(comm->world, &request));
    wait_done(comm, &request, "barrier");
}

static void broadcast_from(struct comm *comm, void *data, size_t size_bytes, int from, const char *what) {
    for (size_t at = 0; at < size_bytes; at += (size_t)comm->piece_bytes) {
        size_t left = size_bytes - at;
        int count = (int)(left < (size_t)comm->piece_bytes ? left : (size_t)comm->piece_bytes);
        MPI_Request request;
        MPI_CHECK(MPI_Ibcast((char *)data + at, count, MPI_BYTE, from, comm->world, &request));
        wait_done(comm, &request, what);
    }
}

void comm_broadcast(struct comm *comm, void *data, size_t size_bytes) {
    broadcast_from(comm, data, size_bytes, 0, "broadcast");
}

void comm_broadcast_text(struct comm *comm, char **text) {
    int64_t length = comm->rank == 0 && *text ? (int64_t)strlen(*text) : -1; /* -1: NULL */
    comm_broadcast(comm, &length, sizeof length);
    if (comm->rank != 0) {
        free(*text);
        *text = length < 0 ? NULL : xcalloc((size_t)length + 1, 1);
    }
    if (length > 0)
        comm_broadcast(comm, *text, (size_t)length);
}

bool comm_all_ok(struct comm *comm, int status, const struct err *err) {
    int64_t num_failed = status != 0;
    int64_t minus_first =
        status != 0 ? -(int64_t)comm->rank : INT64_MIN; /* its maximum is the lowest failing rank */
    comm_sum_i64(comm, &num_failed, 1);
    if (num_failed == 0)
        return true;
    comm_max_i64(comm, &minus_first, 1);
    int first = (int)-minus_first;
    struct err text = {""};
    if (comm->rank == first && err)
        text = *err;
    broadcast_from(comm, &text, sizeof text, first, "agreement on an error");
    if (comm->rank != 0)
        return false;
    char line[sizeof text.text + 96];
    int length = num_failed == comm->num_ranks /* the same on all: no rank to look at */
                     ? snprintf(line, sizeof line, "error: %s\n", text.text)
                     : snprintf(line, sizeof line, "error: %s (on rank %d; %lld of %d ranks failed)\n",
                                text.text, first, (long long)num_failed, comm->num_ranks);
    fflush(stdout);
    ssize_t written = write(STDERR_FILENO, line, (size_t)length);
    (void)written; /* nowhere left to report it */
    return false;
}

static void gather_bytes(struct comm *comm, const void *mine, int size_bytes, void *all, const char *what) {
    MPI_Request request;
    MPI_CHECK(MPI_Iallgather(mine, size_bytes, MPI_BYTE, all, size_bytes, MPI_BYTE, comm->world, &request));
    wait_done(comm, &request, what);
}

void comm_gather_bytes(struct comm *comm, const void *mine, size_t size_bytes, void *all) {
    CHECK(size_bytes <= INT_MAX, "gather of %zu bytes", size_bytes);
    gather_bytes(comm, mine, (int)size_bytes, all, "gather");
}

void comm_gather_f64(struct comm *comm, const double *values, int count, double *all) {
    CHECK(count >= 0 && count <= INT_MAX / (int)sizeof(double), "gather of %d values", count);
    gather_bytes(comm, values, count * (int)sizeof(double), all, "gather");
}

/* combine_f64 - gather, then every rank folds the terms in the order of the ranks. */
static void combine_f64(struct comm *comm, double *values, int count, double (*fold)(double, double),
                        const char *what) {
    CHECK(count >= 0 && count <= INT_MAX / (int)sizeof(double), "%s of %d values", what, count);
    double *all = xmalloc((size_t)count * (size_t)comm->num_ranks * sizeof *all);
    gather_bytes(comm, values, count * (int)sizeof(double), all, what);
    for (int i = 0; i < count; i++) {
        values[i] = all[i];
        for (int r = 1; r < comm->num_ranks; r++)
            values[i] = fold(values[i], all[(size_t)r * (size_t)count + (size_t)i]);
    }
    free(all);
}

static double add(double a, double b) {
    return a + b;
}

/* larger - NaN wins: a maximum that hides it would hide a fault. */
static double larger(double a, double b) {
    return isnan(a) || a > b ? a : b;
}

void comm_sum_f64(struct comm *comm, double *values, int count) {
    combine_f64(comm, values, count, add, "sum");
}

void comm_max_f64(struct comm *comm, double *values, int count) {
    combine_f64(comm, values, count, larger, "maximum");
}

/* Integers have no order to keep: MPI's own reductions do. */
static void reduce_i64(struct comm *comm, int64_t *values, int64_t count, MPI_Op op, const char *what) {
    int64_t piece = comm->piece_bytes / (int64_t)sizeof *values;
    for (int64_t at = 0; at < count; at += piece) {
        int n = (int)(count - at < piece ? count - at : piece);
        MPI_Request request;
        MPI_CHECK(MPI_Iallreduce(MPI_IN_PLACE, values + at, n, MPI_INT64_T, op, comm->world, &request));
        wait_done(comm, &request, what);
    }
}

void comm_sum_i64(struct comm *comm, int64_t *values, int64_t count) {
    reduce_i64(comm, values, count, MPI_SUM, "sum");
}

void comm_max_i64(struct comm *comm, int64_t *values, int count) {
    reduce_i64(comm, values, count, MPI_MAX, "maximum");
}

/* --- sums of long arrays --- */

/* add_terms - out[i] = terms of rank 0 + rank 1 + ..., each [count] behind the other. */
static void add_terms(float *out, const float *terms, int num_ranks, int64_t count) {
    memcpy(out, terms, (size_t)count * sizeof *out);
    for (int r = 1; r < num_ranks; r++) {
        const float *term = terms + (int64_t)r * count;
        for (int64_t i = 0; i < count; i++)
            out[i] += term[i];
    }
}

/* sum_small - everybody gets everything and adds it. */
static void sum_small(struct comm *comm, float *values, int count) {
    gather_bytes(comm, values, count * (int)sizeof(float), comm->sum_scratch, "sum");
    add_terms(values, comm->sum_scratch, comm->num_ranks, count);
}

/* sum_piece - num_ranks * part values: rank r adds part r, then the sums go round. */
static void sum_piece(struct comm *comm, float *values, int part) {
    MPI_Request request;
    float *terms = comm->sum_scratch;
    MPI_CHECK(MPI_Ialltoall(values, part, MPI_FLOAT, terms, part, MPI_FLOAT, comm->world, &request));
    wait_done(comm, &request, "sum");
    add_terms(values + (int64_t)comm->rank * part, terms, comm->num_ranks, part);
    MPI_CHECK(
        MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, part, MPI_FLOAT, comm->world, &request));
    wait_done(comm, &request, "sum");
}

void comm_sum_f32(struct comm *comm, float *values, int64_t count) {
    if (comm->num_ranks == 1)
        return;
    int64_t piece = comm->scratch_bytes / (int64_t)sizeof(float);
    piece -= piece % comm->num_ranks;
    if (piece < SMALL_SUM_COUNT * (int64_t)comm->num_ranks)
        piece = SMALL_SUM_COUNT * (int64_t)comm->num_ranks;
    if (!comm->sum_scratch)
        comm->sum_scratch = xmalloc((size_t)piece * sizeof(float));
    int64_t at = 0;
    for (; count - at >= SMALL_SUM_COUNT * (int64_t)comm->num_ranks;) {
        int64_t n = count - at < piece ? count - at : piece;
        n -= n % comm->num_ranks;
        sum_piece(comm, values + at, (int)(n / comm->num_ranks));
        at += n;
    }
    for (; at < count; at += SMALL_SUM_COUNT)
        sum_small(comm, values + at, (int)(count - at < SMALL_SUM_COUNT ? count - at : SMALL_SUM_COUNT));
}

/* --- transfers under way --- */

static struct transfer *transfer_take(struct comm *comm, int num_requests) {
    struct transfer *transfer = comm->idle;
    if (transfer)
        comm->idle = transfer->next;
    else
        transfer = xcalloc(1, sizeof *transfer);
    if (transfer->room < num_requests) {
        transfer->room = num_requests;
        transfer->requests = xrealloc(transfer->requests, (size_t)num_requests * sizeof *transfer->requests);
    }
    transfer->num_requests = num_requests;
    return transfer;
}

/* block_type - count elements at the start of every stride_bytes. */
static MPI_Datatype block_type(int64_t count, MPI_Datatype element, size_t stride_bytes) {
    MPI_Datatype block, strided;
    MPI_CHECK(MPI_Type_contiguous((int)count, element, &block));
    MPI_CHECK(MPI_Type_create_resized(block, 0, (MPI_Aint)stride_bytes, &strided));
    MPI_CHECK(MPI_Type_commit(&strided));
    MPI_CHECK(MPI_Type_free(&block));
    return strided;
}

void comm_all_gather_start(struct comm *comm, void *full, const void *shard, size_t shard_bytes,
                           struct comm_request *request) {
    CHECK(!request->handle, "a transfer was started on a request that is in use for '%s'", request->what);
    char *mine = (char *)full + (size_t)comm->rank * shard_bytes;
    if (comm->num_ranks == 1) {
        if (mine != (const char *)shard)
            memmove(mine, shard, shard_bytes);
        return;
    }
    int num_pieces = (int)((shard_bytes + (size_t)comm->piece_bytes - 1) / (size_t)comm->piece_bytes);
    struct transfer *transfer = transfer_take(comm, num_pieces);
    transfer->is_sum = false;
    for (int p = 0; p < num_pieces; p++) {
        size_t at = (size_t)p * (size_t)comm->piece_bytes, left = shard_bytes - at;
        int64_t n = left < (size_t)comm->piece_bytes ? (int64_t)left : comm->piece_bytes;
        MPI_Datatype type = block_type(n, MPI_BYTE, shard_bytes);
        bool in_place = mine == (const char *)shard;
        const void *from = in_place ? MPI_IN_PLACE : (const char *)shard + at;
        MPI_CHECK(
            MPI_Iallgather(from, 1, type, (char *)full + at, 1, type, comm->world, &transfer->requests[p]));
        MPI_CHECK(MPI_Type_free(&type)); /* freed for good when the transfer is complete */
    }
    *request = (struct comm_request){transfer, "all-gather"};
}

/* post_piece - exchange the next piece of the terms into one half. */
static void post_piece(struct comm *comm, struct transfer *transfer, int half) {
    int64_t left = transfer->shard_count - transfer->num_started;
    int64_t n = left < transfer->piece_count ? left : transfer->piece_count;
    transfer->requests[half] = MPI_REQUEST_NULL;
    if (n <= 0)
        return;
    /* Element num_started of every rank's part goes to that rank: blocks one shard apart. */
    MPI_Datatype type = block_type(n, MPI_FLOAT, (size_t)transfer->shard_count * sizeof(float));
    MPI_CHECK(MPI_Ialltoall(transfer->full + transfer->num_started, 1, type, transfer->terms[half], (int)n,
                            MPI_FLOAT, comm->world, &transfer->requests[half]));
    MPI_CHECK(MPI_Type_free(&type));
    transfer->num_started += n;
}

/* piece_elements - of the shard in one piece of a sum. */
static int64_t piece_elements(const struct comm *comm) {
    int64_t count = comm->scratch_bytes / (int64_t)sizeof(float) / comm->num_ranks;
    return count > 0 ? count : 1;
}

void comm_reduce_scatter_start(struct comm *comm, float *shard, const float *full, int64_t shard_count,
                               struct comm_request *request) {
    CHECK(!request->handle, "a transfer was started on a request that is in use for '%s'", request->what);
    if (comm->num_ranks == 1) {
        if (shard != full)
            memmove(shard, full, (size_t)shard_count * sizeof *shard);
        return;
    }
    struct transfer *transfer = transfer_take(comm, 2);
    transfer->is_sum = true;
    transfer->shard = shard;
    transfer->full = full;
    transfer->shard_count = shard_count;
    transfer->num_started = transfer->num_done = 0;
    transfer->piece_count = piece_elements(comm);
    for (int half = 0; half < 2; half++) {
        size_t terms_bytes = (size_t)transfer->piece_count * (size_t)comm->num_ranks * sizeof(float);
        if (!transfer->terms[half])
            transfer->terms[half] = xmalloc(terms_bytes);
        post_piece(comm, transfer, half);
    }
    *request = (struct comm_request){transfer, "reduce-scatter"};
}

static void finish_sum(struct comm *comm, struct transfer *transfer, const char *what) {
    for (int half = 0; transfer->num_done < transfer->shard_count; half = !half) {
        int64_t left = transfer->shard_count - transfer->num_done;
        int64_t n = left < transfer->piece_count ? left : transfer->piece_count;
        wait_done(comm, &transfer->requests[half], what);
        add_terms(transfer->shard + transfer->num_done, transfer->terms[half], comm->num_ranks, n);
        transfer->num_done += n;
        post_piece(comm, transfer, half);
    }
}

void comm_wait(struct comm *comm, struct comm_request *request) {
    struct transfer *transfer = request->handle;
    if (!transfer)
        return;
    if (transfer->is_sum)
        finish_sum(comm, transfer, request->what);
    for (int p = 0; !transfer->is_sum && p < transfer->num_requests; p++)
        wait_done(comm, &transfer->requests[p], request->what);
    transfer->next = comm->idle;
    comm->idle = transfer;
    *request = (struct comm_request){NULL, NULL};
}
