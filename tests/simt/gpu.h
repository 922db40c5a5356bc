/* gpu.h - the pretend GPUs: their properties, and the errors that calls return. */
#pragma once

#include <stddef.h>

#include "cuda_runtime_api.h"

/* Calls that SIMT_FAULT can make fail. */
enum gpu_call { CALL_LAUNCH, CALL_WAIT, CALL_MALLOC, CALL_CAPTURE, CALL_COUNT };

/* gpu_number - an environment variable such as "64M"; `otherwise` where it is not set. */
long gpu_number(const char *name, long otherwise);

/* gpu_fault - the error that this call meets, as SIMT_FAULT says; counts the calls. */
cudaError_t gpu_fault(enum gpu_call call);

/* gpu_status - what a call returns: its own status, remembered for cudaGetLastError, or an earlier error that
 * cannot be cleared. */
cudaError_t gpu_status(cudaError_t status);

/* simt_block_shared_bytes - the most shared memory that a block of this GPU can ask for. */
size_t simt_block_shared_bytes();
