/* state.c - what an open GPU holds: its stream, staging, timing, products made ready. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/graph.h"

void cuda_state_open(struct device *dev, int ordinal, const struct cudaDeviceProp *prop,
                     cudaStream_t stream) {
    struct cuda_state *state = xcalloc(1, sizeof *state);
    dev->state = state;
    state->ordinal = ordinal;
    state->stream = stream;
    state->arch = 10 * prop->major + prop->minor;
    state->num_sms = prop->multiProcessorCount;
    state->block_shared_bytes = (int)prop->sharedMemPerBlockOptin;
    snprintf(state->name, sizeof state->name, "%.95s", prop->name);
    cuda_gpu_text(prop, state->gpu, sizeof state->gpu);
    for (int i = 0; i < 2; i++)
        CUDA_CHECK(cudaEventCreateWithFlags(&state->paces[i], cudaEventDisableTiming));
    state->staging = cuda_staging_create();
    state->timing = cuda_timing_create();
    state->linear = cuda_linear_create(dev);
    state->graphs = cuda_graphs_create(dev->ops, graph_writing_ops);
}

void cuda_close(struct device *dev) {
    struct cuda_state *state = dev->state;
    cuda_synchronize(dev);
    cuda_graphs_free(state->graphs);
    cuda_linear_free(state->linear);
    cuda_timing_free(state->timing);
    cuda_staging_free(state->staging);
    for (int i = 0; i < 2; i++)
        CUDA_CHECK(cudaEventDestroy(state->paces[i]));
    CUDA_CHECK(cudaFree(state->scratch));
    CUDA_CHECK(cudaStreamDestroy(state->stream));
    free(state);
}
