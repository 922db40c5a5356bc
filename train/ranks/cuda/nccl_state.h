/* nccl_state.h - what the files share that call NCCL: transport_nccl.c (transfers, start, end), nccl_watch.c (waiting, and dying of
 * what happens meanwhile), nccl_windows.c (gathers by copy engines). */
#pragma once

#include <nccl.h>

#include "kernels/cuda/cuda.h"
#include "train/ranks/transport.h"

/* A lane is a stream with a communicator of its own.  COMM_ENGINES works on the stream of the gathers. */
enum { LANE_GATHER, LANE_REDUCE, NUM_LANES = CUDA_NUM_LANES, COMM_ENGINES = NUM_LANES, NUM_COMMS };
enum { MAX_AHEAD = 16 }; /* transfers: a few hundred kernels, below the driver's queue of about a thousand */

/* One transfer given to the GPU; transfer number n is in flights[n % MAX_AHEAD]. */
struct flight {
    cudaEvent_t done;
    const char *what;
    size_t size_bytes;
};

/* Memory that NCCL allocated, and its registration with COMM_ENGINES, as the library names it; NULL: there is none. */
struct nccl_window {
    char *memory;
    size_t size_bytes;
    void *handle;
};

struct nccl {
    struct comm *comm;           /* borrowed */
    struct device *device;       /* borrowed */
    ncclComm_t comms[NUM_COMMS]; /* of COMM_ENGINES NULL, unless gathers between windows go by copy engines */
    cudaStream_t streams[NUM_LANES];
    cudaEvent_t ready; /* what a transfer waits for on the compute stream */
    struct flight flights[MAX_AHEAD];
    int64_t num_started, num_finished; /* transfers 1 .. num_finished are over on the GPU */
    double moved_s;                    /* when num_finished last rose */
    double noted_s;                    /* how long the wait had lasted when the other ranks were last told */
    bool is_counted;                   /* by the products beside transfers */
    const char *phase; /* what the host waits for, where that is not a transfer yet; or NULL */
    struct nccl_window windows[TRANSPORT_MAX_WINDOWS];
    /* Who looked while the host waited before this transport was opened: another transport of the device. */
    void (*look_before)(void *user, double waited_s);
    void *look_before_user;
};

/* nccl_advance - count what the GPU has finished.  nccl_look_or_die - what every wait of the host does now and then, with the limit of
 * the phase: MPI's progress, NCCL's errors; waited_s is how long the wait has lasted.  nccl_look_while_waiting - the device's hook. */
void nccl_advance(struct nccl *nccl);
void nccl_look_or_die(struct nccl *nccl, double waited_s);
void nccl_look_while_waiting(void *user, double waited_s);

/* nccl_pause - for a moment, between two looks. */
void nccl_pause(void);

/* nccl_settle - a call on this communicator said status; non-blocking communicators may still be at work on it, and until they are
 * done nothing has reached the stream.  Dies of errors, and at the limit. */
void nccl_settle(struct nccl *nccl, int comm, ncclResult_t status);

/* nccl_abort_in_time - stop communicators ([count], NULL: none) and the kernels that wait for other ranks; given up, not
 * waited for, when it hangs. */
void nccl_abort_in_time(ncclComm_t *comms, int count);

/* nccl_windows_open, nccl_windows_close - transport.h.  Collective.  nccl_has_window - so many bytes lie in one of them. */
void nccl_windows_open(struct transport *transport, struct comm *whole, struct transport_window *windows,
                       int count);
void nccl_windows_close(struct transport *transport);
bool nccl_has_window(const struct nccl *nccl, const void *data, size_t size_bytes);
