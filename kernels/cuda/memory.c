/* memory.c - device memory, scratch, and copies between host and GPU.
 *
 * Copies pass through a ring of page-locked slots: the host fills a slot, the GPU fetches it in stream order,
 * and an event says when the slot may be filled again.  So the host stays ahead of the GPU while it feeds it
 * batches, and a large copy keeps both busy. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/graph.h"
#include "kernels/units.h"

enum { NUM_SLOTS = 64, SLOT_BYTES = 256 * KIB };

struct cuda_staging {
    char *slots; /* NUM_SLOTS * SLOT_BYTES, page-locked */
    cudaEvent_t done[NUM_SLOTS];
    int64_t num_taken; /* slots ever taken; the next is num_taken % NUM_SLOTS */
};

static struct cuda_state *state_of(struct device *dev) {
    return dev->state;
}

struct cuda_staging *cuda_staging_create(void) {
    struct cuda_staging *staging = xcalloc(1, sizeof *staging);
    CUDA_CHECK(cudaHostAlloc((void **)&staging->slots, (size_t)NUM_SLOTS * SLOT_BYTES, cudaHostAllocDefault));
    for (int i = 0; i < NUM_SLOTS; i++)
        CUDA_CHECK(cudaEventCreateWithFlags(&staging->done[i], cudaEventDisableTiming));
    return staging;
}

void cuda_staging_free(struct cuda_staging *staging) {
    for (int i = 0; i < NUM_SLOTS; i++)
        CUDA_CHECK(cudaEventDestroy(staging->done[i]));
    CUDA_CHECK(cudaFreeHost(staging->slots));
    free(staging);
}

/* --- allocation --- */

void *cuda_allocate(struct device *dev, size_t size_bytes) {
    void *data = NULL;
    cudaError_t status = cudaMalloc(&data, size_bytes ? size_bytes : 1);
    if (status == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* the caller decides what it means */
        return NULL;
    }
    if (status != cudaSuccess)
        cuda_die(__FILE__, __LINE__, "cudaMalloc", status);
    cuda_zero(dev, data, size_bytes);
    return data;
}

void cuda_release(struct device *dev, void *data, size_t size_bytes) {
    (void)size_bytes;
    cuda_wait(dev, cuda_stream(dev)); /* cudaFree would wait too, without polling */
    CUDA_CHECK(cudaFree(data));
}

void *cuda_allocate_host(struct device *dev, size_t size_bytes) {
    (void)dev;
    void *data = NULL;
    cudaError_t status = cudaHostAlloc(&data, size_bytes ? size_bytes : 1, cudaHostAllocDefault);
    if (status == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return NULL;
    }
    if (status != cudaSuccess)
        cuda_die(__FILE__, __LINE__, "cudaHostAlloc", status);
    memset(data, 0, size_bytes);
    return data;
}

void cuda_release_host(struct device *dev, void *data, size_t size_bytes) {
    (void)size_bytes;
    cuda_wait(dev, cuda_stream(dev));
    CUDA_CHECK(cudaFreeHost(data));
}

size_t cuda_memory_free(struct device *dev, size_t *total_bytes) {
    (void)dev;
    size_t free_bytes = 0;
    CUDA_CHECK(cudaMemGetInfo(&free_bytes, total_bytes));
    return free_bytes;
}

/* grow_scratch - a larger block; the old one may still be in use on the stream. */
static void grow_scratch(struct device *dev, size_t size_bytes) {
    struct cuda_state *state = state_of(dev);
    cuda_wait(dev, state->stream);
    graphs_forget(dev);
    CUDA_CHECK(cudaFree(state->scratch));
    state->scratch = NULL;
    CUDA_CHECK(cudaMalloc((void **)&state->scratch, size_bytes));
    state->scratch_bytes = size_bytes;
}

void *cuda_scratch(struct device *dev, size_t size_bytes) {
    struct cuda_state *state = state_of(dev);
    if (size_bytes > state->scratch_bytes) {
        CHECK(!state->reserved, "an op asks for %zu bytes of scratch, %zu are reserved", size_bytes,
              state->scratch_bytes);
        grow_scratch(dev, size_bytes);
    }
    return state->scratch;
}

void cuda_reserve(struct device *dev, size_t scratch_bytes) {
    struct cuda_state *state = state_of(dev);
    if (scratch_bytes > state->scratch_bytes)
        grow_scratch(dev, scratch_bytes);
    state->reserved = true;
}

/* --- copies --- */

/* In stream order; the runtime sees from the addresses what is host and what is device memory. */
static void copy_async(struct device *dev, void *to, const void *from, size_t size_bytes) {
    CUDA_CHECK(cudaMemcpyAsync(to, from, size_bytes, cudaMemcpyDefault, cuda_stream(dev)));
}

void cuda_zero(struct device *dev, void *data, size_t size_bytes) {
    if (size_bytes)
        CUDA_CHECK(cudaMemsetAsync(data, 0, size_bytes, cuda_stream(dev)));
}

void cuda_copy(struct device *dev, void *to, const void *from, size_t size_bytes) {
    if (size_bytes && to != from)
        copy_async(dev, to, from, size_bytes);
}

/* take_slot - the next slot, once the GPU is done with it. */
static int take_slot(struct device *dev) {
    struct cuda_staging *staging = state_of(dev)->staging;
    int slot = (int)(staging->num_taken++ % NUM_SLOTS);
    cuda_wait_event(dev, staging->done[slot]);
    return slot;
}

static char *slot_data(struct device *dev, int slot) {
    return state_of(dev)->staging->slots + (size_t)slot * SLOT_BYTES;
}

static void mark_slot(struct device *dev, int slot) {
    CUDA_CHECK(cudaEventRecord(state_of(dev)->staging->done[slot], cuda_stream(dev)));
}

static size_t chunk_bytes(size_t size_bytes, size_t offset) {
    return size_bytes - offset < SLOT_BYTES ? size_bytes - offset : SLOT_BYTES;
}

void cuda_upload(struct device *dev, void *to, const void *host, size_t size_bytes) {
    for (size_t offset = 0; offset < size_bytes; offset += SLOT_BYTES) {
        size_t chunk = chunk_bytes(size_bytes, offset);
        int slot = take_slot(dev);
        memcpy(slot_data(dev, slot), (const char *)host + offset, chunk);
        copy_async(dev, (char *)to + offset, slot_data(dev, slot), chunk);
        mark_slot(dev, slot);
    }
}

void cuda_download(struct device *dev, void *host, const void *from, size_t size_bytes) {
    struct cuda_staging *staging = state_of(dev)->staging;
    int64_t first = staging->num_taken; /* chunk i is in slot (first + i) % NUM_SLOTS */
    size_t asked = 0;                   /* bytes that the GPU was asked for: up to NUM_SLOTS chunks ahead */
    for (size_t offset = 0; offset < size_bytes; offset += SLOT_BYTES) {
        for (; asked < size_bytes && asked - offset < (size_t)NUM_SLOTS * SLOT_BYTES; asked += SLOT_BYTES) {
            int slot = take_slot(dev);
            copy_async(dev, slot_data(dev, slot), (const char *)from + asked, chunk_bytes(size_bytes, asked));
            mark_slot(dev, slot);
        }
        int slot = (int)((first + (int64_t)(offset / SLOT_BYTES)) % NUM_SLOTS);
        cuda_wait_event(dev, staging->done[slot]);
        memcpy((char *)host + offset, slot_data(dev, slot), chunk_bytes(size_bytes, offset));
    }
}

void cuda_synchronize(struct device *dev) {
    cuda_wait(dev, cuda_stream(dev));
    cuda_timing_collect(dev);
    cuda_graphs_collect(dev);
}
