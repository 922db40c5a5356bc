/* nccl_windows.cpp - memory of the stand-in for NCCL, and its symmetric windows.  As unkind as the interface allows:
 *   - a window can be had of memory from ncclMemAlloc alone, which cudaFree does not take back; sizes that differ between ranks are an
 * error that names both;
 *   - a rank that is refused is told so, and the others wait for it for good, as in NCCL's barrier;
 *   - memory that is a window still is not given back, nor does a communicator end that has windows.
 * A gather goes by copy engines where NCCL's does: its communicator has CTA policy ZERO, and both its ends are in windows; then the place
 * that it is received at must be the same on all ranks.  There is no word of which way was taken: tests count.
 *
 * SIMT_NCCL_WINDOWS, looked at in each call: none  there is no window, and no error (2.29 and later)      host  a handle of the host
 * instead (2.28)   refused:R, memory:R  rank R of MPI_COMM_WORLD cannot have a window, or the memory   version:N  that one */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

#include <map>

#include "nccl_simt.h"
#include "runtime.h"

namespace {

enum { PAGE_BYTES = 4096 };

struct piece {
    char *allocated; /* by cudaMalloc; the memory begins at a page after it */
    size_t size_bytes;
    int num_windows;
};

std::map<char *, piece> &pieces() {
    static std::map<char *, piece> all;
    return all;
}

long num_gathers[2]; /* by kernels, by engines */

/* planted - a number after "what:" in SIMT_NCCL_WINDOWS; -1: it says something else. */
int planted(const char *what) {
    const char *text = getenv("SIMT_NCCL_WINDOWS");
    size_t length = strlen(what);
    return text && strncmp(text, what, length) == 0 && text[length] == ':' ? atoi(text + length + 1) : -1;
}

bool is_planted(const char *what) {
    const char *text = getenv("SIMT_NCCL_WINDOWS");
    return text && strcmp(text, what) == 0;
}

bool is_planted_here(const char *what) {
    int rank = 0;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return planted(what) == rank;
}

/* piece_of - the allocation that has this whole range; NULL: none of ncclMemAlloc's. */
piece *piece_of(char *memory, size_t size_bytes) {
    auto after = pieces().upper_bound(memory);
    if (after == pieces().begin())
        return nullptr;
    auto &found = *--after;
    size_t at = (size_t)(memory - found.first);
    return at <= found.second.size_bytes && size_bytes <= found.second.size_bytes - at ? &found.second
                                                                                       : nullptr;
}

/* enter - all ranks are here. */
void enter(ncclComm_t comm, entry &r) {
    if (is_planted("none")) {
        *r.out = nullptr;
        return;
    }
    window w = {r.memory, r.size_bytes, nullptr, is_planted("host")};
    if (w.on_host)
        w.handle = malloc(1);
    else if (cudaMalloc(&w.handle, 1) != cudaSuccess)
        abort();
    piece_of(r.memory, r.size_bytes)->num_windows++;
    comm->windows.push_back(w);
    *r.out = w.handle;
}

const window *window_of(ncclComm_t comm, const void *data, size_t size_bytes) {
    for (const window &w : comm->windows) {
        size_t at = (size_t)((const char *)data - w.memory);
        if (!w.on_host && at <= w.size_bytes && size_bytes <= w.size_bytes - at)
            return &w;
    }
    return nullptr;
}

} // namespace

int nccl_planted_version(void) {
    return planted("version");
}

long simt_nccl_gathers(int by_engines) {
    return num_gathers[by_engines];
}

int64_t nccl_place(ncclComm_t comm, const void *from, size_t from_bytes, const void *to) {
    const window *sent = window_of(comm, from, from_bytes);
    const window *received = window_of(comm, to, from_bytes * (size_t)comm->num_ranks);
    bool by_engines = comm->cta_policy == NCCL_CTA_POLICY_ZERO && sent && received;
    num_gathers[by_engines]++;
    return by_engines ? (const char *)to - received->memory : -1;
}

void nccl_move_window(ncclComm_t comm) {
    entry &r = *comm->registering;
    int done = 0;
    if (!r.stuck)
        PMPI_Test(&r.request, &done, MPI_STATUS_IGNORE);
    if (!done)
        return;
    bool is_refused = r.mine < 0;
    for (int64_t size : r.sizes)
        if (size < 0 && !is_refused) {
            r.stuck = true; /* the others, in a barrier */
            return;
        }
    for (int64_t size : r.sizes)
        if (!is_refused && size != r.mine) {
            char text[128];
            snprintf(text, sizeof text, "simt: a window of %lld bytes, of another rank %lld",
                     (long long)r.mine, (long long)size);
            nccl_report(comm, ncclInvalidArgument, text);
            return;
        }
    if (is_refused)
        nccl_report(comm, ncclUnhandledCudaError, "simt: a refused window");
    else
        enter(comm, r);
    comm->registering = nullptr;
}

ncclResult_t ncclMemAlloc(void **memory, size_t size_bytes) {
    void *allocated = nullptr;
    if (is_planted_here("memory") || cudaMalloc(&allocated, size_bytes + 2 * PAGE_BYTES) != cudaSuccess)
        return ncclUnhandledCudaError;
    char *page = (char *)(((uintptr_t)allocated / PAGE_BYTES + 1) * PAGE_BYTES);
    pieces()[page] = {(char *)allocated, size_bytes, 0};
    *memory = page;
    return ncclSuccess;
}

ncclResult_t ncclMemFree(void *memory) {
    auto found = pieces().find((char *)memory);
    if (found == pieces().end() || found->second.num_windows > 0) {
        fprintf(stderr, "simt: ncclMemFree of memory that %s\n",
                found == pieces().end() ? "is not ncclMemAlloc's" : "is a window");
        abort();
    }
    cudaFree(found->second.allocated);
    pieces().erase(found);
    return ncclSuccess;
}

ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void *memory, size_t size_bytes, ncclWindow_t *out,
                                    int flags) {
    if (comm->result != ncclSuccess || comm->called || comm->registering || comm->num_running > 0)
        return ncclInvalidUsage;
    if (!(flags & NCCL_WIN_COLL_SYMMETRIC) || size_bytes == 0)
        return ncclInvalidArgument; /* what this stand-in does not know */
    auto r = std::make_shared<entry>();
    bool is_refused = is_planted_here("refused") || !piece_of((char *)memory, size_bytes) ||
                      (uintptr_t)memory % PAGE_BYTES != 0;
    r->memory = (char *)memory;
    r->size_bytes = size_bytes;
    r->out = (void **)out;
    r->mine = is_refused ? -1 : (int64_t)size_bytes;
    r->sizes.resize(comm->num_ranks);
    PMPI_Iallgather(&r->mine, sizeof r->mine, MPI_BYTE, r->sizes.data(), sizeof r->mine, MPI_BYTE, comm->mpi,
                    &r->request);
    comm->registering = r;
    return ncclInProgress;
}

ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t handle) {
    for (auto w = comm->windows.begin(); w != comm->windows.end(); w++)
        if (w->handle == (void *)handle) {
            piece_of(w->memory, w->size_bytes)->num_windows--;
            if (w->on_host)
                free(w->handle);
            else
                cudaFree(w->handle);
            comm->windows.erase(w);
            return ncclSuccess;
        }
    return ncclInvalidArgument;
}

/* An aborted communicator has no windows any more. */
void nccl_forget_windows(ncclComm_t comm) {
    while (!comm->windows.empty())
        ncclCommWindowDeregister(comm, (ncclWindow_t)comm->windows.back().handle);
}
