/* comm_mpi_watch.c - who has not come.
 *
 * A rank that has waited for a moment tells so to the watchers, up to four ranks spread over all, twice a
 * second for as long as it waits.  Whoever has not told a watcher lately does not wait: it computes, reads,
 * hangs or is stopped, and is what the others wait for.  The first watcher that waits speaks.  Messages are
 * sent in the synchronous mode, and only when the last one was taken: a watcher that does not wait itself is
 * sent one message by each rank, however long that lasts.  Nothing of this happens in waits that are over
 * within a fifth of a second. */
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"
#include "train/ranks/comm_marks.h"
#include "train/ranks/comm_mpi.h"

enum { MAX_WATCHERS = 4, MAX_NAMED = 4, WHAT_ROOM = 40, TAG = 1 };
static const double TELL_OTHERS_S = 0.5; /* between two messages of a rank that waits */
static const double FRESH_S = 3;         /* so long a message counts */
static const double PATIENCE_S = 2;      /* those that do not speak end later */

/* A message: this rank waits. */
struct report {
    char what[WHAT_ROOM];
};

/* What a watcher knows of one rank. */
struct seen {
    double at_s; /* when the last message came; minus infinity: none */
    struct report report;
};

struct watch {
    MPI_Comm channel; /* of its own, so that nothing else takes these messages */
    int watchers[MAX_WATCHERS], num_watchers;
    bool is_watcher;
    struct report out[MAX_WATCHERS];
    MPI_Request sends[MAX_WATCHERS];
    double sent_s;
    struct seen *seen;        /* [num_ranks], of a watcher */
    char (*hosts)[HOST_ROOM]; /* [num_ranks] */
    /* Of the wait that lasts: */
    double looked_s, words_s; /* the last look; after how long the next words are due */
    bool yields;              /* another rank is to speak */
};

/* whole_of - the comm of all ranks, which alone has a watch. */
static struct comm *whole_of(struct comm *comm) {
    while (comm->parent)
        comm = comm->parent;
    return comm;
}

/* Hosts are gathered now: when a rank is to be named it can no longer be asked. */
struct watch *watch_open(struct comm *whole) {
    if (whole->num_ranks == 1)
        return NULL;
    struct watch *watch = xcalloc(1, sizeof *watch);
    MPI_Request request;
    MPI_CHECK(MPI_Comm_idup(whole->world, &watch->channel, &request));
    comm_mpi_wait(whole, &request, "a channel between the ranks");
    MPI_CHECK(MPI_Comm_set_errhandler(watch->channel, MPI_ERRORS_RETURN));
    watch->num_watchers = whole->num_ranks < MAX_WATCHERS ? whole->num_ranks : MAX_WATCHERS;
    for (int w = 0; w < watch->num_watchers; w++) {
        watch->watchers[w] = (int)((int64_t)w * whole->num_ranks / watch->num_watchers);
        watch->is_watcher = watch->is_watcher || watch->watchers[w] == whole->rank;
        watch->sends[w] = MPI_REQUEST_NULL;
    }
    watch->hosts = xcalloc((size_t)whole->num_ranks, sizeof *watch->hosts);
    comm_gather_bytes(whole, whole->host, HOST_ROOM, watch->hosts);
    if (watch->is_watcher)
        watch->seen = xcalloc((size_t)whole->num_ranks, sizeof *watch->seen);
    return watch;
}

bool watch_same_host(const struct comm *comm) {
    const struct comm *whole = comm;
    while (whole->parent)
        whole = whole->parent;
    for (int r = 0; whole->watch && r < comm->num_ranks; r++)
        if (strcmp(whole->watch->hosts[comm->ranks ? comm->ranks[r] : r], whole->host) != 0)
            return false;
    return true;
}

/* take - the messages that are there. */
static void take(struct watch *watch, double now_s) {
    for (int found = 1; found;) {
        MPI_Status status;
        struct report report;
        MPI_CHECK(MPI_Iprobe(MPI_ANY_SOURCE, TAG, watch->channel, &found, &status));
        if (!found)
            return;
        MPI_CHECK(MPI_Recv(&report, sizeof report, MPI_BYTE, status.MPI_SOURCE, TAG, watch->channel,
                           MPI_STATUS_IGNORE));
        if (watch->seen)
            watch->seen[status.MPI_SOURCE] = (struct seen){now_s, report};
    }
}

/* forget - what was told before this wait began may be over. */
static void forget(struct watch *watch, int num_ranks) {
    take(watch, -INFINITY);
    for (int r = 0; watch->seen && r < num_ranks; r++)
        watch->seen[r].at_s = -INFINITY;
}

/* tell - the watchers that this rank waits. */
static void tell(const struct comm *whole, struct watch *watch, const char *what, double now_s) {
    struct report report = {.what = ""};
    snprintf(report.what, sizeof report.what, "%s", what);
    watch->sent_s = now_s;
    for (int w = 0; w < watch->num_watchers; w++) {
        int done = 1;
        if (watch->watchers[w] == whole->rank) {
            watch->seen[whole->rank] = (struct seen){now_s, report};
            continue;
        }
        MPI_CHECK(MPI_Test(&watch->sends[w], &done, MPI_STATUS_IGNORE));
        if (!done)
            continue;
        watch->out[w] = report;
        MPI_CHECK(MPI_Issend(&watch->out[w], sizeof watch->out[w], MPI_BYTE, watch->watchers[w], TAG,
                             watch->channel, &watch->sends[w]));
    }
}

void watch_close(struct comm *whole) {
    struct watch *watch = whole->watch;
    MPI_Request all_done = MPI_REQUEST_NULL;
    bool asked = false;
    if (!watch)
        return;
    /* Nobody waits any more.  When all messages of all ranks have been taken, none is on its way. */
    for (double start = clock_s();;) {
        int done = 0;
        take(watch, 0);
        if (!asked) {
            MPI_CHECK(MPI_Testall(watch->num_watchers, watch->sends, &done, MPI_STATUSES_IGNORE));
            if (done)
                MPI_CHECK(MPI_Ibarrier(watch->channel, &all_done));
            asked = done;
        } else {
            MPI_CHECK(MPI_Test(&all_done, &done, MPI_STATUS_IGNORE));
            if (done)
                break;
        }
        if (clock_s() - start > comm_timeout(whole))
            die("waited %.1f s for the other ranks in 'the last messages', while %s: start again, or raise "
                "%s",
                clock_s() - start, whole->phase.name, whole->phase.key);
        sched_yield();
    }
    free(watch->hosts);
    free(watch->seen);
    free(watch);
    whole->watch = NULL;
}

/* --- words --- */

/* waits - that rank has told so lately. */
static bool waits(const struct watch *watch, int rank, double now_s) {
    return now_s - watch->seen[rank].at_s < FRESH_S;
}

/* speaks - this rank is the first watcher that waits. */
static bool speaks(const struct comm *whole, const struct watch *watch, double now_s) {
    for (int w = 0; watch->is_watcher && w < watch->num_watchers; w++) {
        if (watch->watchers[w] == whole->rank)
            return true;
        if (waits(watch, watch->watchers[w], now_s))
            return false;
    }
    return false;
}

/* A list of ranks under way, in words. */
struct list {
    const struct comm *whole;
    char *text;
    size_t room_bytes, used;
    int count;
};

/* list_add - a rank with its host and what the kernel says of its process; beyond MAX_NAMED it is only counted. */
static void list_add(struct list *list, int rank) {
    char mark[64];
    if (list->count++ >= MAX_NAMED)
        return;
    marks_describe(list->whole->marks, rank, mark, sizeof mark);
    list->used += (size_t)snprintf(list->text + list->used, list->room_bytes - list->used,
                                   "%srank %d (%s%s%s)", list->used ? ", " : "", rank,
                                   list->whole->watch->hosts[rank], mark[0] ? ", " : "", mark);
    if (list->used >= list->room_bytes)
        list->used = list->room_bytes - 1;
}

/* list_end - how many were not named. */
static void list_end(struct list *list) {
    if (list->count > MAX_NAMED)
        snprintf(list->text + list->used, list->room_bytes - list->used, " and %d more",
                 list->count - MAX_NAMED);
}

/* name_elsewhere - all wait: those that wait in something else have not come to what this rank waits in. */
static void name_elsewhere(const struct comm *whole, const char *what, struct list *list) {
    const struct seen *seen = whole->watch->seen;
    char own[WHAT_ROOM];
    snprintf(own, sizeof own, "%s", what);
    for (int r = 0; r < whole->num_ranks; r++) {
        if (strcmp(seen[r].report.what, own) == 0)
            continue;
        list_add(list, r);
        if (list->count <= MAX_NAMED)
            list->used += (size_t)snprintf(list->text + list->used, list->room_bytes - list->used, " in '%s'",
                                           seen[r].report.what);
        if (list->used >= list->room_bytes)
            list->used = list->room_bytes - 1;
    }
}

/* name_missing - the ranks of the group that do not wait; where all do, those of the whole.  Returns whether
 * there are any; otherwise text says where the others wait. */
static bool name_missing(const struct comm *comm, const struct comm *whole, const char *what, char *text) {
    const struct watch *watch = whole->watch;
    struct list list = {whole, text, COMM_WHOM_ROOM, 0, 0};
    snprintf(text, COMM_WHOM_ROOM, "the other ranks");
    if (!watch->is_watcher)
        return true;
    for (int i = 0; comm->ranks && i < comm->num_ranks; i++)
        if (!waits(watch, comm->ranks[i], watch->looked_s))
            list_add(&list, comm->ranks[i]);
    bool of_whole = list.count == 0;
    for (int r = 0; of_whole && r < whole->num_ranks; r++)
        if (!waits(watch, r, watch->looked_s))
            list_add(&list, r);
    bool is_any = list.count > 0;
    if (!is_any)
        name_elsewhere(whole, what, &list);
    if (list.count > 0)
        list_end(&list);
    else
        snprintf(text, COMM_WHOM_ROOM,
                 "the others, which wait for the same: the network, or a fault of the program");
    return is_any;
}

/* begin - a wait that was not seen before. */
static void begin(struct comm *whole, struct watch *watch) {
    watch->words_s = COMM_TELL_S;
    watch->sent_s = -INFINITY;
    forget(watch, whole->num_ranks);
}

/* The first watcher that waits speaks after words_s, which doubles: a wait of an hour is told nine times, not every ten
 * seconds.  At the limit each rank names who is missing as far as it knows; those that are not watchers wait a little
 * longer, so that the line of one that knows comes first. */
bool comm_note_wait(struct comm *comm, const char *what, double waited_s, char *whom) {
    struct comm *whole = whole_of(comm);
    struct watch *watch = whole->watch;
    double now_s = clock_s(), limit_s = whole->phase.limit_s;
    snprintf(whom, COMM_WHOM_ROOM, "the other ranks");
    if (!watch) /* in the start, whose guard knows more and ends it first */
        return waited_s < limit_s + 2 * PATIENCE_S;
    if (watch->looked_s < now_s - waited_s) /* the last look was in another wait */
        begin(whole, watch);
    watch->looked_s = now_s;
    take(watch, now_s);
    if (now_s - watch->sent_s >= TELL_OTHERS_S)
        tell(whole, watch, what, now_s);
    watch->yields = !speaks(whole, watch, now_s);
    if (waited_s >= limit_s) {
        watch->yields = !name_missing(comm, whole, what, whom) || watch->yields;
        return !watch->is_watcher && waited_s < limit_s + PATIENCE_S;
    }
    if (waited_s >= watch->words_s && !watch->yields) {
        name_missing(comm, whole, what, whom);
        warn("waiting for %s in '%s', while %s, for %.0f s now; the limit is %.0f s (%s)", whom, what,
             whole->phase.name, waited_s, limit_s, whole->phase.key);
        watch->words_s = waited_s * 2;
    }
    return true;
}

void comm_tell_wait(struct comm *comm, const char *what, double waited_s) {
    char whom[COMM_WHOM_ROOM];
    const struct comm *whole = whole_of(comm);
    const struct comm_phase *phase = &whole->phase;
    if (comm_note_wait(comm, what, waited_s, whom))
        return;
    /* Another one speaks, or there is no rank to name here, but perhaps for those that wait elsewhere. */
    if (whole->watch && whole->watch->yields && waited_s < phase->limit_s + PATIENCE_S)
        return;
    die("waited %.1f s for %s in '%s', while %s: it ended, hangs, is stopped or is slower; look at its host "
        "and start "
        "again, or raise %s",
        waited_s, whom, what, phase->name, phase->key);
}
