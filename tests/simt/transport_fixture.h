/* transport_fixture.h - what the tests of the transports of GPU buffers work with: one device, buffers with known
 * values, an assertion that all ranks fail together. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "kernels/device_cuda.h"
#include "tests/assert_all.h"
#include "train/ranks/cuda/transport_cuda.h"

static struct device dev; /* opened by main */

/* term - element i of what a rank brings; whole numbers over 64, so that sums are exact in any order. */
static inline float term(int rank, int64_t i, int salt) {
    uint32_t x = (uint32_t)i * 2654435761u + (uint32_t)rank * 40503u + (uint32_t)salt * 97u;
    x ^= x >> 13;
    return (float)((x * 2246822519u) >> 20) / 64.0f;
}

static inline float sum_of_terms(int num_ranks, int64_t i, int salt) {
    float sum = 0;
    for (int r = 0; r < num_ranks; r++)
        sum += term(r, i, salt);
    return sum;
}

/* A buffer on the device with its values on the host. */
struct buffer {
    int64_t count;
    float *host, *device;
};

static inline struct buffer buffer_create(int64_t count) {
    struct buffer buffer = {count, xcalloc((size_t)count + 1, sizeof(float)), NULL};
    buffer.device = device_allocate(&dev, (size_t)(count + 1) * sizeof(float));
    CHECK(buffer.device, "no memory");
    return buffer;
}

static inline void buffer_free(struct buffer *buffer) {
    device_release(&dev, buffer->device, (size_t)(buffer->count + 1) * sizeof(float));
    free(buffer->host);
}

static inline struct tensor whole(const struct buffer *buffer) {
    return tensor_1d(buffer->device, DTYPE_F32, buffer->count);
}

static inline void buffer_fill(struct buffer *buffer, int rank, int64_t first, int salt) {
    for (int64_t i = 0; i < buffer->count; i++)
        buffer->host[i] = term(rank, first + i, salt);
    device_upload(&dev, whole(buffer), buffer->host);
}

static inline void copy(float *to, const float *from, int64_t count) {
    device_copy(&dev, tensor_1d(to, DTYPE_F32, count), tensor_1d((float *)(uintptr_t)from, DTYPE_F32, count));
}

static inline void open_link(struct transport *t, struct comm *comm, enum transport_kind kind) {
    struct err err = {""};
    assert_all(comm, transport_open(t, comm, &dev, kind, &err) == 0, "%s", err.text);
}
