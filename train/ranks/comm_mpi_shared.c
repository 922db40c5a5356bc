/* comm_mpi_shared.c - memory that the ranks of a host share.
 *
 * Every rank has a few places of PIECE_BYTES in it.  A transfer is cut into pieces; piece k of every rank lies in its place
 * k % NUM_PLACES, and two counters of that number say how many ranks have written it, and how many have read what they
 * need of it.  Who comes last wakes those that sleep: a rank that waits takes no processor time from those that compute,
 * and is woken once for each piece, not once for each of its partners.  Nothing here has a name in a file system: whatever
 * kills the ranks, the memory goes with them. */
#include "train/ranks/comm_mpi_shared.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "kernels/units.h"
#include "train/ranks/comm_mpi.h"

enum {
    NUM_PLACES = 8,          /* of each rank: so many pieces ahead of the slowest reader */
    PIECE_BYTES = 128 * KIB, /* all of them stay in the processor's caches */
    LINE_BYTES = 64,
    SUM_BYTES = 4096, /* of values that are added at once: sums stay in the first cache */
};

/* Of the pieces in one place, counted from the start and modulo 2^32: piece k is complete when the counter is num_ranks *
 * (k / NUM_PLACES + 1), and no counter is further before all have seen it. */
struct place {
    _Alignas(LINE_BYTES) atomic_uint written;
    _Alignas(LINE_BYTES) atomic_uint read;
};

/* What lies at the beginning of the memory; the labels follow, place by place those of all ranks, then the ranks' places. */
struct head {
    _Alignas(LINE_BYTES) uint64_t token; /* drawn by the first rank: this is its memory */
    struct place places[NUM_PLACES];
};

/* What belongs to a piece: all ranks must mean the same.  Those of a piece are read by all, and lie in few lines. */
struct label {
    uint64_t shard_bytes;
    uint32_t kind, type; /* enum shared_kind, enum term_type */
};

/* A line more than a piece: the same values of all ranks are not in the same few sets of a cache. */
enum { PLACE_BYTES = PIECE_BYTES + LINE_BYTES };

struct shared {
    struct comm *comm; /* borrowed */
    int rank, num_ranks;
    bool spins; /* every rank has a processor of its own */
    size_t size_bytes;
    struct head *head;
    struct label *labels;                        /* [NUM_PLACES, num_ranks] */
    char *data;                                  /* [NUM_PLACES, num_ranks, PLACE_BYTES] */
    uint64_t num_started, num_written, num_read; /* pieces of this rank */
    struct shared_transfer *oldest, *newest;     /* under way */
};

/* --- start and end --- */

/* What the first rank tells of its memory. */
struct offer {
    int64_t process, file; /* file: -1, it has none */
    uint64_t token;
};

/* labels_bytes - of all places: whole lines. */
static size_t labels_bytes(int num_ranks) {
    _Static_assert(NUM_PLACES * sizeof(struct label) % LINE_BYTES == 0, "the places begin at a line");
    return NUM_PLACES * sizeof(struct label) * (size_t)num_ranks;
}

/* map - the memory of an open file. */
static int map(struct shared *shared, int file) {
    void *memory = mmap(NULL, shared->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
        return -1;
    shared->head = memory;
    shared->labels = (struct label *)(shared->head + 1);
    shared->data = (char *)shared->labels + labels_bytes(shared->num_ranks);
    return 0;
}

/* make - the first rank's part; the file stays open until all have it. */
static struct offer make(struct shared *shared) {
    struct offer offer = {getpid(), memfd_create("atelier-ranks", MFD_CLOEXEC), 0};
    if (offer.file < 0)
        return offer;
    if (ftruncate((int)offer.file, (off_t)shared->size_bytes) != 0 || map(shared, (int)offer.file) < 0 ||
        getrandom(&offer.token, sizeof offer.token, 0) != sizeof offer.token) {
        close((int)offer.file);
        offer.file = -1;
        return offer;
    }
    shared->head->token = offer.token;
    return offer;
}

/* take - the other ranks' part.  Where a process of the same number is another one, the token differs. */
static int take(struct shared *shared, const struct offer *offer) {
    char path[64];
    struct stat facts;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)offer->process, (long long)offer->file);
    int file = offer->file < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK), status = -1;
    if (file < 0)
        return -1;
    if (fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size == (off_t)shared->size_bytes)
        status = map(shared, file);
    close(file);
    return status == 0 && shared->head->token == offer->token ? 0 : -1;
}

size_t shared_bytes(int num_ranks) {
    if (num_ranks == 1 || PIECE_BYTES / num_ranks < LINE_BYTES)
        return 0;
    return sizeof(struct head) + labels_bytes(num_ranks) +
           (size_t)NUM_PLACES * (size_t)num_ranks * PLACE_BYTES;
}

struct shared *shared_open(struct comm *comm) {
    if (shared_bytes(comm->num_ranks) == 0 || !watch_same_host(comm))
        return NULL;
    struct shared *shared = xcalloc(1, sizeof *shared);
    shared->comm = comm;
    shared->rank = comm->rank;
    shared->num_ranks = comm->num_ranks;
    shared->spins = comm->num_local_ranks <= sysconf(_SC_NPROCESSORS_ONLN);
    shared->size_bytes = shared_bytes(comm->num_ranks);
    struct offer offer = {0, -1, 0};
    if (comm->rank == 0)
        offer = make(shared);
    comm_broadcast(comm, &offer, sizeof offer);
    int64_t num_failed = comm->rank == 0 ? offer.file < 0 : take(shared, &offer) < 0;
    comm_sum_i64(comm, &num_failed, 1);
    if (comm->rank == 0 && offer.file >= 0)
        close((int)offer.file);
    if (num_failed == 0)
        return shared;
    shared_close(shared);
    return NULL;
}

void shared_close(struct shared *shared) {
    if (!shared)
        return;
    CHECK(!shared->oldest, "a transfer of a group of ranks that is given up is under way");
    if (shared->head)
        munmap(shared->head, shared->size_bytes);
    free(shared);
}

/* --- waiting --- */

/* reach - this rank is one more; true for the last one, who is to wake the others. */
static bool reach(atomic_uint *counter, unsigned all) {
    return atomic_fetch_add(counter, 1) + 1 == all;
}

static void wake(atomic_uint *counter) {
    syscall(SYS_futex, counter, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* sleep_on - until the counter has moved and somebody woke, or the time is over: returns whether it is. */
static bool sleep_on(atomic_uint *counter, unsigned seen, long longest_ns) {
    struct timespec longest = {0, longest_ns};
    return syscall(SYS_futex, counter, FUTEX_WAIT, seen, &longest, NULL, 0) != 0 && errno == ETIMEDOUT;
}

/* wait_for - until the counter is there.  MPI gets to move what is under way in messages whenever a sleep lasted too long, at least a
 * hundred times a second, as others may wait for those of this rank; sooner where it has some of its own: where there are none, to wake
 * up for them costs more than the exchange. */
static void wait_for(struct shared *shared, atomic_uint *counter, unsigned wanted, const char *what) {
    enum { SOON_NS = 500000, AT_LAST_NS = 10000000 };
    const double spin_s = 50e-6;
    struct patience patience = {.what = what};
    long longest_ns = comm_is_moving(shared->comm) ? SOON_NS : AT_LAST_NS;
    for (unsigned seen; (seen = atomic_load(counter)) != wanted;) {
        comm_mpi_look(shared->comm, &patience);
        if (shared->spins && patience.waited_s < spin_s) {
            sched_yield();
            continue;
        }
        if (sleep_on(counter, seen, longest_ns))
            comm_poll(shared->comm);
        longest_ns = 2 * longest_ns < AT_LAST_NS ? 2 * longest_ns : AT_LAST_NS;
    }
}

/* --- pieces --- */

/* number_of - which of all places rank r's piece k has. */
static size_t number_of(const struct shared *shared, uint64_t k, int r) {
    return (size_t)(k % NUM_PLACES) * (size_t)shared->num_ranks + (size_t)r;
}

static struct label *label_of(const struct shared *shared, uint64_t k, int r) {
    return &shared->labels[number_of(shared, k, r)];
}

static char *place_of(const struct shared *shared, uint64_t k, int r) {
    return shared->data + number_of(shared, k, r) * PLACE_BYTES;
}

/* complete - what a counter is at when all ranks have done with piece k. */
static unsigned complete(const struct shared *shared, uint64_t k) {
    return (unsigned)((k / NUM_PLACES + 1) * (uint64_t)shared->num_ranks);
}

/* One piece of a transfer: where in a rank's part it begins, and how long it is there. */
struct piece {
    size_t at, size_bytes;
};

static struct piece piece_of(const struct shared_transfer *transfer, uint64_t k) {
    size_t at = (size_t)(k - transfer->first) * transfer->piece_bytes, left = transfer->shard_bytes - at;
    return (struct piece){at, left < transfer->piece_bytes ? left : transfer->piece_bytes};
}

/* Values of a piece. */
struct span {
    size_t at, size_bytes;
};

/* write_piece - what the others need of this rank: its shard, or its terms of their parts.  Returns whether all have written theirs. */
static bool write_piece(struct shared *shared, const struct shared_transfer *transfer, uint64_t k) {
    struct piece piece = piece_of(transfer, k);
    char *place = place_of(shared, k, shared->rank);
    *label_of(shared, k, shared->rank) =
        (struct label){transfer->shard_bytes, transfer->kind, transfer->type};
    const char *in = (const char *)transfer->in + piece.at;
    if (transfer->kind == SHARED_GATHER && piece.size_bytes > 0)
        memcpy(place, in, piece.size_bytes);
    for (int r = 0; transfer->kind == SHARED_SUM && r < shared->num_ranks; r++)
        if (r != shared->rank)
            memcpy(place + (size_t)r * piece.size_bytes, in + (size_t)r * transfer->shard_bytes,
                   piece.size_bytes);
    return reach(&shared->head->places[k % NUM_PLACES].written, complete(shared, k));
}

/* check_labels - a mistake of the program, which would end in wrong numbers. */
static void check_labels(const struct shared *shared, const struct shared_transfer *transfer, uint64_t k,
                         const char *what) {
    for (int r = 0; r < shared->num_ranks; r++) {
        const struct label *label = label_of(shared, k, r);
        CHECK(label->shard_bytes == transfer->shard_bytes && label->kind == transfer->kind &&
                  label->type == transfer->type,
              "rank %d of %d brings %llu bytes to the %s where this rank brings %zu", r, shared->num_ranks,
              (unsigned long long)label->shard_bytes, what, transfer->shard_bytes);
    }
}

/* gather_piece - from all, beginning with the next rank, so that not all read the same one. */
static void gather_piece(const struct shared *shared, const struct shared_transfer *transfer, uint64_t k) {
    struct piece piece = piece_of(transfer, k);
    char *own = (char *)transfer->out + (size_t)shared->rank * transfer->shard_bytes + piece.at;
    if (piece.size_bytes == 0)
        return;
    if (own != (const char *)transfer->in + piece.at)
        memmove(own, (const char *)transfer->in + piece.at, piece.size_bytes);
    for (int i = 1; i < shared->num_ranks; i++) {
        int r = (shared->rank + i) % shared->num_ranks;
        memcpy((char *)transfer->out + (size_t)r * transfer->shard_bytes + piece.at, place_of(shared, k, r),
               piece.size_bytes);
    }
}

/* terms_of - rank r's terms of this rank's part of the piece: this rank's own never left its buffer. */
static const char *terms_of(const struct shared *shared, const struct shared_transfer *transfer, uint64_t k,
                            int r) {
    struct piece piece = piece_of(transfer, k);
    if (r == shared->rank)
        return (const char *)transfer->in + (size_t)r * transfer->shard_bytes + piece.at;
    return place_of(shared, k, r) + (size_t)shared->rank * piece.size_bytes;
}

/* add_ranks - a span of the piece, of all ranks but the first, in their order. */
static void add_ranks(const struct shared *shared, const struct shared_transfer *transfer, uint64_t k,
                      void *sums, struct span span) {
    int64_t count = (int64_t)(span.size_bytes / terms_bytes(transfer->type, 1));
    int r = 1;
    for (; r + TERMS_GROUP <= shared->num_ranks; r += TERMS_GROUP) {
        const void *group[TERMS_GROUP];
        for (int g = 0; g < TERMS_GROUP; g++)
            group[g] = terms_of(shared, transfer, k, r + g) + span.at;
        terms_add_group(transfer->type, sums, group, count);
    }
    for (; r < shared->num_ranks; r++)
        terms_add(transfer->type, sums, terms_of(shared, transfer, k, r) + span.at, count);
}

/* sum_piece - in the order of the ranks.  Into values of its own first, as the sums may go where this rank's terms are. */
static void sum_piece(const struct shared *shared, const struct shared_transfer *transfer, uint64_t k) {
    struct piece piece = piece_of(transfer, k);
    char *out = (char *)transfer->out + piece.at;
    _Alignas(LINE_BYTES) char sums[SUM_BYTES];
    for (size_t at = 0; at < piece.size_bytes; at += SUM_BYTES) {
        size_t n = piece.size_bytes - at < SUM_BYTES ? piece.size_bytes - at : SUM_BYTES;
        memcpy(sums, terms_of(shared, transfer, k, 0) + at, n);
        add_ranks(shared, transfer, k, sums, (struct span){at, n});
        memcpy(out + at, sums, n);
    }
}

/* transfer_of - the one under way that piece k belongs to. */
static struct shared_transfer *transfer_of(const struct shared *shared, uint64_t k) {
    struct shared_transfer *transfer = shared->oldest;
    while (k >= transfer->end)
        transfer = transfer->next;
    return transfer;
}

/* write_ahead - as many pieces as there are places for that all have read.  Where ranks share processors the others are woken when
 * all of them are written: woken for each, they would take the processor from this rank, read one piece, and sleep again. */
static void write_ahead(struct shared *shared) {
    bool are_complete[NUM_PLACES] = {false};
    for (; shared->num_written < shared->num_started; shared->num_written++) {
        uint64_t k = shared->num_written;
        struct place *place = &shared->head->places[k % NUM_PLACES];
        if (k >= NUM_PLACES && atomic_load(&place->read) != complete(shared, k - NUM_PLACES))
            break;
        bool is_last = write_piece(shared, transfer_of(shared, k), k);
        if (is_last && shared->spins)
            wake(&place->written);
        are_complete[k % NUM_PLACES] |= is_last && !shared->spins;
    }
    for (int p = 0; p < NUM_PLACES; p++)
        if (are_complete[p])
            wake(&shared->head->places[p].written);
}

/* step - reads the next piece of this rank. */
static void step(struct shared *shared, const char *what) {
    uint64_t k = shared->num_read;
    struct place *place = &shared->head->places[k % NUM_PLACES];
    struct shared_transfer *transfer = shared->oldest;
    if (shared->num_written == k) /* its place was not free: some rank still reads what was there before */
        wait_for(shared, &place->read, complete(shared, k - NUM_PLACES), what);
    write_ahead(shared);
    wait_for(shared, &place->written, complete(shared, k), what);
    check_labels(shared, transfer, k, what);
    if (transfer->kind == SHARED_GATHER)
        gather_piece(shared, transfer, k);
    else
        sum_piece(shared, transfer, k);
    if (reach(&place->read, complete(shared, k)))
        wake(&place->read);
    if (++shared->num_read == transfer->end)
        shared->oldest = transfer->next;
    write_ahead(shared);
}

/* --- transfers --- */

/* A gather of nothing is a piece of nothing: for barriers. */
void shared_start(struct shared *shared, struct shared_transfer *transfer) {
    size_t parts = transfer->kind == SHARED_SUM ? (size_t)shared->num_ranks : 1;
    size_t room_bytes =
        (size_t)shared->comm->scratch_bytes < PIECE_BYTES ? (size_t)shared->comm->scratch_bytes : PIECE_BYTES;
    size_t value_bytes = terms_bytes(transfer->type, 1);
    transfer->piece_bytes = room_bytes / parts / value_bytes * value_bytes;
    CHECK(transfer->piece_bytes > 0, "%zu bytes for a piece of %d ranks", room_bytes, shared->num_ranks);
    uint64_t num_pieces = (transfer->shard_bytes + transfer->piece_bytes - 1) / transfer->piece_bytes;
    transfer->first = shared->num_started;
    transfer->end = shared->num_started += num_pieces > 0 ? num_pieces : 1;
    transfer->next = NULL;
    if (!shared->oldest)
        shared->oldest = transfer;
    else
        shared->newest->next = transfer;
    shared->newest = transfer;
    write_ahead(shared);
}

void shared_wait(struct shared *shared, struct shared_transfer *transfer, const char *what) {
    while (shared->num_read < transfer->end)
        step(shared, what);
}

void shared_gather(struct shared *shared, const void *mine, size_t size_bytes, void *all, const char *what) {
    struct shared_transfer transfer = {
        .kind = SHARED_GATHER, .out = all, .in = mine, .shard_bytes = size_bytes};
    shared_start(shared, &transfer);
    shared_wait(shared, &transfer, what);
}
