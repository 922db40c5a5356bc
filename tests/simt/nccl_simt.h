/* nccl_simt.h - what the files of the stand-in for NCCL share: nccl.cpp (start, collectives), nccl_messages.cpp (from rank to rank)
 * and nccl_windows.cpp (its memory, gathers by copy engines). */
#pragma once

#include <mpi.h>
#include <nccl.h>
#include <stdint.h>
#include <string.h>

#include <atomic>
#include <memory>
#include <vector>

enum { DAWDLE = 20 }; /* polls before a late reader reads */

/* What ranks compare before they exchange data. */
struct header {
    int64_t number, count, type;
    int64_t place; /* in a window, where copy engines put it; -1: kernels do */
    char what[24];
};

/* A message of a group. */
struct message {
    bool sends;
    int peer;
    char *data;
    size_t size_bytes;
    int64_t peer_bytes = -1; /* what the partner says */
    std::vector<char> copy;  /* on the host: what is sent, or has come */
};

/* One collective of one rank, or a group of messages. */
struct collective {
    ncclComm_t comm;
    header mine;
    const char *from;
    char *to;
    size_t from_bytes, block_bytes; /* block: what one rank brings to, or gets from, each other */
    bool in_place = false;
    bool exchanges = false; /* block r goes to rank r; otherwise all get everything */
    bool sums = false, stuck = false;
    ncclDataType_t type = ncclFloat32; /* of what is added */
    int state = 0, dawdled = 0;
    MPI_Request request = MPI_REQUEST_NULL;
    std::vector<header> headers;
    std::vector<char> sent, received;
    std::vector<message> messages; /* of a group; then all of the above that describes buffers is unused */
    std::vector<MPI_Request> requests;
};

/* A member of a communicator that starts: its number in there and in MPI_COMM_WORLD. */
struct member {
    int rank, world_rank;
};

/* Memory that a communicator has as a symmetric window. */
struct window {
    char *memory;
    size_t size_bytes;
    void *handle;
    bool on_host; /* the handle is no window's */
};

/* One that all ranks are about to have. */
struct entry {
    char *memory;
    size_t size_bytes;
    void **out;
    int64_t mine; /* size_bytes; -1: this rank is refused */
    MPI_Request request = MPI_REQUEST_NULL;
    std::vector<int64_t> sizes; /* of all ranks */
    bool stuck = false;
};

struct ncclComm {
    MPI_Comm mpi = MPI_COMM_NULL;
    int rank = 0, num_ranks = 0;
    /* While it starts: whoever made the id gathers the members, and tells them to all. */
    int inviter = 0, tag = 0, state = 0;
    member me;
    std::vector<member> members;
    std::vector<MPI_Request> starting;
    std::atomic<bool> aborted{false}; /* set by another thread */
    ncclResult_t result = ncclInProgress;
    char last_error[256] = "";
    int64_t num_called = 0;
    int num_running = 0, questions = 0;
    std::shared_ptr<collective> called; /* not on its stream yet */
    cudaStream_t stream = nullptr;
    int cta_policy = 0;
    std::vector<window> windows;
    std::shared_ptr<entry> registering;
};

inline size_t nccl_type_bytes(ncclDataType_t type) {
    return type == ncclInt64 ? sizeof(int64_t) : type == ncclFloat32 ? sizeof(float) : 1;
}

/* nccl_report - the communicator has failed so.  nccl_call - what a call gives to its stream; says ncclInProgress. */
void nccl_report(ncclComm_t comm, ncclResult_t result, const char *text);
ncclResult_t nccl_call(std::shared_ptr<collective> c, const char *what, size_t count, ncclDataType_t type,
                       cudaStream_t stream);

/* nccl_place - where a gather is received by copy engines, header.place; counts which way it goes.  nccl_move_window - a window that is
 * being registered.  nccl_forget_windows - of a communicator that was aborted.  nccl_planted_version - -1: none. */
int64_t nccl_place(ncclComm_t comm, const void *from, size_t from_bytes, const void *to);
void nccl_move_window(ncclComm_t comm);
void nccl_forget_windows(ncclComm_t comm);
int nccl_planted_version(void);

/* nccl_poll_messages - move a group of messages; true when it is over. */
bool nccl_poll_messages(collective &c);
