/* timing.c - seconds of each family of ops, measured on the GPU.
 *
 * A pair of events around each op goes into a ring and is read when both have passed: nobody waits for it,
 * unless the host runs further ahead than the ring is long.  In a graph there are fixed events instead, one wherever the family
 * or the section changes: copies and gaps between two ops count for the first of them. */
#include <stdlib.h>

#include "kernels/cuda/cuda.h"
#include "kernels/device_cuda.h"

enum { NUM_PAIRS = 2048 };

struct pair {
    cudaEvent_t begin, end;
    enum op_id id;
    enum device_section section;
};

/* Ops of a graph that follow one another and are of one family and section. */
struct span {
    cudaEvent_t begin;
    enum op_id id;
    enum device_section section;
};

struct cuda_spans {
    struct span *spans;
    int count, room;
    cudaEvent_t end;
    bool is_pending; /* launched, and not yet added to the counts */
};

struct cuda_timing {
    bool on;
    struct cuda_spans *open; /* of the graph that is being captured, or NULL */
    bool begun;              /* between op_begin and op_end */
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

/* --- In graphs. */

struct cuda_spans *cuda_spans_open(struct device *dev) {
    struct cuda_timing *timing = timing_of(dev);
    timing->open = timing->on ? xcalloc(1, sizeof *timing->open) : NULL;
    return timing->open;
}

/* record_inside - a new event, recorded by each launch of the graph that is being captured. */
static cudaEvent_t record_inside(struct device *dev) {
    cudaEvent_t event;
    CUDA_CHECK(cudaEventCreate(&event));
    CUDA_CHECK(cudaEventRecordWithFlags(event, cuda_stream(dev), cudaEventRecordExternal));
    return event;
}

static void add_span(struct device *dev, struct cuda_spans *spans, enum op_id id) {
    const struct span *last = spans->count ? &spans->spans[spans->count - 1] : NULL;
    if (last && last->id == id && last->section == dev->section)
        return;
    if (spans->count == spans->room) {
        spans->room = spans->room ? 2 * spans->room : 64;
        spans->spans = xrealloc(spans->spans, (size_t)spans->room * sizeof *spans->spans);
    }
    spans->spans[spans->count++] = (struct span){record_inside(dev), id, dev->section};
}

void cuda_spans_close(struct device *dev) {
    struct cuda_timing *timing = timing_of(dev);
    if (timing->open)
        timing->open->end = record_inside(dev);
    timing->open = NULL;
}

void cuda_spans_free(struct cuda_spans *spans) {
    if (!spans)
        return;
    for (int i = 0; i < spans->count; i++)
        CUDA_CHECK(cudaEventDestroy(spans->spans[i].begin));
    CUDA_CHECK(cudaEventDestroy(spans->end));
    free(spans->spans);
    free(spans);
}

void cuda_spans_begun(struct cuda_spans *spans) {
    if (spans)
        spans->is_pending = true;
}

void cuda_spans_collect(struct device *dev, struct cuda_spans *spans) {
    if (!spans || !spans->is_pending)
        return;
    cuda_wait_event(dev, spans->end);
    for (int i = 0; i < spans->count; i++) {
        const struct span *span = &spans->spans[i];
        float ms;
        CUDA_CHECK(cudaEventElapsedTime(&ms, span->begin,
                                        i + 1 < spans->count ? spans->spans[i + 1].begin : spans->end));
        dev->counts.seconds[span->id] += 1e-3 * (double)ms;
        if (span->id != OP_TRANSFER)
            dev->counts.section_seconds[span->section] += 1e-3 * (double)ms;
    }
    spans->is_pending = false;
}

/* --- Outside. */

void cuda_op_begin(struct device *dev, enum op_id id) {
    struct cuda_timing *timing = timing_of(dev);
    if (timing->open)
        add_span(dev, timing->open, id);
    if (!timing->on || timing->open)
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
    if (!timing->begun || timing->open)
        return;
    CUDA_CHECK(cudaEventRecord(timing->pairs[timing->num_recorded % NUM_PAIRS].end, cuda_stream(dev)));
    timing->num_recorded++;
    timing->begun = false;
}
