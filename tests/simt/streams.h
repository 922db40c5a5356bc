/* streams.h - the engine of the stand-in: queues of work, moved one piece at a time in an order that the seed
 * chooses.  An order that a program does not enforce with an event is sooner or later not the one it meant.
 * Callers hold streams_lock. */
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda_runtime_api.h"

/* One recording of an event. */
struct mark {
    bool passed = false;
    double time_s = 0;
};

/* What a stream holds: device work, or a host function, or the recording of an event, or a wait for one. */
struct piece {
    std::function<bool()> run; /* with device memory open; true when done */
    std::function<void()> host;
    std::shared_ptr<mark> record, wait;
};

using streams_guard = std::lock_guard<std::recursive_mutex>;
std::recursive_mutex &streams_lock();

/* What a stream that is captured was given: pieces in order, and for each the event that its launches record, or NULL. */
struct captured_piece {
    piece work;
    cudaEvent_t event;
};

/* capture_begin, capture_end - what is enqueued on the stream meanwhile is kept, and does not run.  captured_stream - the one that is
 * being captured (one at a time), or NULL.  capture_spoil - something was asked for that cannot be captured. capture_end returns
 * false where it was. */
void capture_begin(cudaStream_t stream);
bool capture_end(cudaStream_t stream, std::vector<captured_piece> *pieces);
cudaStream_t captured_stream();
void capture_spoil();
void capture_event(cudaStream_t stream, cudaEvent_t event);

cudaStream_t stream_create();
void stream_destroy(cudaStream_t stream); /* when its work is done */

/* stream_find - the stream itself, the NULL stream for NULL, NULL for something that is not a stream. */
cudaStream_t stream_find(cudaStream_t stream);

/* stream_enqueue - put a piece at the end; it may run at once. */
void stream_enqueue(cudaStream_t stream, piece p);

/* stream_poll - move a little, for the sake of `stream` (NULL: nobody's); true when it is empty. */
bool stream_poll(cudaStream_t stream);

/* stream_wait, streams_wait_all, mark_wait - move until it is done.  mark_poll - move a little; is it done?
 */
void stream_wait(cudaStream_t stream);
void streams_wait_all();
bool mark_poll(const std::shared_ptr<mark> &recording);
void mark_wait(const std::shared_ptr<mark> &recording);
