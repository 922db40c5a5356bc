/* comm_mpi.c - comm.h on MPI: start and end, groups, waiting, broadcasts, gathers and the small sums.
 *
 * Every collective is one of MPI's non-blocking ones plus the wait loop below, so that a rank whose peers are
 * gone says so and ends instead of hanging; what MPI does only blocking (its start and end, new groups) is
 * done under a guard (comm_guard.h). Floating-point sums do not use MPI's reductions, whose order
 * depends on its version and on the message size: the ranks exchange their terms and add them in the order of
 * the ranks.  A sum therefore has the same bits on every rank, in every run of the same number of ranks, and
 * whether it was scattered or not. Buffers of any length are handed over in pieces that fit MPI's int counts.
 */
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "kernels/units.h"
#include "train/ranks/comm_guard.h"
#include "train/ranks/comm_marks.h"
#include "train/ranks/comm_mpi.h"

enum {
    PIECE_BYTES = 256 * MIB, /* largest piece of a broadcast or gather */
    SUM_SCRATCH_BYTES = MIB, /* terms of one piece of a sum, all ranks together: stays in the cache */
    /* Integers that every rank adds by itself where ranks share memory. */
    FEW = 256,
    /* Records of all ranks that are gathered in few messages, though most then go more than one way. */
    FEW_BYTES = 256 * KIB,
    TAG_GATHER = 3,
    /* Terms for each rank at least, whatever that makes of the scratch: below, a message costs more than its bytes. */
    MESSAGE_BYTES = 64 * KIB,
};

/* comm_mpi_die - with the library's own words. */
void comm_mpi_die(int status, const char *call, const char *file, int line) {
    char words[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    MPI_Error_string(status, words, &length);
    die_at(file, line, "MPI: %.120s: %s", call, words);
}

/* abort_all_ranks - where MPI_Abort returns all the same, this process ends, and what started it ends the others. */
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

/* find_place - which rank of which host this is.  The host's ranks are found by MPI: environment variables
 * tell this too, but not the same ones under mpirun and srun. */
static void find_place(struct comm *comm) {
    MPI_Comm host_ranks;
    char prefix[128];
    MPI_CHECK(MPI_Comm_rank(comm->world, &comm->rank));
    MPI_CHECK(MPI_Comm_size(comm->world, &comm->num_ranks));
    gethostname(comm->host, sizeof comm->host - 1);
    snprintf(prefix, sizeof prefix, "rank %d/%d %s", comm->rank, comm->num_ranks, comm->host);
    error_set_prefix(prefix);
    comm_barrier(comm); /* before what blocks: in here an absent rank is noticed */
    MPI_CHECK(MPI_Comm_split_type(comm->world, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &host_ranks));
    MPI_CHECK(MPI_Comm_rank(host_ranks, &comm->local_rank));
    MPI_CHECK(MPI_Comm_size(host_ranks, &comm->num_local_ranks));
    MPI_CHECK(MPI_Comm_free(&host_ranks));
}

/* set_defaults - what Open MPI shall do where the user has not said otherwise. */
static void set_defaults(void) {
    /* Without this a program started by hand makes Open MPI start a daemon beside it, for spawning processes,
     * which atelier never does.  It has no effect under mpirun or srun. */
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    /* hwloc, which Open MPI asks for the shape of the machine, has a plug-in that looks for GPUs by
     * connecting to X servers. */
    setenv("HWLOC_COMPONENTS", "-gl", 0);
}

struct comm *comm_start_within(int *argc, char ***argv, double limit_s) {
    struct comm *comm = xcalloc(1, sizeof *comm);
    int level = 0;
    /* The marks of this host come first: MPI_Init cannot be asked how far the others are, and is where a rank that did
     * not start shows.  SERIALIZED: a mover (mover.h) calls MPI while this thread computes; the guard's thread never, nor do OpenMP's. */
    comm->phase = (struct comm_phase){"starting", "run.start_timeout_s", limit_s};
    set_defaults();
    comm->marks = marks_open();
    marks_post(comm->marks, MARK_STARTING);
    struct guard *guard = guard_begin(comm->marks, "the start of MPI", MARK_STARTING, &comm->phase);
    MPI_CHECK(MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &level));
    comm->world = MPI_COMM_WORLD;
    MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
    error_set_abort_hook(abort_all_ranks);
    CHECK(level >= MPI_THREAD_FUNNELED, "MPI does not support programs with threads (level %d)", level);
    comm_library_name(comm->library, sizeof comm->library);
    comm->piece_bytes = PIECE_BYTES;
    comm->scratch_bytes = SUM_SCRATCH_BYTES;
    comm->message_bytes = MESSAGE_BYTES;
    find_place(comm);
    guard_end(guard);
    marks_name_rank(comm->marks, comm->rank);
    marks_post(comm->marks, MARK_RUNNING);
    comm->watch = watch_open(comm);
    comm->shared = shared_open(comm);
    return comm;
}

struct comm *comm_start(int *argc, char ***argv) {
    return comm_start_within(argc, argv, COMM_START_LIMIT_S);
}

/* ranks_of - the place in the whole of each rank of a group: watchers and messages name ranks as the user knows them. */
static int *ranks_of(const struct comm *part) {
    int *mine = xmalloc((size_t)part->num_ranks * sizeof *mine);
    int *whole = xmalloc((size_t)part->num_ranks * sizeof *whole);
    MPI_Group from, to;
    for (int r = 0; r < part->num_ranks; r++)
        mine[r] = r;
    MPI_CHECK(MPI_Comm_group(part->world, &from));
    MPI_CHECK(MPI_Comm_group(MPI_COMM_WORLD, &to));
    MPI_CHECK(MPI_Group_translate_ranks(from, part->num_ranks, mine, to, whole));
    MPI_CHECK(MPI_Group_free(&from));
    MPI_CHECK(MPI_Group_free(&to));
    free(mine);
    return whole;
}

struct comm *comm_split(struct comm *comm, int group) {
    struct comm *part = xcalloc(1, sizeof *part);
    *part = *comm;
    part->parent = comm; /* whose phase and watch hold for it too */
    part->idle = NULL;
    part->sum_scratch = NULL;
    part->watch = NULL;
    part->shared = NULL;
    comm_barrier(comm); /* before what blocks: in here an absent rank is noticed */
    struct guard *guard = guard_begin(comm->marks, "making groups of ranks", MARK_RUNNING, comm_phase(comm));
    MPI_CHECK(MPI_Comm_split(comm->world, group, comm->rank, &part->world));
    guard_end(guard);
    MPI_CHECK(MPI_Comm_rank(part->world, &part->rank));
    MPI_CHECK(MPI_Comm_size(part->world, &part->num_ranks));
    part->ranks = ranks_of(part);
    part->shared = comm->is_between_hosts ? NULL : shared_open(part);
    return part;
}

void comm_join(struct comm *part) {
    if (!part)
        return;
    comm_mpi_release_buffers(part);
    shared_close(part->shared);
    struct guard *guard =
        guard_begin(part->marks, "giving up groups of ranks", MARK_RUNNING, comm_phase(part));
    MPI_CHECK(MPI_Comm_free(&part->world));
    guard_end(guard);
    free(part->ranks);
    free(part);
}

void comm_finish(struct comm *comm) {
    comm_mpi_release_buffers(comm);
    comm_barrier(comm); /* before what blocks: in here an absent rank is noticed */
    watch_close(comm);
    shared_close(comm->shared);
    marks_post(comm->marks, MARK_ENDING);
    struct guard *guard = guard_begin(comm->marks, "the end of MPI", MARK_ENDING, &comm->phase);
    MPI_CHECK(MPI_Finalize());
    guard_end(guard);
    marks_close(comm->marks);
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

/* whole_of - the comm of all ranks that a group was split from. */
static const struct comm *whole_of(const struct comm *comm) {
    while (comm->parent)
        comm = comm->parent;
    return comm;
}

int64_t comm_num_agreements(const struct comm *comm) {
    return whole_of(comm)->num_agreements;
}

/* note_agreement - one more. */
static void note_agreement(struct comm *comm) {
    while (comm->parent)
        comm = comm->parent;
    comm->num_agreements++;
}

void comm_set_phase(struct comm *comm, const struct comm_phase *phase) {
    comm->phase = *phase;
}

const struct comm_phase *comm_phase(const struct comm *comm) {
    return &whole_of(comm)->phase;
}

void comm_set_timeout(struct comm *comm, double seconds) {
    comm->phase.limit_s = seconds;
}

double comm_timeout(const struct comm *comm) {
    return comm_phase(comm)->limit_s;
}

void comm_set_piece_bytes(struct comm *comm, int64_t piece_bytes, int64_t scratch_bytes) {
    comm->piece_bytes = piece_bytes;
    comm->scratch_bytes = scratch_bytes;
    comm->message_bytes = 0;
}

void comm_use_messages(struct comm *comm) {
    shared_close(comm->shared);
    comm->shared = NULL;
    comm->is_between_hosts = true;
}

int64_t comm_piece_bytes(const struct comm *comm) {
    return comm->piece_bytes;
}

/* --- waiting --- */

void comm_mpi_look(struct comm *comm, struct patience *patience) {
    const double longest_s = 1, look_s = 0.2;
    double now = clock_s(), lasted_s = patience->last > 0 ? now - patience->last : 0;
    patience->waited_s += lasted_s < longest_s ? lasted_s : longest_s;
    patience->last = now;
    if (patience->waited_s - patience->told_s > look_s) {
        patience->told_s = patience->waited_s;
        comm_tell_wait(comm, patience->what, patience->waited_s);
    }
}

/* comm_mpi_wait - polls until the request is complete.  Ranks may share cores, so a waiting rank must leave
 * its core to one that computes: it yields, and sleeps once nothing has moved for a while.  MPI copies data
 * inside MPI_Test, so a slow test is a sign that data moves, and sleeping would then cost bandwidth. */
void comm_mpi_wait(struct comm *comm, MPI_Request *request, const char *what) {
    const double slow_test_s = 4e-6, sleep_after_s = 200e-6;
    struct patience patience = {.what = what};
    double moved = clock_s(), before = moved;
    for (int done = 0;;) {
        MPI_CHECK(MPI_Test(request, &done, MPI_STATUS_IGNORE));
        if (done)
            return;
        comm_mpi_look(comm, &patience);
        if (patience.last - before > slow_test_s)
            moved = patience.last;
        if (patience.last - moved < sleep_after_s) {
            sched_yield();
        } else {
            struct timespec pause = {0, 20000};
            nanosleep(&pause, NULL);
        }
        before = clock_s();
    }
}

/* comm_poll - any call that looks for messages makes MPI progress; what this one finds it leaves to those who wait for it. */
void comm_poll(struct comm *comm) {
    int found = 0;
    MPI_CHECK(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm->world, &found, MPI_STATUS_IGNORE));
}

/* --- small collectives --- */

void comm_barrier(struct comm *comm) {
    MPI_Request request;
    note_agreement(comm);
    if (comm->shared) {
        shared_gather(comm->shared, NULL, 0, NULL, "barrier");
        return;
    }
    MPI_CHECK(MPI_Ibarrier(comm->world, &request));
    comm_mpi_wait(comm, &request, "barrier");
}

/* broadcast_from - from any rank; pieces, as MPI counts with int. */
static void broadcast_from(struct comm *comm, void *data, size_t size_bytes, int from, const char *what) {
    for (size_t at = 0; at < size_bytes; at += (size_t)comm->piece_bytes) {
        size_t left = size_bytes - at;
        int count = (int)(left < (size_t)comm->piece_bytes ? left : (size_t)comm->piece_bytes);
        MPI_Request request;
        MPI_CHECK(MPI_Ibcast((char *)data + at, count, MPI_BYTE, from, comm->world, &request));
        comm_mpi_wait(comm, &request, what);
    }
}

void comm_broadcast(struct comm *comm, void *data, size_t size_bytes) {
    note_agreement(comm);
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

/* reduce_few - by the memory of the host: every rank folds the terms of all, of at most FEW numbers. */
static void reduce_few(struct comm *comm, int64_t *values, int64_t count, MPI_Op op, const char *what) {
    int64_t *all = xmalloc((size_t)count * (size_t)comm->num_ranks * sizeof *all);
    shared_gather(comm->shared, values, (size_t)count * sizeof *values, all, what);
    memcpy(values, all, (size_t)count * sizeof *values);
    for (int64_t at = count; at < count * comm->num_ranks; at++) {
        int64_t *value = &values[at % count];
        *value = op == MPI_MAX ? (all[at] > *value ? all[at] : *value)
                               : (int64_t)((uint64_t)*value + (uint64_t)all[at]);
    }
    free(all);
}

/* reduce_i64 - in place.  Integers have no order to keep: MPI's own reductions do. */
static void reduce_i64(struct comm *comm, int64_t *values, int64_t count, MPI_Op op, const char *what) {
    int64_t piece = comm->piece_bytes / (int64_t)sizeof *values;
    if (comm->shared && count > 0 && count <= FEW) {
        reduce_few(comm, values, count, op, what);
        return;
    }
    for (int64_t at = 0; at < count; at += piece) {
        int n = (int)(count - at < piece ? count - at : piece);
        MPI_Request request;
        MPI_CHECK(MPI_Iallreduce(MPI_IN_PLACE, values + at, n, MPI_INT64_T, op, comm->world, &request));
        comm_mpi_wait(comm, &request, what);
    }
}

/* Where all is well, which is nearly always, this is one reduction of eight bytes.  Otherwise the lowest failing rank's text
 * goes to all, so that the root can print it: one line for a job of a thousand ranks, also where the root itself is fine. */
bool comm_all_ok(struct comm *comm, int status, const struct err *err) {
    note_agreement(comm);
    int64_t num_failed = status != 0;
    int64_t minus_first =
        status != 0 ? -(int64_t)comm->rank : INT64_MIN; /* its maximum is the lowest failing rank */
    reduce_i64(comm, &num_failed, 1, MPI_SUM, "agreement that all is well");
    if (num_failed == 0)
        return true;
    reduce_i64(comm, &minus_first, 1, MPI_MAX, "agreement on an error");
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

/* gather_few - Bruck's algorithm: what a rank has doubles in each round, so that a rank sends log2(num_ranks) messages, where
 * MPI's own non-blocking gather sends one to every other rank.  Round by round this rank has its own record and those of the
 * ranks after it. */
static void gather_few(struct comm *comm, const void *mine, size_t size_bytes, char *all, const char *what) {
    int rank = comm->rank, num_ranks = comm->num_ranks;
    char *from_here = xmalloc(size_bytes * (size_t)num_ranks + 1);
    memcpy(from_here, mine, size_bytes);
    for (int known = 1; known < num_ranks; known *= 2) {
        MPI_Request received, sent;
        int more = known < num_ranks - known ? known : num_ranks - known;
        int more_bytes = more * (int)size_bytes;
        MPI_CHECK(MPI_Irecv(from_here + (size_t)known * size_bytes, more_bytes, MPI_BYTE,
                            (rank + known) % num_ranks, TAG_GATHER, comm->world, &received));
        MPI_CHECK(MPI_Isend(from_here, more_bytes, MPI_BYTE, (rank + num_ranks - known) % num_ranks,
                            TAG_GATHER, comm->world, &sent));
        comm_mpi_wait(comm, &received, what);
        comm_mpi_wait(comm, &sent, what);
    }
    size_t before = (size_t)rank * size_bytes, after = size_bytes * (size_t)num_ranks - before;
    memcpy(all + before, from_here, after);
    memcpy(all, from_here + after, before);
    free(from_here);
}

/* The blocking forms would hide a lost rank: as everywhere here, the non-blocking one and comm_mpi_wait. */
void comm_mpi_gather(struct comm *comm, const void *mine, int size_bytes, void *all, const char *what) {
    MPI_Request request;
    if (comm->shared) {
        shared_gather(comm->shared, mine, (size_t)size_bytes, all, what);
        return;
    }
    if (size_bytes > 0 && size_bytes <= FEW_BYTES / comm->num_ranks) {
        gather_few(comm, mine, (size_t)size_bytes, all, what);
        return;
    }
    MPI_CHECK(MPI_Iallgather(mine, size_bytes, MPI_BYTE, all, size_bytes, MPI_BYTE, comm->world, &request));
    comm_mpi_wait(comm, &request, what);
}

void comm_gather_bytes(struct comm *comm, const void *mine, size_t size_bytes, void *all) {
    note_agreement(comm);
    CHECK(size_bytes <= INT_MAX, "gather of %zu bytes", size_bytes);
    comm_mpi_gather(comm, mine, (int)size_bytes, all, "gather");
}

void comm_gather_f64(struct comm *comm, const double *values, int count, double *all) {
    note_agreement(comm);
    CHECK(count >= 0 && count <= INT_MAX / (int)sizeof(double), "gather of %d values", count);
    comm_mpi_gather(comm, values, count * (int)sizeof(double), all, "gather");
}

/* combine_f64 - gather, then every rank folds the terms in the order of the ranks. */
static void combine_f64(struct comm *comm, double *values, int count, double (*fold)(double, double),
                        const char *what) {
    note_agreement(comm);
    CHECK(count >= 0 && count <= INT_MAX / (int)sizeof(double), "%s of %d values", what, count);
    double *all = xmalloc((size_t)count * (size_t)comm->num_ranks * sizeof *all);
    comm_mpi_gather(comm, values, count * (int)sizeof(double), all, what);
    for (int i = 0; i < count; i++) {
        values[i] = all[i];
        for (int r = 1; r < comm->num_ranks; r++)
            values[i] = fold(values[i], all[(size_t)r * (size_t)count + (size_t)i]);
    }
    free(all);
}

/* add - of combine_f64. */
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

void comm_sum_i64(struct comm *comm, int64_t *values, int64_t count) {
    note_agreement(comm);
    reduce_i64(comm, values, count, MPI_SUM, "sum");
}

void comm_max_i64(struct comm *comm, int64_t *values, int count) {
    note_agreement(comm);
    reduce_i64(comm, values, count, MPI_MAX, "maximum");
}
