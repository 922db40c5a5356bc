/* nccl.cpp - a stand-in for NCCL: the ranks are MPI processes, collectives are work on the streams of the
 * runtime stand-in.  It is as unkind as the interface allows, so that code which relies on more is found:
 *   - a call returns ncclInProgress, and nothing reaches the stream until ncclCommGetAsyncError has been
 * asked twice;
 *   - the output is NaN from the start of a collective to its end;
 *   - every other collective reads its input at its start; the others dawdle, and read it late;
 *   - ranks that call different collectives on one communicator get an error that names both, instead of a
 * hang;
 *   - a send lasts until its receive has been called: two ranks that send to each other one after the other hang,
 * as they may with NCCL; sends and receives of one group begin together, and one whose size is not its
 * partner's is an error that names both.
 * Each communicator has its own copy of MPI's: streams may run in any order, collectives of one
 * communicator in the order of the calls.  Sums are added in the order of the ranks.
 *
 * SIMT_NCCL_FAULT=rank:what:n, at the n-th collective that this rank calls (from 1; 0: the first
 * communicator): absent  the rank goes to sleep for good      stuck  the rank goes on, but its GPU never
 * begins killed  the rank ends without a word         error  the communicator reports an error
 *
 * MPI_Test is wrapped: a rank that waits for a message moves its streams, as a GPU would by itself. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nccl_simt.h"
#include "runtime.h"

extern "C" int MPI_Test(MPI_Request *request, int *flag, MPI_Status *status) {
    simt_progress();
    return PMPI_Test(request, flag, status);
}

namespace {

enum {
    QUESTIONS = 2, /* how often a caller must ask before a call takes effect */
};

int world_rank() {
    int rank = 0;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

} // namespace

namespace {

/* --- faults --- */

struct fault {
    int rank = -1;
    char what[16] = "";
    long number = -1;
};

/* fault_here - the fault that SIMT_NCCL_FAULT plants at this call of this rank; NULL: none. */
const char *fault_here(long number) {
    static const fault planted = [] {
        fault f;
        const char *text = getenv("SIMT_NCCL_FAULT");
        if (text && *text && sscanf(text, "%d:%15[a-z]:%ld", &f.rank, f.what, &f.number) != 3) {
            fprintf(stderr, "simt: SIMT_NCCL_FAULT is '%s', expected rank:what:n\n", text);
            abort();
        }
        return f;
    }();
    return number == planted.number && world_rank() == planted.rank ? planted.what : nullptr;
}

bool is(const char *what, const char *name) {
    return what && strcmp(what, name) == 0;
}

/* suffer - the faults that end a rank. */
void suffer(const char *what) {
    if (is(what, "killed"))
        raise(SIGKILL);
    while (is(what, "absent"))
        pause();
}

} // namespace

void nccl_report(ncclComm_t comm, ncclResult_t result, const char *text) {
    comm->result = result;
    snprintf(comm->last_error, sizeof comm->last_error, "%s", text);
}

namespace {

/* --- collectives --- */

bool arrived(MPI_Request *request) {
    int done = 0;
    PMPI_Test(request, &done, MPI_STATUS_IGNORE);
    return done;
}

/* agree - do all ranks mean the same collective? */
bool agree(collective &c) {
    for (int r = 0; r < c.comm->num_ranks; r++) {
        const header &one = c.headers[r], &mine = c.mine;
        char text[256];
        if (one.count == mine.count && one.type == mine.type && one.place == mine.place &&
            strcmp(one.what, mine.what) == 0)
            continue;
        snprintf(text, sizeof text,
                 "simt: collective %lld: this rank calls %s of %lld, rank %d calls %s of %lld",
                 (long long)mine.number, mine.what, (long long)mine.count, r, one.what, (long long)one.count);
        if (one.place != mine.place)
            snprintf(text, sizeof text,
                     "simt: collective %lld: received at %lld of a window, by rank %d at %lld",
                     (long long)mine.number, (long long)mine.place, r, (long long)one.place);
        nccl_report(c.comm, ncclInvalidUsage, text);
        return false;
    }
    return true;
}

void read_input(collective &c) {
    c.sent.assign(c.from, c.from + c.from_bytes);
}

void send_blocks(collective &c) {
    if (c.sent.empty())
        read_input(c);
    c.received.resize(c.block_bytes * c.comm->num_ranks);
    int n = (int)c.block_bytes;
    if (c.exchanges)
        PMPI_Ialltoall(c.sent.data(), n, MPI_BYTE, c.received.data(), n, MPI_BYTE, c.comm->mpi, &c.request);
    else
        PMPI_Iallgather(c.sent.data(), n, MPI_BYTE, c.received.data(), n, MPI_BYTE, c.comm->mpi, &c.request);
}

/* write_sums - of terms of that type. */
template <typename value> void write_sums(collective &c) {
    const value *terms = (const value *)c.received.data();
    size_t count = c.block_bytes / sizeof(value);
    std::vector<value> sums(terms, terms + count);
    for (int r = 1; r < c.comm->num_ranks; r++)
        for (size_t i = 0; i < count; i++)
            sums[i] += terms[r * count + i];
    memcpy(c.to, sums.data(), c.block_bytes);
}

void write_output(collective &c) {
    if (!c.sums)
        memcpy(c.to, c.received.data(), c.received.size());
    else if (c.type == ncclInt64)
        write_sums<uint64_t>(c);
    else
        write_sums<float>(c);
}

/* poll - move one collective; called in stream order until true. */
bool poll(collective &c) {
    if (c.comm->aborted)
        return true;
    if (!c.messages.empty())
        return nccl_poll_messages(c);
    if (c.stuck || (c.request != MPI_REQUEST_NULL && !arrived(&c.request)))
        return false;
    switch (c.state) {
    case 0:
        if (c.mine.number % 2 || c.in_place)
            read_input(c);
        if (!c.in_place)
            memset(c.to, 0xff, c.sums ? c.block_bytes : c.block_bytes * c.comm->num_ranks);
        c.headers.resize(c.comm->num_ranks);
        PMPI_Iallgather(&c.mine, sizeof c.mine, MPI_BYTE, c.headers.data(), sizeof c.mine, MPI_BYTE,
                        c.comm->mpi, &c.request);
        c.state = 1;
        return false;
    case 1:
        if (!agree(c)) {
            c.stuck = true; /* as the kernels would be */
            return false;
        }
        if (c.sent.empty() && c.dawdled++ < DAWDLE)
            return false;
        send_blocks(c);
        c.state = 2;
        return false;
    default:
        write_output(c);
        c.comm->num_running--;
        return true;
    }
}

} // namespace

ncclResult_t nccl_call(std::shared_ptr<collective> c, const char *what, size_t count, ncclDataType_t type,
                       cudaStream_t stream) {
    static long num_calls = 0; /* of this process, on all communicators */
    ncclComm_t comm = c->comm;
    if (comm->called || comm->registering) {
        nccl_report(comm, ncclInvalidUsage,
                    "simt: a collective was called while the one before was in progress");
        return ncclInvalidUsage;
    }
    if (c->block_bytes > INT32_MAX) {
        fprintf(stderr, "simt: %s of %zu bytes: more than this stand-in can send\n", what, c->block_bytes);
        abort();
    }
    const char *fault = fault_here(++num_calls);
    suffer(fault);
    c->stuck = is(fault, "stuck");
    if (is(fault, "error"))
        nccl_report(comm, ncclRemoteError, "simt: a planted error");
    c->mine.number = ++comm->num_called;
    c->mine.count = (int64_t)count;
    c->mine.type = type;
    c->mine.place = strcmp(what, "all-gather") == 0 ? nccl_place(comm, c->from, c->from_bytes, c->to) : -1;
    snprintf(c->mine.what, sizeof c->mine.what, "%s", what);
    comm->called = c;
    comm->stream = stream;
    comm->questions = 0;
    return ncclInProgress;
}

namespace {

/* launch - a call takes effect. */
void launch(ncclComm_t comm) {
    std::shared_ptr<collective> c = std::move(comm->called);
    comm->called = nullptr;
    comm->num_running++;
    simt_submit_polled(comm->stream, [c] { return poll(*c); });
}

/* --- start --- */

/* write_log - what NCCL says of its channels at NCCL_DEBUG=INFO, for those who read it. */
void write_log(const ncclComm_t comm) {
    const char *level = getenv("NCCL_DEBUG"), *path = getenv("NCCL_DEBUG_FILE");
    if (!level || strcmp(level, "INFO") != 0 || !path)
        return;
    FILE *file = fopen(path, "a");
    for (int channel = 0; file && channel < 2; channel++)
        fprintf(file, "host:1:1 [0] NCCL INFO Channel %02d/0 : %d[0] -> %d[0] via SIMT/MPI/%d\n", channel,
                comm->rank, (comm->rank + 1) % comm->num_ranks, channel);
    if (file)
        fclose(file);
}

/* invite - begin to gather the members, and to be told who they are. */
void invite(ncclComm_t comm) {
    auto request = [comm] { return &*comm->starting.insert(comm->starting.end(), MPI_REQUEST_NULL); };
    int bytes = comm->num_ranks * (int)sizeof(member);
    comm->members.resize(comm->num_ranks);
    comm->starting.reserve(comm->num_ranks + 1);
    PMPI_Isend(&comm->me, sizeof(member), MPI_BYTE, comm->inviter, comm->tag, MPI_COMM_WORLD, request());
    if (comm->inviter != comm->me.world_rank)
        PMPI_Irecv(comm->members.data(), bytes, MPI_BYTE, comm->inviter, comm->tag + 1, MPI_COMM_WORLD,
                   request());
    else
        for (member &m : comm->members)
            PMPI_Irecv(&m, sizeof m, MPI_BYTE, MPI_ANY_SOURCE, comm->tag, MPI_COMM_WORLD, request());
}

/* tell - the inviter knows all members. */
void tell(ncclComm_t comm) {
    std::vector<member> sorted(comm->num_ranks);
    for (const member &m : comm->members)
        sorted[m.rank] = m;
    comm->members = sorted;
    comm->starting.clear();
    for (const member &m : comm->members)
        if (m.world_rank != comm->inviter)
            PMPI_Isend(comm->members.data(), comm->num_ranks * (int)sizeof(member), MPI_BYTE, m.world_rank,
                       comm->tag + 1, MPI_COMM_WORLD,
                       &*comm->starting.insert(comm->starting.end(), MPI_REQUEST_NULL));
}

/* join - all members are here or on their way. */
void join(ncclComm_t comm) {
    MPI_Group world, group;
    std::vector<int> ranks;
    for (const member &m : comm->members)
        ranks.push_back(m.world_rank);
    PMPI_Comm_group(MPI_COMM_WORLD, &world);
    PMPI_Group_incl(world, comm->num_ranks, ranks.data(), &group);
    PMPI_Comm_create_group(MPI_COMM_WORLD, group, comm->tag, &comm->mpi);
    PMPI_Group_free(&group);
    PMPI_Group_free(&world);
}

void move_start(ncclComm_t comm) {
    int done = 0;
    PMPI_Testall((int)comm->starting.size(), comm->starting.data(), &done, MPI_STATUSES_IGNORE);
    if (!done)
        return;
    if (comm->state++ == 0 && comm->inviter == comm->me.world_rank) {
        tell(comm);
        return;
    }
    join(comm);
    comm->result = ncclSuccess;
    write_log(comm);
}

} // namespace

ncclResult_t ncclGetVersion(int *version) {
    *version = nccl_planted_version() > 0 ? nccl_planted_version() : NCCL_VERSION_CODE;
    return ncclSuccess;
}

/* The id says who gathers the members, and by which messages. */
ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    static int num_ids = 0;
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "simt %d %d", world_rank(), 20000 + 2 * num_ids++ % 10000);
    return ncclSuccess;
}

static int newest_max_ctas = 0;

int simt_nccl_max_ctas(void) {
    return newest_max_ctas;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int num_ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
    const char *fault = fault_here(0);
    suffer(fault);
    bool limited = config->maxCTAs != NCCL_CONFIG_UNDEF_INT;
    if (config->blocking != 0 || config->magic != 0xcafebeef || (limited && config->maxCTAs < 1))
        return ncclInvalidArgument; /* what this stand-in does not know */
    newest_max_ctas = limited ? config->maxCTAs : 0;
    *comm = new ncclComm;
    (*comm)->rank = rank;
    (*comm)->num_ranks = num_ranks;
    (*comm)->me = {rank, world_rank()};
    (*comm)->cta_policy = config->CTAPolicy == NCCL_CONFIG_UNDEF_INT ? 0 : config->CTAPolicy;
    if (sscanf(id.internal, "simt %d %d", &(*comm)->inviter, &(*comm)->tag) != 2)
        return ncclInvalidArgument;
    invite(*comm);
    if (is(fault, "error")) {
        nccl_report(*comm, ncclSystemError, "simt: a planted error");
        return ncclSystemError;
    }
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *result) {
    if (comm->result == ncclInProgress)
        move_start(comm);
    if (comm->result == ncclSuccess && comm->called && ++comm->questions >= QUESTIONS)
        launch(comm);
    if (comm->result == ncclSuccess && comm->registering)
        nccl_move_window(comm);
    bool at_work = comm->called || comm->registering;
    *result = comm->result == ncclSuccess && at_work ? ncclInProgress : comm->result;
    return ncclSuccess;
}

/* Collectives under way move with the streams; whoever finalises has waited for those. */
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    if (comm->num_running > 0 || comm->called) {
        nccl_report(comm, ncclInvalidUsage, "simt: a communicator ends while collectives are under way");
        return ncclInvalidUsage;
    }
    if (!comm->windows.empty()) {
        nccl_report(comm, ncclInvalidUsage, "simt: a communicator ends that has windows");
        return ncclInvalidUsage;
    }
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    PMPI_Comm_free(&comm->mpi);
    delete comm;
    return ncclSuccess;
}

/* The memory stays: collectives on the streams still look at it.  Only programs that end come here, and those that were
 * refused a window. */
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    comm->aborted = true;
    nccl_forget_windows(comm);
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result) {
    static const char *const words[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "in progress"};
    return words[result];
}

const char *ncclGetLastError(ncclComm_t comm) {
    return comm->last_error;
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
    auto c = std::make_shared<collective>();
    c->comm = comm;
    c->from = (const char *)from;
    c->to = (char *)to;
    c->from_bytes = c->block_bytes = count * nccl_type_bytes(type);
    c->in_place = c->from == c->to + (size_t)comm->rank * c->block_bytes;
    return nccl_call(c, "all-gather", count, type, stream);
}

ncclResult_t ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
    auto c = std::make_shared<collective>();
    if ((type != ncclFloat32 && type != ncclInt64) || op != ncclSum)
        return ncclInvalidArgument;
    c->type = type;
    c->comm = comm;
    c->from = (const char *)from;
    c->to = (char *)to;
    c->block_bytes = count * nccl_type_bytes(type);
    c->from_bytes = c->block_bytes * comm->num_ranks;
    c->in_place = c->to == c->from + (size_t)comm->rank * c->block_bytes;
    c->exchanges = c->sums = true;
    return nccl_call(c, "reduce-scatter", count, type, stream);
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
    auto c = std::make_shared<collective>();
    if (type != ncclFloat32 || op != ncclSum)
        return ncclInvalidArgument;
    c->comm = comm;
    c->from = (const char *)from;
    c->to = (char *)to;
    c->from_bytes = c->block_bytes = count * nccl_type_bytes(type);
    c->in_place = from == to;
    c->sums = true;
    return nccl_call(c, "all-reduce", count, type, stream);
}
