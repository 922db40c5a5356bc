/* runtime.h - what the stand-in for the CUDA runtime offers the other parts of the shim, and its knobs.
 *
 * Environment, read once:
 *   SIMT_SEED=n           order of streams, below (default 0)
 *   SIMT_MEMORY_BYTES=n   device memory (default 4 GiB; suffixes K, M, G)
 *   SIMT_ARCH=90|80|75|70 a pretend H100, A100, T4 or V100 (default 90)
 *   SIMT_GPUS=n           GPUs in this machine (default 8); 0: none
 *   SIMT_DRIVER=n         driver version, 13000 for 13.0 (default: the runtime's); 0: no driver
 *   SIMT_FAULT=what:n[:code]  the n-th launch, wait, malloc or capture (from 1) of the process returns a CUDA error;
 * codes: default 701 (out of resources), 214 (uncorrectable ECC), 2 (out of memory), 801 (not supported).  Codes from 200 on, but
 * 701, stay: every later call returns them, as on a GPU
 *   SIMT_PRODUCTS=path    cublasLtMatmul writes to path.PID, a line for each product whose algorithm is not
 * that of the last product of the same shape: m n k, types of A and D, both transposed or not, beta not 0,
 * SM target; after a colon the algorithm's id
 *
 * Streams move only inside calls of the runtime; nothing runs behind the host's back.  The seed says how:
 *   0        at once: whatever can run, runs when it is enqueued
 *   1        as late as possible: a wait runs only what it depends on
 *   2        late, and a wait runs everything else first
 *   3 and up at random: any stream, any number of pieces, at any call
 * All are legal on a GPU; a program that forgets to wait for an event gets other bits under some of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda_runtime_api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* simt_stream_seed - choose the order of streams from here on; waits for all work first. */
void simt_stream_seed(uint32_t seed);

/* simt_progress - let the streams move a little, as the seed says: for whoever waits outside the runtime, for
 * example for a message of another rank whose stream waits for this one. */
void simt_progress(void);

/* simt_nccl_max_ctas - the limit of the communicator that was opened last; 0: none. */
int simt_nccl_max_ctas(void);

/* simt_nccl_gathers - of this process so far: by copy engines (1), by kernels (0). */
long simt_nccl_gathers(int by_engines);

/* simt_can_reach - may a kernel follow this address: device memory, or page-locked host memory?  For launches
 * that check their arguments; a kernel that is given any other host memory works here and faults on a GPU. */
bool simt_can_reach(const void *address);

#ifdef __cplusplus
}

#include <functional>

/* simt_submit - enqueue a piece of work: a kernel launch, or anything that runs in stream order.  Device
 * memory is open while it runs.  What the work needs is captured by value, as a launch does.  Errors of the
 * call (injected, or left by earlier work) are cudaGetLastError's, as after a launch.  What the work throws
 * comes out of the call that makes it run. */
void simt_submit(cudaStream_t stream, std::function<void()> work);

/* simt_submit_polled - enqueue work that is in progress for a while, such as a collective: poll is called in
 * stream order, with device memory open, until it returns true.  Other streams go on meanwhile.  Device
 * memory is closed again when poll returns: what it gives to MPI must lie in host memory. */
void simt_submit_polled(cudaStream_t stream, std::function<bool()> poll);

#endif
