/* runtime.cpp - the CUDA runtime's functions on top of the engine (streams.h) and the memory (memory.h). */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

#include <map>
#include <vector>

#include "gpu.h"
#include "memory.h"
#include "streams.h"

struct CUevent_st {
    bool timed;
    bool captured;                /* recorded last as a dependence inside a graph: nobody can ask for it */
    std::shared_ptr<mark> latest; /* NULL: never recorded */
};

namespace {

/* pinned - host memory that copies read and write when they run, not when they are called: start -> bytes. */
std::map<const char *, size_t> &pinned() {
    static std::map<const char *, size_t> ranges;
    return ranges;
}

bool is_pinned(const void *data, size_t size_bytes) {
    auto next = pinned().upper_bound((const char *)data);
    if (next == pinned().begin())
        return false;
    --next;
    return (const char *)data + size_bytes <= next->first + next->second;
}

void enqueue_work(cudaStream_t stream, std::function<void()> work) {
    piece p;
    p.run = [work] {
        work();
        return true;
    };
    stream_enqueue(stream, std::move(p));
}

/* in_device - does the kind of copy say that this end lies on the device?  Default: by the address. */
bool in_device(const void *data, enum cudaMemcpyKind kind, enum cudaMemcpyKind one,
               enum cudaMemcpyKind other) {
    return kind == cudaMemcpyDefault ? memory_is_device(data) : kind == one || kind == other;
}

/* refused - a call that waits, allocates or reads the host cannot be part of a graph: it spoils the capture that is under way, as in
 * the driver. */
bool refused() {
    if (captured_stream())
        capture_spoil();
    return captured_stream();
}

cudaError_t copy(void *to, const void *from, size_t size_bytes, enum cudaMemcpyKind kind,
                 cudaStream_t stream) {
    bool to_device = in_device(to, kind, cudaMemcpyHostToDevice, cudaMemcpyDeviceToDevice);
    bool from_device = in_device(from, kind, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice);
    if (!size_bytes)
        return cudaSuccess;
    if (!stream || to_device != memory_is_device(to) || from_device != memory_is_device(from))
        return cudaErrorInvalidValue;
    if ((to_device && !memory_contains(to, size_bytes)) ||
        (from_device && !memory_contains(from, size_bytes)))
        return cudaErrorInvalidValue;
    const bool pageable =
        (!from_device && !is_pinned(from, size_bytes)) || (!to_device && !is_pinned(to, size_bytes));
    if (pageable && stream == captured_stream() && refused())
        return cudaErrorStreamCaptureUnsupported;
    if (!from_device && !is_pinned(from, size_bytes)) { /* staged at the call, as the driver does */
        auto staged =
            std::make_shared<std::vector<char>>((const char *)from, (const char *)from + size_bytes);
        enqueue_work(stream, [=] { memcpy(to, staged->data(), size_bytes); });
    } else {
        enqueue_work(stream, [=] { memmove(to, from, size_bytes); });
    }
    if (!to_device && !is_pinned(to, size_bytes))
        stream_wait(stream); /* pageable memory is filled when the call returns */
    return cudaSuccess;
}

} // namespace

bool simt_can_reach(const void *address) {
    streams_guard locked(streams_lock());
    return memory_is_device(address) || is_pinned(address, 1);
}

/* Memory and copies. */

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *address) {
    streams_guard locked(streams_lock());
    attributes->type = memory_is_device(address) ? cudaMemoryTypeDevice
                       : is_pinned(address, 1)   ? cudaMemoryTypeHost
                                                 : cudaMemoryTypeUnregistered;
    return gpu_status(cudaSuccess);
}

cudaError_t cudaMalloc(void **data, size_t size_bytes) {
    streams_guard locked(streams_lock());
    if (refused())
        return gpu_status(cudaErrorStreamCaptureUnsupported);
    cudaError_t status = gpu_fault(CALL_MALLOC);
    *data = status == cudaSuccess && size_bytes ? memory_allocate(size_bytes) : nullptr;
    if (status == cudaSuccess && size_bytes && !*data)
        status = cudaErrorMemoryAllocation;
    return gpu_status(status);
}

cudaError_t cudaFree(void *data) {
    streams_guard locked(streams_lock());
    if (refused())
        return gpu_status(cudaErrorStreamCaptureUnsupported);
    streams_wait_all();
    return gpu_status(!data || memory_free(data) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaHostAlloc(void **data, size_t size_bytes, unsigned int) {
    streams_guard locked(streams_lock());
    if (refused())
        return gpu_status(cudaErrorStreamCaptureUnsupported);
    *data = aligned_alloc(4096, (size_bytes + 4095) / 4096 * 4096);
    if (*data)
        pinned()[(const char *)*data] = size_bytes;
    return gpu_status(*data ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaMallocHost(void **data, size_t size_bytes) {
    return cudaHostAlloc(data, size_bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *data) {
    streams_guard locked(streams_lock());
    if (refused())
        return gpu_status(cudaErrorStreamCaptureUnsupported);
    streams_wait_all();
    if (data && !pinned().erase((const char *)data))
        return gpu_status(cudaErrorInvalidValue);
    free(data);
    return gpu_status(cudaSuccess);
}

cudaError_t cudaHostRegister(void *data, size_t size_bytes, unsigned int) {
    streams_guard locked(streams_lock());
    pinned()[(const char *)data] = size_bytes;
    return gpu_status(cudaSuccess);
}

cudaError_t cudaHostUnregister(void *data) {
    streams_guard locked(streams_lock());
    streams_wait_all();
    return gpu_status(pinned().erase((const char *)data) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    streams_guard locked(streams_lock());
    *free_bytes = memory_free_bytes();
    *total_bytes = memory_total_bytes();
    return gpu_status(cudaSuccess);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size_bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    streams_guard locked(streams_lock());
    return gpu_status(copy(to, from, size_bytes, kind, stream_find(stream)));
}

/* All streams count as made with cudaStreamNonBlocking: the NULL stream does not wait for them. */
cudaError_t cudaMemcpy(void *to, const void *from, size_t size_bytes, enum cudaMemcpyKind kind) {
    streams_guard locked(streams_lock());
    if (refused())
        return gpu_status(cudaErrorStreamCaptureUnsupported);
    cudaError_t status = copy(to, from, size_bytes, kind, stream_find(nullptr));
    stream_wait(stream_find(nullptr));
    return gpu_status(status);
}

cudaError_t cudaMemsetAsync(void *data, int value, size_t size_bytes, cudaStream_t stream) {
    streams_guard locked(streams_lock());
    stream = stream_find(stream);
    if (!stream || (size_bytes && !memory_contains(data, size_bytes) && !is_pinned(data, size_bytes)))
        return gpu_status(cudaErrorInvalidValue);
    if (size_bytes)
        enqueue_work(stream, [=] { memset(data, value, size_bytes); });
    return gpu_status(cudaSuccess);
}

cudaError_t cudaMemset(void *data, int value, size_t size_bytes) {
    return cudaMemsetAsync(data, value, size_bytes, nullptr);
}

/* Streams. */

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned int, int) {
    streams_guard locked(streams_lock());
    *stream = stream_create();
    return gpu_status(cudaSuccess);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    return cudaStreamCreateWithPriority(stream, cudaStreamDefault, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    streams_guard locked(streams_lock());
    if (!stream || !stream_find(stream))
        return gpu_status(cudaErrorInvalidResourceHandle);
    stream_destroy(stream);
    return gpu_status(cudaSuccess);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    streams_guard locked(streams_lock());
    stream = stream_find(stream);
    if (stream && stream == captured_stream() && refused())
        return gpu_status(cudaErrorStreamCaptureUnsupported);
    cudaError_t status = gpu_status(stream ? gpu_fault(CALL_WAIT) : cudaErrorInvalidResourceHandle);
    if (status != cudaSuccess)
        return status;
    if (!stream_poll(stream))
        return gpu_status(cudaErrorNotReady);
    memory_check();
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    streams_guard locked(streams_lock());
    stream = stream_find(stream);
    if (stream && stream == captured_stream() && refused())
        return gpu_status(cudaErrorStreamCaptureUnsupported);
    cudaError_t status = gpu_status(stream ? gpu_fault(CALL_WAIT) : cudaErrorInvalidResourceHandle);
    if (status == cudaSuccess) {
        stream_wait(stream);
        memory_check();
    }
    return status;
}

cudaError_t cudaDeviceSynchronize(void) {
    streams_guard locked(streams_lock());
    if (refused())
        return gpu_status(cudaErrorStreamCaptureUnsupported);
    cudaError_t status = gpu_status(gpu_fault(CALL_WAIT));
    if (status == cudaSuccess) {
        streams_wait_all();
        memory_check();
    }
    return status;
}

cudaError_t cudaDeviceReset(void) {
    streams_guard locked(streams_lock());
    streams_wait_all();
    return gpu_status(cudaSuccess);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *user) {
    streams_guard locked(streams_lock());
    stream = stream_find(stream);
    if (!stream)
        return gpu_status(cudaErrorInvalidResourceHandle);
    piece p;
    p.host = [=] { function(user); };
    stream_enqueue(stream, std::move(p));
    return gpu_status(cudaSuccess);
}

/* Events. */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags) {
    *event = new CUevent_st{!(flags & cudaEventDisableTiming), false, nullptr};
    return gpu_status(cudaSuccess);
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return gpu_status(cudaSuccess);
}

namespace {

void record(cudaEvent_t event, cudaStream_t stream) {
    event->latest = std::make_shared<mark>();
    piece p;
    p.record = event->latest;
    stream_enqueue(stream, std::move(p));
}

} // namespace

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned int flags) {
    streams_guard locked(streams_lock());
    stream = stream_find(stream);
    if (!stream)
        return gpu_status(cudaErrorInvalidResourceHandle);
    event->captured = stream == captured_stream() && !(flags & cudaEventRecordExternal);
    if (event->captured)
        return gpu_status(cudaSuccess);
    if (stream == captured_stream())
        capture_event(stream, event);
    else
        record(event, stream);
    return gpu_status(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
    streams_guard locked(streams_lock());
    stream = stream_find(stream);
    if (!stream)
        return gpu_status(cudaErrorInvalidResourceHandle);
    if (stream == captured_stream()) { /* of what is outside of the graph */
        capture_spoil();
        return gpu_status(cudaErrorStreamCaptureIsolation);
    }
    if (event->latest) { /* an event never recorded holds nobody up */
        piece p;
        p.wait = event->latest;
        stream_enqueue(stream, std::move(p));
    }
    return gpu_status(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    streams_guard locked(streams_lock());
    if (event->captured)
        return gpu_status(cudaErrorCapturedEvent);
    cudaError_t status = gpu_status(gpu_fault(CALL_WAIT));
    if (status != cudaSuccess || !event->latest)
        return status;
    return gpu_status(mark_poll(event->latest) ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    streams_guard locked(streams_lock());
    if (event->captured)
        return gpu_status(cudaErrorCapturedEvent);
    if (refused()) /* a wait of this thread */
        return gpu_status(cudaErrorStreamCaptureUnsupported);
    cudaError_t status = gpu_status(gpu_fault(CALL_WAIT));
    if (status == cudaSuccess && event->latest)
        mark_wait(event->latest);
    return status;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end) {
    streams_guard locked(streams_lock());
    if (!start->timed || !end->timed || !start->latest || !end->latest)
        return gpu_status(cudaErrorInvalidResourceHandle);
    if (!start->latest->passed || !end->latest->passed)
        return gpu_status(cudaErrorNotReady);
    *ms = (float)(1e3 * (end->latest->time_s - start->latest->time_s));
    return gpu_status(cudaSuccess);
}

/* Graphs: what a stream was given while it was captured, run again by each launch.  Other work of the same thread is refused
 * meanwhile where it waits or allocates, as with cudaStreamCaptureModeThreadLocal. */

struct CUgraph_st {
    std::vector<captured_piece> pieces;
};
struct CUgraphExec_st {
    std::vector<captured_piece> pieces;
};

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode) {
    streams_guard locked(streams_lock());
    cudaError_t status = gpu_fault(CALL_CAPTURE);
    if (status != cudaSuccess)
        return gpu_status(status);
    if (!stream || !stream_find(stream) || captured_stream()) /* the NULL stream cannot be captured */
        return gpu_status(cudaErrorStreamCaptureUnsupported);
    capture_begin(stream);
    return gpu_status(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    streams_guard locked(streams_lock());
    std::vector<captured_piece> pieces;
    *graph = nullptr;
    if (!captured_stream())
        return gpu_status(cudaErrorInvalidValue);
    if (!capture_end(stream, &pieces))
        return gpu_status(cudaErrorStreamCaptureInvalidated);
    cudaError_t status = gpu_fault(CALL_CAPTURE);
    if (status == cudaSuccess)
        *graph = new CUgraph_st{pieces};
    return gpu_status(status);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    streams_guard locked(streams_lock());
    cudaError_t status = gpu_fault(CALL_CAPTURE);
    *exec = status == cudaSuccess ? new CUgraphExec_st{graph->pieces} : nullptr;
    return gpu_status(status);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    streams_guard locked(streams_lock());
    stream = stream_find(stream);
    cudaError_t status = stream ? gpu_fault(CALL_LAUNCH) : cudaErrorInvalidResourceHandle;
    for (size_t i = 0; status == cudaSuccess && i < exec->pieces.size(); i++)
        if (exec->pieces[i].event)
            record(exec->pieces[i].event, stream);
        else
            stream_enqueue(stream, exec->pieces[i].work);
    return gpu_status(status);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return gpu_status(cudaSuccess);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return gpu_status(cudaSuccess);
}
