/* nccl_messages.cpp - see nccl.cpp: sends and receives, alone or in a group. */
#include <stdio.h>

#include "nccl_simt.h"

namespace {

enum { SIZE_TAG = 1, DATA_TAG = 2 };

MPI_Request *new_request(collective &c) {
    return &*c.requests.insert(c.requests.end(), MPI_REQUEST_NULL);
}

bool all_arrived(collective &c) {
    int done = 0;
    PMPI_Testall((int)c.requests.size(), c.requests.data(), &done, MPI_STATUSES_IGNORE);
    return done;
}

/* tell_sizes - and spoil what will be received; odd numbers read what they send at once. */
void tell_sizes(collective &c) {
    c.requests.reserve(2 * c.messages.size());
    for (message &m : c.messages) {
        if (!m.sends)
            memset(m.data, 0xff, m.size_bytes);
        else if (c.mine.number % 2)
            m.copy.assign(m.data, m.data + m.size_bytes);
        int64_t *own = (int64_t *)&m.size_bytes;
        /* Both directions have their own tag: of two messages between the same ranks one is a send for either. */
        int out = m.sends ? SIZE_TAG : SIZE_TAG + 2, in = m.sends ? SIZE_TAG + 2 : SIZE_TAG;
        PMPI_Irecv(&m.peer_bytes, 1, MPI_INT64_T, m.peer, in, c.comm->mpi, new_request(c));
        PMPI_Isend(own, 1, MPI_INT64_T, m.peer, out, c.comm->mpi, new_request(c));
    }
}

bool sizes_agree(collective &c) {
    for (const message &m : c.messages) {
        char text[256];
        if (m.peer_bytes == (int64_t)m.size_bytes)
            continue;
        snprintf(text, sizeof text, "simt: this rank %s %lld bytes, rank %d %s %lld",
                 m.sends ? "sends" : "expects", (long long)m.size_bytes, m.peer,
                 m.sends ? "expects" : "sends", (long long)m.peer_bytes);
        nccl_report(c.comm, ncclInvalidUsage, text);
        return false;
    }
    return true;
}

void move_data(collective &c) {
    c.requests.clear();
    for (message &m : c.messages) {
        int n = (int)m.size_bytes;
        if (!m.sends) /* MPI may write at any time, and the memory of the device is open to its streams alone */
            m.copy.resize(m.size_bytes);
        if (m.sends && m.copy.empty())
            m.copy.assign(m.data, m.data + m.size_bytes);
        if (m.sends)
            PMPI_Issend(m.copy.data(), n, MPI_BYTE, m.peer, DATA_TAG, c.comm->mpi, new_request(c));
        else
            PMPI_Irecv(m.copy.data(), n, MPI_BYTE, m.peer, DATA_TAG, c.comm->mpi, new_request(c));
    }
}

} // namespace

bool nccl_poll_messages(collective &c) {
    if (c.stuck || (c.state > 0 && !all_arrived(c)))
        return false;
    switch (c.state) {
    case 0:
        tell_sizes(c);
        c.state = 1;
        return false;
    case 1:
        if (!sizes_agree(c)) {
            c.stuck = true;
            return false;
        }
        if (c.mine.number % 2 == 0 && c.dawdled++ < DAWDLE)
            return false;
        move_data(c);
        c.state = 2;
        return false;
    default:
        for (const message &m : c.messages)
            if (!m.sends)
                memcpy(m.data, m.copy.data(), m.size_bytes);
        c.comm->num_running--;
        return true;
    }
}

/* --- from rank to rank --- */

static int group_depth = 0;
static std::shared_ptr<collective> group; /* what has been called in it; of one communicator */
static cudaStream_t group_stream;

/* add_message - to the group under way, or alone. */
static ncclResult_t add_message(message m, ncclComm_t comm, cudaStream_t stream) {
    bool alone = group_depth == 0;
    if (m.peer < 0 || m.peer >= comm->num_ranks || m.size_bytes > INT32_MAX || (group && group->comm != comm))
        return ncclInvalidArgument;
    if (!group)
        group = std::make_shared<collective>();
    group->comm = comm;
    group->block_bytes = 0;
    group->messages.push_back(std::move(m));
    group_stream = stream;
    if (!alone)
        return ncclSuccess;
    group_depth++;
    return ncclGroupEnd();
}

ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    message m = {};
    m.sends = true;
    m.peer = peer;
    m.data = (char *)from;
    m.size_bytes = count * nccl_type_bytes(type);
    return add_message(m, comm, stream);
}

ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    message m = {};
    m.peer = peer;
    m.data = (char *)to;
    m.size_bytes = count * nccl_type_bytes(type);
    return add_message(m, comm, stream);
}

ncclResult_t ncclGroupStart(void) {
    group_depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void) {
    if (group_depth == 0)
        return ncclInvalidUsage;
    if (--group_depth > 0 || !group)
        return ncclSuccess;
    std::shared_ptr<collective> c = std::move(group);
    group = nullptr;
    return nccl_call(c, "group", c->messages.size(), ncclUint8, group_stream);
}
