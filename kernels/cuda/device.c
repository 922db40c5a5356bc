/* device.c - opening a GPU, telling its errors, waiting for it.  Every check of the machine happens here,
 * before the first allocation, with a message that says what was found and what to do. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cublasLt.h>

#include "kernels/clock.h"
#include "kernels/cuda/cuda.h"
#include "kernels/device_cuda.h"

/* The oldest kernels are for 8.0 (A100); newer GPUs run them too, or their own where there are some. */
enum { OLDEST_ARCH = 80 };

static struct cuda_state *state_of(const struct device *dev) {
    return dev->state;
}

cudaStream_t cuda_stream(struct device *dev) {
    return state_of(dev)->stream;
}

int cuda_num_sms(const struct device *dev) {
    return state_of(dev)->num_sms;
}

int cuda_arch(const struct device *dev) {
    return state_of(dev)->arch;
}

/* --- errors --- */

/* gpu_text - "NVIDIA H200, GPU-01234567-89ab-cdef-0123-456789abcdef", as nvidia-smi writes it. */
static const char *gpu_text(const struct cudaDeviceProp *prop, char *text, size_t room_bytes) {
    const unsigned char *u = (const unsigned char *)prop->uuid.bytes;
    snprintf(text, room_bytes,
             "%.80s, GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", prop->name,
             u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
             u[15]);
    return text;
}

static const char *remedy(cudaError_t status) {
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
        gpu_text(&prop, gpu, sizeof gpu);
    die_at(file, line, "CUDA: %s: %s (%s) on %s: %s", what, cudaGetErrorString(status),
           cudaGetErrorName(status), gpu, remedy(status));
}

/* --- finding a GPU --- */

/* visible_text - what the environment lets the process see, as part of a message. */
static const char *visible_text(void) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return visible ? visible : "not set";
}

/* explain_none - why the runtime counts no GPU. */
static int explain_none(cudaError_t status, struct err *err) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        return err_set(err, "no NVIDIA driver on this machine: run on a node with a GPU "
                            "(Slurm: --gpus-per-node), or set run.device: cpu");
    if (status == cudaErrorInsufficientDriver)
        return err_set(
            err,
            "the NVIDIA driver is for CUDA %d.%d at most, this program needs %d.%d: build it with an "
            "older CUDA toolkit, or ask for a newer driver",
            driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (status == cudaErrorNoDevice || status == cudaSuccess)
        return err_set(
            err,
            "no GPU is visible (CUDA_VISIBLE_DEVICES is '%s'): ask for one (Slurm: --gpus-per-node), or "
            "set run.device: cpu",
            status == cudaSuccess ? "" : visible_text());
    return err_set(err, "cannot look for GPUs: %s (%s): %s", cudaGetErrorString(status),
                   cudaGetErrorName(status), remedy(status));
}

/* find_gpu - its properties, when this program can use it. */
static int find_gpu(int ordinal, struct cudaDeviceProp *prop, struct err *err) {
    int num_gpus = 0;
    cudaError_t status = cudaGetDeviceCount(&num_gpus);
    if (status != cudaSuccess || num_gpus < 1)
        return explain_none(status, err);
    if (ordinal < 0 || ordinal >= num_gpus)
        return err_set(
            err,
            "GPU %d asked for, but this process sees %d (CUDA_VISIBLE_DEVICES is '%s'): start as many "
            "ranks per node as there are GPUs",
            ordinal, num_gpus, visible_text());
    status = cudaGetDeviceProperties(prop, ordinal);
    if (status != cudaSuccess)
        return err_set(err, "cannot read the properties of GPU %d: %s: %s", ordinal,
                       cudaGetErrorString(status), remedy(status));
    if (10 * prop->major + prop->minor < OLDEST_ARCH)
        return err_set(
            err,
            "GPU '%s' has compute capability %d.%d, this program needs %d.%d or later (A100, H100 or "
            "newer): choose another node, or set run.device: cpu",
            prop->name, prop->major, prop->minor, OLDEST_ARCH / 10, OLDEST_ARCH % 10);
    return 0;
}

/* Where the kernels run on the host no GPU's code is there. */
#ifndef ATELIER_GPU_CODES
#define ATELIER_GPU_CODES "host"
#endif

const char *device_codes_cuda(void) {
    return ATELIER_GPU_CODES;
}

const char *device_describe_cuda(int ordinal, char *text, size_t room_bytes) {
    struct cudaDeviceProp prop;
    struct err err = {""};
    char gpu[160];
    int driver = 0, runtime = 0;
    if (find_gpu(ordinal, &prop, &err)) {
        snprintf(text, room_bytes, "%s", err.text);
        return text;
    }
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    size_t cublaslt = cublasLtGetVersion();
    snprintf(
        text, room_bytes,
        "%s, %.1f GiB, compute capability %d.%d, %d multiprocessors, driver for CUDA %d.%d, runtime %d.%d, "
        "cuBLASLt %zu.%zu.%zu",
        gpu_text(&prop, gpu, sizeof gpu), (double)prop.totalGlobalMem / 0x1p30, prop.major, prop.minor,
        prop.multiProcessorCount, driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10,
        cublaslt / 10000, cublaslt / 100 % 100, cublaslt % 100);
    return text;
}

int device_open_cuda(struct device *dev, int ordinal, struct err *err) {
    struct cudaDeviceProp prop;
    cudaStream_t stream;
    if (find_gpu(ordinal, &prop, err))
        return -1;
    cudaError_t status = cudaSetDevice(ordinal);
    if (status == cudaSuccess) /* the first call that needs the GPU itself */
        status = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    if (status != cudaSuccess)
        return err_set(err, "cannot use GPU %d '%s': %s: another process may hold it (see nvidia-smi)",
                       ordinal, prop.name, cudaGetErrorString(status));
    struct cuda_state *state = xcalloc(1, sizeof *state);
    memset(dev, 0, sizeof *dev);
    dev->ops = cuda_ops();
    dev->num_threads = 1;
    dev->state = state;
    state->ordinal = ordinal;
    state->stream = stream;
    state->arch = 10 * prop.major + prop.minor;
    state->num_sms = prop.multiProcessorCount;
    snprintf(state->name, sizeof state->name, "%.95s", prop.name);
    gpu_text(&prop, state->gpu, sizeof state->gpu);
    state->staging = cuda_staging_create();
    state->timing = cuda_timing_create();
    state->linear = cuda_linear_create(dev);
    return 0;
}

void cuda_close(struct device *dev) {
    struct cuda_state *state = state_of(dev);
    cuda_synchronize(dev);
    cuda_linear_free(state->linear);
    cuda_timing_free(state->timing);
    cuda_staging_free(state->staging);
    CUDA_CHECK(cudaFree(state->scratch));
    CUDA_CHECK(cudaStreamDestroy(state->stream));
    free(state);
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
            cudaGetErrorName(status), state_of(dev)->gpu, remedy(status));
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
