/* device.c - finding a GPU, telling what it is, opening it.  Every check of the machine happens here,
 * before the first allocation, with a message that says what was found and what to do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cublasLt.h>

#include "kernels/cuda/cuda.h"
#include "kernels/device_cuda.h"
#include "kernels/units.h"

/* Where the kernels run on the host no GPU's code is there. */
#ifndef ATELIER_GPU_CODES
#define ATELIER_GPU_CODES "host"
#endif

const char *device_codes_cuda(void) {
    return ATELIER_GPU_CODES;
}

/* oldest_arch - the kernels are for 8.0 (A100) and, where they were compiled by a toolkit that still knows it, for 7.0
 * (V100); newer GPUs run them too, or their own where there are some. */
static int oldest_arch(void) {
    const char *codes = device_codes_cuda();
    return strcmp(codes, "host") == 0 || strstr(codes, "sm_70") ? 70 : 80;
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
                   cudaGetErrorName(status), cuda_remedy(status));
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
                       cudaGetErrorString(status), cuda_remedy(status));
    const int oldest = oldest_arch();
    if (10 * prop->major + prop->minor < oldest)
        return err_set(
            err,
            "GPU '%s' has compute capability %d.%d, this program needs %d.%d or later (it was built for %s): "
            "choose another node, build it with a CUDA 12 toolkit for a V100 (make cuda CUDA_HOME=...), or "
            "set run.device: cpu",
            prop->name, prop->major, prop->minor, oldest / 10, oldest % 10, device_codes_cuda());
    return 0;
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
        cuda_gpu_text(&prop, gpu, sizeof gpu), gib_of(prop.totalGlobalMem), prop.major, prop.minor,
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
    memset(dev, 0, sizeof *dev);
    dev->ops = cuda_ops();
    dev->num_threads = 1;
    cuda_state_open(dev, ordinal, &prop, stream);
    return 0;
}

bool cuda_has_bf16(const struct device *dev) {
    enum { FIRST_WITH_BF16 = 80 };
    return cuda_arch(dev) >= FIRST_WITH_BF16;
}

int cuda_check_compute(const struct device *dev, enum dtype compute, const char *key, struct err *err) {
    const struct cuda_state *state = dev->state;
    if (compute != DTYPE_BF16 || cuda_has_bf16(dev))
        return 0;
    return err_set(
        err,
        "'%s' is bf16, which GPU '%s' (compute capability %d.%d) does not compute in: set it to f16 or f32",
        key, state->name, state->arch / 10, state->arch % 10);
}
