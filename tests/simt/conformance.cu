/* conformance.cu - the probes on a GPU: one line for each wrapper.
 *
 * Returns 0, 1 on failures, 77 where there is no GPU.  With a file name, the words that the probes wrote go
 * there; test_conformance writes the same file on the host, and diff tells where the machines differ.
 * By hand, with NVCC = nvcc -std=c++17 -O3 -I. and cuda_die of kernels/cuda/device.c among OBJECTS:
 *
 *     NVCC -gencode arch=compute_80,code=[sm_80,compute_80] -gencode arch=compute_90a,code=sm_90a \
 *          -c tests/simt/conformance.cu        (and conformance_sm70.cu, conformance_sm80.cu, conformance_sm89.cu)
 *     NVCC -gencode arch=compute_90a,code=sm_90a -c tests/simt/conformance_sm90.cu
 *     NVCC -o conformance conformance.o conformance_sm80.o conformance_sm89.o conformance_sm90.o OBJECTS */
#include "conformance.h"

int main(int argc, char **argv) {
    int num_gpus = 0;
    cudaDeviceProp gpu;
    if (cudaGetDeviceCount(&num_gpus) != cudaSuccess || num_gpus == 0) {
        printf("no GPU\n");
        return 77;
    }
    CONFORMANCE_CUDA(cudaGetDeviceProperties(&gpu, 0));
    conformance run = {argc > 1 ? fopen(argv[1], "w") : nullptr, 0, 0, false};
    probe_sm70(&run);
    probe_sm89(&run);
    if (gpu.major >= 8)
        probe_sm80(&run);
    if (gpu.major == 9)
        probe_sm90(&run);
    else
        printf("skipped the probes of sm_90a: %s has compute capability %d.%d\n", gpu.name, gpu.major,
               gpu.minor);
    if (run.dump)
        fclose(run.dump);
    printf("%s: %d probes, %d failed\n", gpu.name, run.num_probes, run.num_failed);
    return run.num_failed != 0;
}
