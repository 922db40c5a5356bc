/* streams.cpp - which piece of which stream moves next. */
#include "streams.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include "gpu.h"
#include "memory.h"
#include "runtime.h"

struct CUstream_st {
    std::deque<piece> queue;
};

namespace {

enum { AT_ONCE, LATEST, OTHERS_FIRST, RANDOM }; /* what the seeds mean; RANDOM and above are random */
enum { EVERYTHING = 1 << 30, A_FEW = 8 };

struct engine {
    std::recursive_mutex lock;
    std::vector<cudaStream_t> streams{new CUstream_st}; /* the first is the NULL stream */
    uint32_t seed = (uint32_t)gpu_number("SIMT_SEED", 0);
    std::mt19937 random{seed};
    bool moving = false; /* a piece is running */
    cudaStream_t captured = nullptr;
    bool spoilt = false; /* the capture */
    std::vector<captured_piece> pieces;
    cudaStream_t favourite =
        nullptr; /* RANDOM: the stream that moved last often moves again, and drifts ahead */
};

/* Never freed: its work may outlive other static objects. */
engine &the_engine() {
    static engine *e = new engine;
    return *e;
}

double now_s() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Device memory is open, and no other piece may start, as long as these live; work may throw. */
struct open_memory {
    open_memory() {
        memory_open();
    }
    ~open_memory() {
        memory_close();
    }
};
struct moving {
    moving() {
        the_engine().moving = true;
    }
    ~moving() {
        the_engine().moving = false;
    }
};

/* run_work - true when it is done.  Work that throws (a kernel's bug that a test provokes) is done with. */
bool run_work(cudaStream_t stream) {
    open_memory open;
    try {
        return stream->queue.front().run();
    } catch (...) {
        stream->queue.pop_front();
        throw;
    }
}

/* advance - move the stream's first piece; false when it has none or it is not done yet. */
bool advance(cudaStream_t stream) {
    if (stream->queue.empty())
        return false;
    piece &first = stream->queue.front();
    if (first.wait && !first.wait->passed)
        return false;
    if (first.run && !run_work(stream))
        return false;
    if (first.host)
        first.host();
    if (first.record) {
        first.record->time_s = now_s();
        first.record->passed = true;
    }
    stream->queue.pop_front();
    return true;
}

/* recorder - the stream that still holds this recording, or NULL. */
cudaStream_t recorder(const std::shared_ptr<mark> &recording) {
    for (cudaStream_t stream : the_engine().streams)
        for (piece &p : stream->queue)
            if (p.record == recording)
                return stream;
    return nullptr;
}

/* advance_needed - move the stream, or else the one whose recording it waits for. */
bool advance_needed(cudaStream_t stream) {
    if (advance(stream))
        return true;
    if (stream->queue.empty() || !stream->queue.front().wait)
        return false;
    cudaStream_t other = recorder(stream->queue.front().wait);
    return other && advance_needed(other);
}

/* candidates - all streams, in the order in which they may move. */
std::vector<cudaStream_t> candidates() {
    engine &e = the_engine();
    std::vector<cudaStream_t> order = e.streams;
    if (e.seed < RANDOM)
        return order;
    std::shuffle(order.begin(), order.end(), e.random);
    auto favourite = std::find(order.begin(), order.end(), e.favourite);
    if (favourite != order.end() && e.random() % 4)
        std::iter_swap(order.begin(), favourite);
    return order;
}

/* step - move one piece, for the sake of `wanted` (NULL: nobody's), in the seed's order; false when none can
 * move. A stream that is stuck lets the others go on under every seed: another rank may be waiting for them.
 */
bool step(cudaStream_t wanted) {
    engine &e = the_engine();
    if (e.seed == LATEST && wanted) {
        if (wanted->queue.empty())
            return false;
        if (advance_needed(wanted))
            return true;
    }
    for (cudaStream_t stream : candidates())
        if ((e.seed != OTHERS_FIRST || stream != wanted) && advance(stream)) {
            e.favourite = stream;
            return true;
        }
    return wanted && advance(wanted);
}

/* move - up to `count` steps.  Work that enqueues more work does not start it. */
void move(cudaStream_t wanted, int count) {
    engine &e = the_engine();
    if (e.moving)
        return;
    moving now;
    while (count-- > 0 && step(wanted))
        ;
}

/* moves - how much happens at a call that waits for nothing; late: at the seeds that put things off. */
int moves(int late) {
    engine &e = the_engine();
    if (e.seed == AT_ONCE)
        return EVERYTHING;
    /* Some random seeds are lazier than others: from nothing at all to three pieces on average. */
    return e.seed < RANDOM ? late : (int)(e.random() % (1 + e.seed % 4 * 2));
}

bool any_in_progress() {
    for (cudaStream_t stream : the_engine().streams)
        if (!stream->queue.empty() && stream->queue.front().run)
            return true;
    return false;
}

/* wait_until - move streams until the condition holds. */
void wait_until(cudaStream_t wanted, const std::function<bool()> &holds) {
    engine &e = the_engine();
    if (e.moving) {
        fprintf(stderr, "simt: device work waits for device work\n");
        abort();
    }
    moving now;
    while (!holds()) {
        if (step(wanted))
            continue;
        if (!any_in_progress()) {
            fprintf(stderr, "simt: deadlock: every stream waits for an event that nothing will record\n");
            abort();
        }
        sched_yield();
    }
}

} // namespace

std::recursive_mutex &streams_lock() {
    return the_engine().lock;
}

cudaStream_t stream_create() {
    the_engine().streams.push_back(new CUstream_st);
    return the_engine().streams.back();
}

void stream_destroy(cudaStream_t stream) {
    std::vector<cudaStream_t> &streams = the_engine().streams;
    stream_wait(stream);
    streams.erase(std::find(streams.begin(), streams.end(), stream));
    delete stream;
}

cudaStream_t stream_find(cudaStream_t stream) {
    std::vector<cudaStream_t> &streams = the_engine().streams;
    if (!stream)
        return streams[0];
    return std::find(streams.begin(), streams.end(), stream) == streams.end() ? nullptr : stream;
}

void capture_begin(cudaStream_t stream) {
    engine &e = the_engine();
    e.captured = stream;
    e.spoilt = false;
    e.pieces.clear();
}

bool capture_end(cudaStream_t stream, std::vector<captured_piece> *pieces) {
    engine &e = the_engine();
    bool good = e.captured == stream && !e.spoilt;
    pieces->swap(e.pieces);
    e.captured = nullptr;
    return good;
}

cudaStream_t captured_stream() {
    return the_engine().captured;
}

void capture_spoil() {
    the_engine().spoilt = true;
}

void capture_event(cudaStream_t, cudaEvent_t event) {
    the_engine().pieces.push_back({piece(), event});
}

void stream_enqueue(cudaStream_t stream, piece p) {
    if (stream == the_engine().captured) {
        the_engine().pieces.push_back({std::move(p), nullptr});
        return;
    }
    stream->queue.push_back(std::move(p));
    move(nullptr, moves(0));
}

bool stream_poll(cudaStream_t stream) {
    move(stream, std::max(1, moves(A_FEW)));
    return !stream || stream->queue.empty();
}

void stream_wait(cudaStream_t stream) {
    if (!stream->queue.empty())
        wait_until(stream, [stream] { return stream->queue.empty(); });
}

void streams_wait_all() {
    for (cudaStream_t stream : the_engine().streams)
        stream_wait(stream);
}

bool mark_poll(const std::shared_ptr<mark> &recording) {
    if (!recording->passed)
        stream_poll(recorder(recording));
    return recording->passed;
}

void mark_wait(const std::shared_ptr<mark> &recording) {
    if (!recording->passed)
        wait_until(recorder(recording), [&] { return recording->passed; });
}

void simt_submit(cudaStream_t stream, std::function<void()> work) {
    simt_submit_polled(stream, [work] {
        work();
        return true;
    });
}

void simt_submit_polled(cudaStream_t stream, std::function<bool()> poll) {
    streams_guard locked(streams_lock());
    cudaStream_t found = stream_find(stream);
    cudaError_t status = found ? gpu_fault(CALL_LAUNCH) : cudaErrorInvalidResourceHandle;
    piece p;
    p.run = std::move(poll);
    if (gpu_status(status) == cudaSuccess)
        stream_enqueue(found, std::move(p));
}

void simt_progress() {
    streams_guard locked(streams_lock());
    stream_poll(nullptr);
}

void simt_stream_seed(uint32_t seed) {
    streams_guard locked(streams_lock());
    streams_wait_all();
    the_engine().seed = seed;
    the_engine().random.seed(seed);
}
