/* gpu.cpp - versions, devices and errors of the stand-in; runtime.h says what the environment sets. */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

namespace {

const char *const call_names[CALL_COUNT] = {"launch", "wait", "malloc", "capture"};
const cudaError_t call_errors[CALL_COUNT] = {cudaErrorLaunchOutOfResources, cudaErrorECCUncorrectable,
                                             cudaErrorMemoryAllocation, cudaErrorNotSupported};

/* The error that SIMT_FAULT asks for. */
struct fault {
    int call = -1;
    long countdown = 0;
    cudaError_t code = cudaSuccess;
};

/* fault_from - "wait:3" or "wait:3:719". */
fault fault_from(const char *text) {
    fault f;
    if (!text || !*text)
        return f;
    char name[16];
    int code = 0;
    int fields = sscanf(text, "%15[a-z]:%ld:%d", name, &f.countdown, &code);
    for (int call = 0; fields >= 2 && call < CALL_COUNT; call++)
        if (!strcmp(name, call_names[call])) {
            f.call = call;
            f.code = fields == 3 ? (cudaError_t)code : call_errors[call];
        }
    if (f.call < 0) {
        fprintf(stderr,
                "simt: SIMT_FAULT is '%s', expected launch, wait, malloc or capture, a number, a code\n",
                text);
        abort();
    }
    return f;
}

struct gpu {
    int num_gpus = (int)gpu_number("SIMT_GPUS", 8);
    int arch = (int)gpu_number("SIMT_ARCH", 90);
    int driver = (int)gpu_number("SIMT_DRIVER", CUDART_VERSION);
    struct fault fault = fault_from(getenv("SIMT_FAULT"));
    int ordinal = 0;
    cudaError_t last = cudaSuccess, sticky = cudaSuccess;
};

gpu &the_gpu() {
    static gpu g;
    return g;
}

/* block_shared_kib - CUDA C++ Programming Guide, "Technical Specifications per Compute Capability". */
int block_shared_kib(const gpu &g) {
    return g.arch == 90 ? 227 : g.arch == 80 ? 163 : g.arch == 75 ? 64 : 96;
}

} // namespace

long gpu_number(const char *name, long otherwise) {
    const char *text = getenv(name);
    if (!text || !*text)
        return otherwise;
    char *end;
    long value = strtol(text, &end, 10);
    for (const char *unit = "KMG"; *unit; unit++) {
        if (!*end)
            break;
        value *= 1024;
        if (*end == *unit)
            end++;
    }
    if (*end || value < 0) {
        fprintf(stderr, "simt: %s is '%s', expected a number\n", name, text);
        abort();
    }
    return value;
}

cudaError_t gpu_status(cudaError_t status) {
    gpu &g = the_gpu();
    if (g.sticky != cudaSuccess)
        return g.sticky;
    if (status == cudaSuccess || status == cudaErrorNotReady)
        return status;
    g.last = status;
    const bool of_capture = status >= cudaErrorStreamCaptureUnsupported && status <= cudaErrorCapturedEvent;
    if (status >= 200 && !of_capture && status != cudaErrorNotSupported &&
        status != cudaErrorLaunchOutOfResources && status != cudaErrorInvalidResourceHandle)
        g.sticky = status; /* the context is lost */
    return status;
}

cudaError_t gpu_fault(enum gpu_call call) {
    fault &f = the_gpu().fault;
    return f.call == call && --f.countdown == 0 ? f.code : cudaSuccess;
}

size_t simt_block_shared_bytes() {
    return (size_t)block_shared_kib(the_gpu()) << 10;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = the_gpu().driver;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) {
    gpu &g = the_gpu();
    *count = 0;
    if (g.driver / 1000 < CUDART_VERSION / 1000) /* no driver (0) reads the same */
        return gpu_status(cudaErrorInsufficientDriver);
    if (!g.num_gpus)
        return gpu_status(cudaErrorNoDevice);
    *count = g.num_gpus;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
    *device = the_gpu().ordinal;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    gpu &g = the_gpu();
    if (device < 0 || device >= g.num_gpus)
        return gpu_status(cudaErrorInvalidDevice);
    g.ordinal = device;
    return gpu_status(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device) {
    gpu &g = the_gpu();
    if (device < 0 || device >= g.num_gpus)
        return gpu_status(cudaErrorInvalidDevice);
    memset(prop, 0, sizeof *prop);
    const char *name = g.arch == 90 ? "H100" : g.arch == 80 ? "A100" : g.arch == 75 ? "T4" : "V100";
    snprintf(prop->name, sizeof prop->name, "pretend NVIDIA %s", name);
    for (int i = 0; i < 16; i++)
        prop->uuid.bytes[i] = (char)(16 * i + device);
    prop->totalGlobalMem = memory_total_bytes();
    prop->sharedMemPerBlock = 48 << 10;
    prop->sharedMemPerBlockOptin = (size_t)block_shared_kib(g) << 10;
    prop->sharedMemPerMultiprocessor = (g.arch == 90   ? 228
                                        : g.arch == 80 ? 164
                                        : g.arch == 75 ? 64
                                                       : 96)
                                       << 10;
    prop->regsPerBlock = 65536;
    prop->warpSize = 32;
    prop->maxThreadsPerBlock = 1024;
    prop->maxThreadsPerMultiProcessor = 2048;
    prop->major = g.arch / 10;
    prop->minor = g.arch % 10;
    prop->multiProcessorCount = g.arch == 90 ? 132 : g.arch == 80 ? 108 : 80;
    prop->ECCEnabled = 1;
    prop->pciBusID = 0x10 + device;
    prop->asyncEngineCount = 3;
    prop->memoryBusWidth = 5120;
    prop->l2CacheSize = 50 << 20;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attr, int device) {
    cudaDeviceProp prop;
    cudaError_t status = cudaGetDeviceProperties(&prop, device);
    if (status != cudaSuccess)
        return status;
    switch (attr) {
    case cudaDevAttrMultiProcessorCount:
        *value = prop.multiProcessorCount;
        return cudaSuccess;
    case cudaDevAttrL2CacheSize:
        *value = prop.l2CacheSize;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *value = prop.major;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = prop.minor;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)prop.sharedMemPerBlockOptin;
        return cudaSuccess;
    }
    return gpu_status(cudaErrorInvalidValue);
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int room_bytes, int device) {
    snprintf(text, (size_t)room_bytes, "0000:%02X:00.0", 0x10 + device);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaPeekAtLastError(void) {
    gpu &g = the_gpu();
    return g.sticky != cudaSuccess ? g.sticky : g.last;
}

cudaError_t cudaGetLastError(void) {
    cudaError_t status = cudaPeekAtLastError();
    the_gpu().last = cudaSuccess;
    return status;
}

/* The errors that the tests provoke, in words of our own. */
static const struct {
    cudaError_t code;
    const char *name, *text;
} error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "driver too old for the runtime"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no device found"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "no such device"},
    {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "illegal memory access"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources", "too many resources for a launch"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "not permitted while a stream is captured"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "an earlier error spoilt the capture"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "a dependence on work outside of the capture"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent", "the event was recorded in a capture"},
};

const char *cudaGetErrorName(cudaError_t error) {
    for (auto &e : error_texts)
        if (e.code == error)
            return e.name;
    return "cudaErrorUnknown";
}

const char *cudaGetErrorString(cudaError_t error) {
    for (auto &e : error_texts)
        if (e.code == error)
            return e.text;
    return "unknown error";
}
