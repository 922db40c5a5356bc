/* nccl_windows.c - gathers by copy engines, which leave all multiprocessors to the products beside them.
 *
 * NCCL copies the pieces of an all-gather by the GPUs' copy engines where a communicator of one node was opened with CTAPolicy ZERO, and
 * both ends lie in symmetric windows: memory that NCCL allocated, which all ranks registered together and use at the same offsets
 * (NCCL 2.28, release notes; src/enqueue.cc, taskAppend).  It says nothing where a condition is missed: it takes its kernels then.  So
 * all of them are looked at here, on every rank, before anything is counted on; with kernels/cuda/NOTES.md, "Gathers by copy engines".
 *
 * These gathers have a communicator of their own.  A window that is refused on one rank leaves the others inside of a barrier of NCCL's:
 * they wait for a while, all agree, and the communicator is aborted; the other two never knew of it, and the memory is as good as any. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"
#include "train/ranks/cuda/nccl_state.h"

enum {
    OLDEST_ENGINES = 22803, /* NCCL 2.28.3 */
    OLDEST_SAFE_MULTICAST =
        23102,             /* two ranks with NVLS hang in their first gather before it: NVIDIA/nccl#2241 */
    OLDEST_DRIVER = 12050, /* src/ce_coll.cc, ncclCeImplemented */
    WINDOW_SYMMETRIC = 1,  /* NCCL_WIN_COLL_SYMMETRIC, which older headers do not have */
    PATIENCE_S = 30, /* for what another rank may have been refused; less where the phase has little time */
    PATIENCE_PARTS = 10
};

/* Why gathers go by kernels, in the order in which it is found out. */
enum refusal {
    NOT_REFUSED,
    REFUSED_NODES,
    REFUSED_HEADER,
    REFUSED_LIBRARY,
    REFUSED_DRIVER,
    REFUSED_POLICY,
    REFUSED_MULTICAST,
    REFUSED_LAYOUT,
    REFUSED_MEMORY,
    REFUSED_WINDOW,
    REFUSED_SYMMETRY,
    NUM_REFUSALS
};

static const char *const WORDS[NUM_REFUSALS] = {
    [REFUSED_NODES] = "ranks of several nodes share the parameters",
    [REFUSED_HEADER] = "this program was built with NCCL 2.27 or older",
    [REFUSED_LIBRARY] = "NCCL 2.28.3 or later is needed",
    [REFUSED_DRIVER] = "a driver of CUDA 12.5 or later is needed",
    [REFUSED_POLICY] = "NCCL_CTA_POLICY is set, and not to ZERO",
    [REFUSED_MULTICAST] = "NCCL_NVLS_ENABLE is set, and two ranks would hang with it before NCCL 2.31.2",
    [REFUSED_LAYOUT] = "its memory is laid out otherwise than that of others",
    [REFUSED_MEMORY] = "NCCL could not allocate the memory",
    [REFUSED_WINDOW] = "NCCL refused a symmetric window",
    [REFUSED_SYMMETRY] = "NCCL has no symmetric memory between these GPUs"};

/* What of NCCL's is younger than what this program can do without; looked up, so that it starts beside an older library. */
struct functions {
    ncclResult_t (*allocate)(void **memory, size_t size_bytes);
    ncclResult_t (*release)(void *memory);
    ncclResult_t (*enter)(ncclComm_t, void *memory, size_t size_bytes, void **window, int flags);
    ncclResult_t (*leave)(ncclComm_t, void *window);
};

/* find - data and function pointers are told apart by C, not by dlsym. */
static bool find(const char *name, void *function) {
    void *address = dlsym(RTLD_DEFAULT, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

static bool find_functions(struct functions *f) {
    return find("ncclMemAlloc", &f->allocate) && find("ncclMemFree", &f->release) &&
           find("ncclCommWindowRegister", &f->enter) && find("ncclCommWindowDeregister", &f->leave);
}

/* ask_for_engines - of a communicator that will be opened; false: the header has no such word. */
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 28, 3)
static bool ask_for_engines(ncclConfig_t *config) {
    config->CTAPolicy = NCCL_CTA_POLICY_ZERO;
    return true;
}
#else
static bool ask_for_engines(ncclConfig_t *config) {
    (void)config;
    return false;
}
#endif

/* --- what can be known before anything is tried --- */

/* is_one_node - by the names of the hosts.  Collective. */
static bool is_one_node(struct comm *comm) {
    char host[256] = "";
    snprintf(host, sizeof host, "%s", comm_host(comm));
    comm_broadcast(comm, host, sizeof host);
    int64_t differs = strncmp(host, comm_host(comm), sizeof host - 1) != 0;
    comm_max_i64(comm, &differs, 1);
    return !differs;
}

/* is_laid_out_alike - the windows of all ranks: what is copied to another rank lands at the offset that it has here.  Collective. */
static bool is_laid_out_alike(struct comm *comm, const struct transport_window *windows, int count) {
    int64_t both[4 * TRANSPORT_MAX_WINDOWS] = {0}; /* the largest, and the largest of the negatives */
    for (int i = 0; i < count; i++) {
        both[4 * i] = (int64_t)windows[i].size_bytes;
        both[4 * i + 1] = (int64_t)(windows[i].layout >> 1);
        for (int j = 0; j < 2; j++)
            both[4 * i + 2 + j] = -both[4 * i + j];
    }
    comm_max_i64(comm, both, 4 * count);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < 2; j++)
            if (both[4 * i + j] != -both[4 * i + 2 + j])
                return false;
    return true;
}

static bool has_other_policy(void) {
    const char *policy = getenv("NCCL_CTA_POLICY");
    return policy && policy[0] && strcmp(policy, "2") != 0 && !strcasestr(policy, "zero");
}

static bool hangs_with_multicast(int num_ranks, int version) {
    const char *nvls = getenv("NCCL_NVLS_ENABLE");
    return num_ranks == 2 && version < OLDEST_SAFE_MULTICAST && nvls && strcmp(nvls, "0") != 0;
}

/* look_around - what this rank can say by itself. */
static enum refusal look_around(const struct nccl *nccl) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    struct functions functions;
    int version = 0, driver = 0;
    if (!ask_for_engines(&config))
        return REFUSED_HEADER;
    if (ncclGetVersion(&version) != ncclSuccess || version < OLDEST_ENGINES || !find_functions(&functions))
        return REFUSED_LIBRARY;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver < OLDEST_DRIVER)
        return REFUSED_DRIVER;
    if (has_other_policy())
        return REFUSED_POLICY;
    return hangs_with_multicast(comm_num_ranks(nccl->comm), version) ? REFUSED_MULTICAST : NOT_REFUSED;
}

/* agree - the last of the reasons that any rank has, and whose it is, to all.  Collective. */
static enum refusal agree(struct comm *whole, enum refusal own, int *rank) {
    enum { RANKS = 1 << 24 };
    int64_t last = (int64_t)own * RANKS + comm_rank(whole);
    comm_max_i64(whole, &last, 1);
    *rank = (int)(last % RANKS);
    return (enum refusal)(last / RANKS);
}

/* --- memory and windows --- */

static void release_memory(struct nccl *nccl) {
    struct functions functions;
    for (int i = 0; i < TRANSPORT_MAX_WINDOWS; i++) {
        if (nccl->windows[i].memory && find_functions(&functions))
            functions.release(nccl->windows[i].memory);
        nccl->windows[i] = (struct nccl_window){NULL, 0, NULL};
    }
}

static enum refusal take_memory(struct nccl *nccl, const struct transport_window *windows, int count) {
    struct functions functions;
    if (!find_functions(&functions))
        return REFUSED_LIBRARY;
    for (int i = 0; i < count; i++) {
        void *memory = NULL;
        if (functions.allocate(&memory, windows[i].size_bytes) != ncclSuccess) {
            (void)cudaGetLastError(); /* it is remembered as if nobody had seen it */
            return REFUSED_MEMORY;
        }
        nccl->windows[i] = (struct nccl_window){memory, windows[i].size_bytes, NULL};
        cuda_zero(nccl->device, memory, windows[i].size_bytes);
    }
    return NOT_REFUSED;
}

/* await - as nccl_settle, for what may be refused: what became of the call, ncclInProgress after a while. */
static ncclResult_t await(const struct nccl *nccl, ncclComm_t comm, ncclResult_t status) {
    double start = clock_s(), patience_s = fmin(PATIENCE_S, comm_timeout(nccl->comm) / PATIENCE_PARTS);
    while (status == ncclInProgress && clock_s() - start < patience_s) {
        comm_poll(nccl->comm);
        ncclResult_t call = ncclCommGetAsyncError(comm, &status);
        if (call != ncclSuccess)
            return call;
        if (status == ncclInProgress)
            nccl_pause();
    }
    return status;
}

/* is_symmetric - where NCCL has no symmetric memory it gives no window, or (2.28) the handle of another kind of registration, which is of
 * the host; a window is read by kernels. */
static bool is_symmetric(const void *window) {
    struct cudaPointerAttributes attributes;
    if (!window || cudaPointerGetAttributes(&attributes, window) != cudaSuccess) {
        (void)cudaGetLastError();
        return false;
    }
    return attributes.type == cudaMemoryTypeDevice;
}

/* open_comm - of these gathers alone.  Collective over nccl->comm. */
static ncclResult_t open_comm(const struct nccl *nccl, int most_sms, ncclComm_t *comm) {
    struct {
        ncclResult_t status;
        ncclUniqueId id;
    } invitation = {ncclSuccess, {{0}}};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    if (comm_is_root(nccl->comm))
        invitation.status = ncclGetUniqueId(&invitation.id);
    comm_broadcast(nccl->comm, &invitation, sizeof invitation);
    if (invitation.status != ncclSuccess)
        return invitation.status;
    config.blocking = 0;
    config.maxCTAs = most_sms;
    ask_for_engines(&config);
    ncclResult_t status = ncclCommInitRankConfig(comm, comm_num_ranks(nccl->comm), invitation.id,
                                                 comm_rank(nccl->comm), &config);
    return *comm ? await(nccl, *comm, status) : status;
}

/* enter_windows - all of them, one after the other. */
static enum refusal enter_windows(struct nccl *nccl, ncclComm_t comm, int count) {
    struct functions functions;
    if (!find_functions(&functions))
        return REFUSED_LIBRARY;
    for (int i = 0; i < count; i++) {
        struct nccl_window *window = &nccl->windows[i];
        ncclResult_t status =
            functions.enter(comm, window->memory, window->size_bytes, &window->handle, WINDOW_SYMMETRIC);
        if (await(nccl, comm, status) != ncclSuccess)
            return REFUSED_WINDOW;
        if (!is_symmetric(window->handle))
            return REFUSED_SYMMETRY;
    }
    return NOT_REFUSED;
}

/* leave_all - a communicator that some rank could not have. */
static void leave_all(struct nccl *nccl, ncclComm_t comm) {
    if (comm)
        nccl_abort_in_time(&comm, 1);
    for (int i = 0; i < TRANSPORT_MAX_WINDOWS; i++)
        nccl->windows[i].handle = NULL;
}

/* try_engines - from the first look to the last window; what is left of it when it is refused is memory alone, or nothing.  Collective. */
static enum refusal try_engines(struct transport *t, struct comm *whole, struct transport_window *windows,
                                int count, int *rank) {
    struct nccl *nccl = t->state;
    ncclComm_t comm = NULL;
    enum refusal refusal = is_one_node(nccl->comm) ? look_around(nccl) : REFUSED_NODES;
    bool is_alike = is_laid_out_alike(nccl->comm, windows, count);
    if (refusal == NOT_REFUSED && !is_alike)
        refusal = REFUSED_LAYOUT;
    refusal = agree(whole, refusal, rank);
    if (refusal)
        return refusal;
    refusal = agree(whole, take_memory(nccl, windows, count), rank);
    if (refusal) {
        cuda_wait(nccl->device, cuda_stream(nccl->device)); /* it may still be zeroed */
        release_memory(nccl);
        return refusal;
    }
    for (int i = 0; i < count; i++)
        windows[i].memory = nccl->windows[i].memory;
    bool is_open = open_comm(nccl, t->sms, &comm) == ncclSuccess;
    refusal = agree(whole, is_open ? enter_windows(nccl, comm, count) : REFUSED_WINDOW, rank);
    if (refusal)
        leave_all(nccl, comm);
    else
        nccl->comms[COMM_ENGINES] = comm;
    return refusal;
}

void nccl_windows_open(struct transport *t, struct comm *whole, struct transport_window *windows, int count) {
    int version = 0, rank = 0;
    enum refusal refusal = try_engines(t, whole, windows, count, &rank);
    ncclGetVersion(&version);
    if (refusal)
        snprintf(t->gathers, sizeof t->gathers, "by NCCL's kernels, %d multiprocessors: %s (rank %d)", t->sms,
                 WORDS[refusal], rank);
    else
        snprintf(t->gathers, sizeof t->gathers,
                 "by copy engines (NCCL %d.%d.%d, symmetric windows), no multiprocessor held",
                 version / 10000, version / 100 % 100, version % 100);
}

void nccl_windows_close(struct transport *t) {
    struct nccl *nccl = t->state;
    struct functions functions;
    ncclComm_t comm = nccl->comms[COMM_ENGINES];
    cuda_wait(nccl->device, cuda_stream(nccl->device)); /* it has waited for all transfers */
    if (comm && find_functions(&functions)) {
        nccl->phase = "end of NCCL's windows";
        nccl->moved_s = clock_s();
        for (int i = 0; i < TRANSPORT_MAX_WINDOWS; i++)
            if (nccl->windows[i].handle)
                nccl_settle(nccl, COMM_ENGINES, functions.leave(comm, nccl->windows[i].handle));
        nccl_settle(nccl, COMM_ENGINES, ncclCommFinalize(comm));
        ncclCommDestroy(comm); /* frees memory of this rank alone */
        nccl->comms[COMM_ENGINES] = NULL;
        nccl->phase = NULL;
    }
    release_memory(nccl);
}

bool nccl_has_window(const struct nccl *nccl, const void *data, size_t size_bytes) {
    for (int i = 0; i < TRANSPORT_MAX_WINDOWS; i++) {
        const struct nccl_window *window = &nccl->windows[i];
        size_t at = (size_t)((uintptr_t)data -
                             (uintptr_t)window->memory); /* beyond all sizes where data is before it */
        if (window->handle && at <= window->size_bytes && size_bytes <= window->size_bytes - at)
            return true;
    }
    return false;
}
