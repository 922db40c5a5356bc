/* timing.c - seconds of each family of ops, measured on the GPU.
 *
 * A pair of events around each op goes into a ring and is read when both have passed: nobody waits for it,
 * unless the host runs further ahead than the ring is long. */
#include <stdlib.h>

#include "kernels/cuda/cuda.h"
#include "kernels/device_cuda.h"

enum { NUM_PAIRS = 2048 };

struct pair {
    cudaEvent_t begin, end;
    enum op_id id;
    enum device_section section;
};

struct cuda_timing {
    bool on;
    bool begun; /* between op_begin and op_end */
    int64_t num_recorded, num_collected;
    struct pair pairs[NUM_PAIRS]; /* pair n is pairs[n % NUM_PAIRS] */
};

static struct cuda_timing *timing_of(struct device *dev) {
    return ((struct cuda_state *)dev->state)->timing;
}

struct cuda_timing *cuda_timing_create(void) {
    struct cuda_timing *timing = xcalloc(1, sizeof *timing);
    timing->on = true;
    for (int i = 0; i < NUM_PAIRS; i++) {
        CUDA_CHECK(cudaEventCreate(&timing->pairs[i].begin));
        CUDA_CHECK(cudaEventCreate(&timing->pairs[i].end));
    }
    return timing;
}

void cuda_timing_free(struct cuda_timing *timing) {
    for (int i = 0; i < NUM_PAIRS; i++) {
        CUDA_CHECK(cudaEventDestroy(timing->pairs[i].begin));
        CUDA_CHECK(cudaEventDestroy(timing->pairs[i].end));
    }
    free(timing);
}

void cuda_time_ops(struct device *dev, bool on) {
    cuda_timing_collect(dev);
    timing_of(dev)->on = on;
}

/* collect_oldest - add up the oldest pair if it has passed. */
static bool collect_oldest(struct device *dev) {
    struct cuda_timing *timing = timing_of(dev);
    struct pair *oldest = &timing->pairs[timing->num_collected % NUM_PAIRS];
    float ms;
    if (timing->num_collected == timing->num_recorded)
        return false;
    cudaError_t status = cudaEventElapsedTime(&ms, oldest->begin, oldest->end);
    if (status == cudaErrorNotReady) {
        (void)cudaGetLastError();
        return false;
    }
    CUDA_CHECK(status);
    dev->counts.seconds[oldest->id] += 1e-3 * (double)ms;
    if (oldest->id != OP_TRANSFER)
        dev->counts.section_seconds[oldest->section] += 1e-3 * (double)ms;
    timing->num_collected++;
    return true;
}

void cuda_timing_collect(struct device *dev) {
    while (collect_oldest(dev))
        ;
}

void cuda_op_begin(struct device *dev, enum op_id id) {
    struct cuda_timing *timing = timing_of(dev);
    if (!timing->on)
        return;
    if (timing->num_recorded - timing->num_collected == NUM_PAIRS) {
        cuda_wait_event(dev, timing->pairs[timing->num_collected % NUM_PAIRS].end);
        cuda_timing_collect(dev);
    }
    struct pair *pair = &timing->pairs[timing->num_recorded % NUM_PAIRS];
    pair->id = id;
    pair->section = dev->section;
    CUDA_CHECK(cudaEventRecord(pair->begin, cuda_stream(dev)));
    timing->begun = true;
}

void cuda_op_end(struct device *dev, enum op_id id) {
    struct cuda_timing *timing = timing_of(dev);
    (void)id; /* the pair has it: ops do not nest */
    if (!timing->begun)
        return;
    CUDA_CHECK(cudaEventRecord(timing->pairs[timing->num_recorded % NUM_PAIRS].end, cuda_stream(dev)));
    timing->num_recorded++;
    timing->begun = false;
}
