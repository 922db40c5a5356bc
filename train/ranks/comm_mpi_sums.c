/* comm_mpi_sums.c - comm.h on MPI: sums of long arrays, and transfers under way: gathers and reduce-scatters.  Terms are
 * added in the order of the ranks (comm_mpi.c says why). */
#include <stdlib.h>
#include <string.h>

#include "train/ranks/comm_mpi.h"

enum { SMALL_SUM_COUNT = 2048 }; /* up to here every rank adds everything, which saves a message */

/* Tags of the messages of reduce-scatters, one after the other, beyond those of other messages; MPI promises tags up to 32767. */
enum { FIRST_SUM_TAG = 1024, NUM_SUM_TAGS = 16384 };

/* Buffers are kept from one transfer to the next, as a step makes the same ones again and again: no allocation inside it. */
void comm_mpi_release_buffers(struct comm *comm) {
    while (comm->idle) {
        struct transfer_buffers *transfer = comm->idle;
        comm->idle = transfer->next;
        free(transfer->requests);
        free(transfer->terms[0]);
        free(transfer->terms[1]);
        free(transfer);
    }
    free(comm->sum_scratch);
    comm->sum_scratch = NULL;
}

/* Many ranks would cut the same memory into messages of a few kilobytes each. */
int64_t comm_mpi_scratch_bytes(const struct comm *comm) {
    int64_t least = comm->message_bytes * comm->num_ranks;
    return comm->scratch_bytes > least ? comm->scratch_bytes : least;
}

/* --- sums of long arrays --- */

/* add_terms - out[i] = terms of rank 0 + rank 1 + ..., each [count] after the other. */
static void add_terms(enum term_type type, void *out, const void *terms, int num_ranks, int64_t count) {
    size_t row_bytes = terms_bytes(type, count);
    memcpy(out, terms, row_bytes);
    for (int r = 1; r < num_ranks; r++)
        terms_add(type, out, (const char *)terms + (size_t)r * row_bytes, count);
}

/* sum_small - everybody gets everything and adds it. */
static void sum_small(struct comm *comm, float *values, int count) {
    comm_mpi_gather(comm, values, count * (int)sizeof(float), comm->sum_scratch, "sum");
    add_terms(TERMS_F32, values, comm->sum_scratch, comm->num_ranks, count);
}

/* sum_piece_shared - the same through memory that the ranks share. */
static void sum_piece_shared(struct comm *comm, float *values, int part) {
    size_t part_bytes = (size_t)part * sizeof *values;
    float *own = values + (int64_t)comm->rank * part;
    struct shared_transfer sum = {.kind = SHARED_SUM, .out = own, .in = values, .shard_bytes = part_bytes};
    shared_start(comm->shared, &sum);
    shared_wait(comm->shared, &sum, "sum");
    shared_gather(comm->shared, own, part_bytes, values, "sum");
}

/* sum_piece - num_ranks * part values: rank r adds part r, then the sums go round. */
static void sum_piece(struct comm *comm, float *values, int part) {
    MPI_Request request;
    float *terms = comm->sum_scratch;
    if (comm->shared) {
        sum_piece_shared(comm, values, part);
        return;
    }
    MPI_CHECK(MPI_Ialltoall(values, part, MPI_FLOAT, terms, part, MPI_FLOAT, comm->world, &request));
    comm_mpi_wait(comm, &request, "sum");
    add_terms(TERMS_F32, values + (int64_t)comm->rank * part, terms, comm->num_ranks, part);
    MPI_CHECK(
        MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, part, MPI_FLOAT, comm->world, &request));
    comm_mpi_wait(comm, &request, "sum");
}

/* sum_padded - of fewer values than a piece: those that do not divide by the ranks are made up with zeros. */
static void sum_padded(struct comm *comm, float *values, int count) {
    int part = (count + comm->num_ranks - 1) / comm->num_ranks, padded = part * comm->num_ranks;
    if (padded == count) {
        sum_piece(comm, values, part);
        return;
    }
    float *copy = comm->sum_scratch + padded; /* after the terms */
    memcpy(copy, values, (size_t)count * sizeof *copy);
    memset(copy + count, 0, (size_t)(padded - count) * sizeof *copy);
    sum_piece(comm, copy, part);
    memcpy(values, copy, (size_t)count * sizeof *copy);
}

/* In pieces that fit the scratch memory, two exchanges each, and one exchange where all of it is small: their number does not
 * grow with the ranks.  Which way an element goes depends on its place alone, and all give it the same bits. */
void comm_sum_f32(struct comm *comm, float *values, int64_t count) {
    if (comm->num_ranks == 1)
        return;
    int64_t piece = comm_mpi_scratch_bytes(comm) / (int64_t)sizeof(float);
    piece -= piece % comm->num_ranks;
    if (piece < SMALL_SUM_COUNT * (int64_t)comm->num_ranks)
        piece = SMALL_SUM_COUNT * (int64_t)comm->num_ranks;
    if (!comm->sum_scratch)
        comm->sum_scratch = xmalloc((size_t)piece * 2 * sizeof(float));
    for (int64_t at = 0; at < count; at += piece) {
        int64_t left = count - at;
        if (left <= SMALL_SUM_COUNT)
            sum_small(comm, values + at, (int)left);
        else
            sum_padded(comm, values + at, (int)(left < piece ? left : piece));
    }
}

/* --- transfers under way --- */

/* From the idle ones where there is one. */
struct transfer_buffers *comm_mpi_transfer(struct comm *comm, int num_requests) {
    struct transfer_buffers *transfer = comm->idle;
    if (transfer)
        comm->idle = transfer->next;
    else
        transfer = xcalloc(1, sizeof *transfer);
    if (transfer->room < num_requests) {
        transfer->room = num_requests;
        transfer->requests = xrealloc(transfer->requests, (size_t)num_requests * sizeof *transfer->requests);
    }
    transfer->num_requests = num_requests;
    transfer->kind = TRANSFER_MESSAGES;
    transfer->is_moving = false;
    return transfer;
}

/* whole_of - the comm whose list has the transfers of all its groups. */
static struct comm *whole_of(struct comm *comm) {
    while (comm->parent)
        comm = comm->parent;
    return comm;
}

void comm_mpi_begin(struct comm *comm, struct transfer_buffers *transfer) {
    struct comm *whole = whole_of(comm);
    transfer->comm = comm;
    transfer->is_moving = true;
    transfer->next = whole->moving;
    whole->moving = transfer;
}

/* end_moving - it is over, or somebody waits for it: out of the list. */
static void end_moving(struct transfer_buffers *transfer) {
    struct transfer_buffers **place = &whole_of(transfer->comm)->moving;
    while (*place != transfer)
        place = &(*place)->next;
    *place = transfer->next;
    transfer->is_moving = false;
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

/* start_shared - a transfer through memory that the ranks share. */
static void start_shared(struct comm *comm, const struct shared_transfer *wanted, const char *what,
                         struct comm_request *request) {
    struct transfer_buffers *transfer = comm_mpi_transfer(comm, 0);
    transfer->kind = TRANSFER_SHARED;
    transfer->shared = *wanted;
    shared_start(comm->shared, &transfer->shared);
    *request = (struct comm_request){transfer, what};
}

/* A piece is the same stretch of every rank's shard: strided blocks, so that each lands in its place and nothing is copied
 * afterwards. */
void comm_all_gather_start(struct comm *comm, void *full, const void *shard, size_t shard_bytes,
                           struct comm_request *request) {
    CHECK(!request->handle, "a transfer was started on a request that is in use for '%s'", request->what);
    char *mine = (char *)full + (size_t)comm->rank * shard_bytes;
    if (comm->num_ranks == 1) {
        if (mine != (const char *)shard)
            memmove(mine, shard, shard_bytes);
        return;
    }
    if (comm->shared) {
        start_shared(comm,
                     &(struct shared_transfer){
                         .kind = SHARED_GATHER, .out = full, .in = shard, .shard_bytes = shard_bytes},
                     "all-gather", request);
        return;
    }
    int num_pieces = (int)((shard_bytes + (size_t)comm->piece_bytes - 1) / (size_t)comm->piece_bytes);
    struct transfer_buffers *transfer = comm_mpi_transfer(comm, num_pieces);
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
    comm_mpi_begin(comm, transfer);
    *request = (struct comm_request){transfer, "all-gather"};
}

/* num_of_half - requests of one half of the terms. */
static int num_of_half(const struct comm *comm) {
    return 2 * (comm->num_ranks - 1);
}

static MPI_Request *requests_of(const struct comm *comm, const struct transfer_buffers *transfer, int half) {
    return transfer->requests + half * num_of_half(comm);
}

/* post_piece - exchange the next piece of the terms into one half.  Messages between two ranks each, with the sum's own tag, and not a
 * collective: when a piece sets out depends on how far this rank is, and collectives have to begin in the same order on all ranks. */
static void post_piece(struct comm *comm, struct transfer_buffers *transfer, int half) {
    int64_t left = transfer->shard_count - transfer->num_started;
    int64_t n = left < transfer->piece_count ? left : transfer->piece_count;
    MPI_Request *requests = requests_of(comm, transfer, half);
    const enum term_type type = transfer->type;
    MPI_Datatype value = type == TERMS_I64 ? MPI_INT64_T : MPI_FLOAT;
    size_t shard_bytes = terms_bytes(type, transfer->shard_count), row_bytes = terms_bytes(type, n);
    char *terms = transfer->terms[half];
    const char *parts =
        transfer->full + terms_bytes(type, transfer->num_started); /* one for each rank, a shard apart */
    for (int i = 0; i < num_of_half(comm); i++)
        requests[i] = MPI_REQUEST_NULL;
    if (n <= 0)
        return;
    for (int d = 1; d < comm->num_ranks; d++) {
        int to = (comm->rank + d) % comm->num_ranks,
            from = (comm->rank + comm->num_ranks - d) % comm->num_ranks;
        MPI_CHECK(MPI_Irecv(terms + (size_t)from * row_bytes, (int)n, value, from, transfer->tag, comm->world,
                            requests++));
        MPI_CHECK(MPI_Isend(parts + (size_t)to * shard_bytes, (int)n, value, to, transfer->tag, comm->world,
                            requests++));
    }
    memcpy(terms + (size_t)comm->rank * row_bytes, parts + (size_t)comm->rank * shard_bytes, row_bytes);
    transfer->num_started += n;
}

/* piece_elements - of the shard in one piece of a sum. */
static int64_t piece_elements(const struct comm *comm, enum term_type type) {
    int64_t count = comm_mpi_scratch_bytes(comm) / (int64_t)terms_bytes(type, 1) / comm->num_ranks;
    return count > 0 ? count : 1;
}

/* half_bytes - of terms of either type. */
static size_t half_bytes(const struct comm *comm) {
    size_t least = terms_bytes(TERMS_I64, comm->num_ranks), scratch = (size_t)comm_mpi_scratch_bytes(comm);
    return scratch > least ? scratch : least;
}

/* start_messages - two halves take turns: while the terms of one piece are added, those of the next are on their way. */
static void start_messages(struct comm *comm, const struct shared_transfer *sum, int64_t shard_count,
                           struct comm_request *request) {
    struct transfer_buffers *transfer = comm_mpi_transfer(comm, 2 * num_of_half(comm));
    transfer->kind = TRANSFER_SUM;
    transfer->tag = FIRST_SUM_TAG + (int)(comm->num_sums++ % NUM_SUM_TAGS);
    transfer->type = sum->type;
    transfer->shard = sum->out;
    transfer->full = sum->in;
    transfer->shard_count = shard_count;
    transfer->num_started = transfer->num_done = 0;
    transfer->piece_count = piece_elements(comm, sum->type);
    for (int half = 0; half < 2; half++) {
        if (!transfer->terms[half])
            transfer->terms[half] = xmalloc(half_bytes(comm));
        post_piece(comm, transfer, half);
    }
    transfer->half = 0;
    comm_mpi_begin(comm, transfer);
    *request = (struct comm_request){transfer, "reduce-scatter"};
}

void comm_reduce_scatter_terms_start(struct comm *comm, enum term_type type, void *shard, const void *full,
                                     int64_t shard_count, struct comm_request *request) {
    const struct shared_transfer sum = {.kind = SHARED_SUM,
                                        .type = type,
                                        .out = shard,
                                        .in = full,
                                        .shard_bytes = terms_bytes(type, shard_count)};
    CHECK(!request->handle, "a transfer was started on a request that is in use for '%s'", request->what);
    if (comm->num_ranks == 1 && shard != full)
        memmove(shard, full, sum.shard_bytes);
    else if (comm->num_ranks > 1 && comm->shared)
        start_shared(comm, &sum, "reduce-scatter", request);
    else if (comm->num_ranks > 1)
        start_messages(comm, &sum, shard_count, request);
}

void comm_reduce_scatter_start(struct comm *comm, float *shard, const float *full, int64_t shard_count,
                               struct comm_request *request) {
    comm_reduce_scatter_terms_start(comm, TERMS_F32, shard, full, shard_count, request);
}

/* take_piece - the terms of the sum's next piece are here: they are added, and one more piece sets out in their place. */
static void take_piece(struct comm *comm, struct transfer_buffers *transfer) {
    int64_t left = transfer->shard_count - transfer->num_done;
    int64_t n = left < transfer->piece_count ? left : transfer->piece_count;
    add_terms(transfer->type, transfer->shard + terms_bytes(transfer->type, transfer->num_done),
              transfer->terms[transfer->half], comm->num_ranks, n);
    transfer->num_done += n;
    post_piece(comm, transfer, transfer->half);
    transfer->half = !transfer->half;
}

static void finish_sum(struct comm *comm, struct transfer_buffers *transfer, const char *what) {
    while (transfer->num_done < transfer->shard_count) {
        MPI_Request *requests = requests_of(comm, transfer, transfer->half);
        for (int i = 0; i < num_of_half(comm); i++)
            comm_mpi_wait(comm, &requests[i], what);
        take_piece(comm, transfer);
    }
}

/* move - what can be done for a transfer without waiting; true when it is over. */
static bool move(struct transfer_buffers *transfer) {
    int done = 1;
    if (transfer->kind == TRANSFER_MESSAGES)
        MPI_CHECK(MPI_Testall(transfer->num_requests, transfer->requests, &done, MPI_STATUSES_IGNORE));
    while (transfer->kind == TRANSFER_SUM && transfer->num_done < transfer->shard_count && done) {
        struct comm *comm = transfer->comm;
        MPI_Request *requests = requests_of(comm, transfer, transfer->half);
        MPI_CHECK(MPI_Testall(num_of_half(comm), requests, &done, MPI_STATUSES_IGNORE));
        if (done)
            take_piece(comm, transfer);
    }
    return done;
}

bool comm_has_messages(const struct comm *comm) {
    return comm->num_ranks > 1 && !comm->shared;
}

bool comm_can_be_lent(void) {
    int level = MPI_THREAD_SINGLE;
    MPI_CHECK(MPI_Query_thread(&level));
    return level >= MPI_THREAD_SERIALIZED;
}

bool comm_move(struct comm *comm) {
    struct comm *whole = whole_of(comm);
    for (struct transfer_buffers *transfer = whole->moving, *next; transfer; transfer = next) {
        next = transfer->next;
        if (move(transfer))
            end_moving(transfer);
    }
    return whole->moving;
}

bool comm_is_moving(const struct comm *comm) {
    while (comm->parent)
        comm = comm->parent;
    return comm->moving;
}

void comm_wait(struct comm *comm, struct comm_request *request) {
    struct transfer_buffers *transfer = request->handle;
    if (!transfer)
        return;
    if (transfer->is_moving)
        end_moving(transfer);
    if (transfer->kind == TRANSFER_SHARED)
        shared_wait(comm->shared, &transfer->shared, request->what);
    else if (transfer->kind == TRANSFER_SUM)
        finish_sum(comm, transfer, request->what);
    for (int p = 0; transfer->kind == TRANSFER_MESSAGES && p < transfer->num_requests; p++)
        comm_mpi_wait(comm, &transfer->requests[p], request->what);
    transfer->next = comm->idle;
    comm->idle = transfer;
    *request = (struct comm_request){NULL, NULL};
}
