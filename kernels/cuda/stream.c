/* stream.c - the GPU's stream, its errors, and waiting for it. */
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "kernels/clock.h"
#include "kernels/cuda/cuda.h"

static struct cuda_state *state_of(const struct device *dev) {
    return dev->state;
}

cudaStream_t cuda_stream(struct device *dev) {
    if (state_of(dev)->before_stream)
        state_of(dev)->before_stream(dev);
    return state_of(dev)->stream;
}

int cuda_num_sms(const struct device *dev) {
    return state_of(dev)->num_sms;
}

int cuda_arch(const struct device *dev) {
    return state_of(dev)->arch;
}

int cuda_block_shared_bytes(const struct device *dev) {
    return state_of(dev)->block_shared_bytes;
}

const char *cuda_gpu_text(const struct cudaDeviceProp *prop, char *text, size_t room_bytes) {
    const unsigned char *u = (const unsigned char *)prop->uuid.bytes;
    snprintf(text, room_bytes,
             "%.80s, GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", prop->name,
             u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
             u[15]);
    return text;
}

const char *cuda_remedy(cudaError_t status) {
    switch (status) {
    case cudaErrorMemoryAllocation:
        return "another process may be using this GPU (see nvidia-smi), or the batch is too large for it";
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
        return "the hardware failed: leave this node out, tell its administrators (nvidia-smi -q -d ECC), "
               "resume from the last checkpoint";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
        return "this program was not built for this GPU: build it on this machine";
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorLaunchFailure:
        return "a kernel failed, now or earlier: look for 'Xid' in the system log (hardware), else report "
               "it; "
               "with CUDA_LAUNCH_BLOCKING=1 the error comes up where it happens";
    case cudaErrorLaunchTimeout:
        return "a kernel ran too long: this GPU also drives a display";
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureIsolation:
    case cudaErrorCapturedEvent:
        return "an operation cannot be part of a CUDA graph: a fault of this program; set run.graphs: false";
    case cudaErrorSystemNotReady:
    case cudaErrorSystemDriverMismatch:
        return "the NVIDIA driver or its fabric manager is not running properly: tell the administrators";
    default:
        return "see the system log for 'NVRM'";
    }
}

void cuda_die(const char *file, int line, const char *what, cudaError_t status) {
    struct cudaDeviceProp prop;
    char gpu[160] = "unknown GPU";
    int ordinal;
    if (cudaGetDevice(&ordinal) == cudaSuccess && cudaGetDeviceProperties(&prop, ordinal) == cudaSuccess)
        cuda_gpu_text(&prop, gpu, sizeof gpu);
    die_at(file, line, "CUDA: %s: %s (%s) on %s: %s", what, cudaGetErrorString(status),
           cudaGetErrorName(status), gpu, cuda_remedy(status));
}

/* --- waiting --- */

/* A wait in progress: it spins for a moment, as most waits are short, and then looks now and then. */
struct wait {
    double start_s, told_s;
};
enum { SPIN_NS = 200000, PAUSE_NS = 50000, TELL_NS = 5000000 };

/* go_on - between two looks: false when the wait is over.  Dies on an error, naming the GPU. */
static bool go_on(struct device *dev, struct wait *wait, cudaError_t status) {
    if (status == cudaSuccess)
        return false;
    if (status != cudaErrorNotReady)
        die("CUDA: waiting for the GPU: %s (%s) on %s: %s", cudaGetErrorString(status),
            cudaGetErrorName(status), state_of(dev)->gpu, cuda_remedy(status));
    (void)cudaGetLastError(); /* "not ready" is remembered as if it were an error */
    double now = clock_s();
    if (dev->while_waiting && now - wait->told_s >= 1e-9 * TELL_NS) {
        wait->told_s = now;
        dev->while_waiting(dev->waiting_user, now - wait->start_s);
    }
    if (now - wait->start_s < 1e-9 * SPIN_NS)
        sched_yield();
    else
        nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
    return true;
}

void cuda_wait(struct device *dev, cudaStream_t stream) {
    struct wait wait = {clock_s(), clock_s()};
    while (go_on(dev, &wait, cudaStreamQuery(stream)))
        ;
}

void cuda_wait_event(struct device *dev, cudaEvent_t event) {
    struct wait wait = {clock_s(), clock_s()};
    while (go_on(dev, &wait, cudaEventQuery(event)))
        ;
}

/* An event that was never recorded has passed. */
void cuda_keep_pace(struct device *dev) {
    struct cuda_state *state = state_of(dev);
    CUDA_CHECK(cudaEventRecord(state->paces[state->num_paces % 2], cuda_stream(dev)));
    state->num_paces++;
    cuda_wait_event(dev, state->paces[state->num_paces % 2]);
}
