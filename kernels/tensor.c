/* tensor.c - views: shapes and sizes, no memory. */
#include "kernels/tensor.h"

#include <stdio.h>
#include <string.h>

size_t dtype_bytes(enum dtype dtype) {
    switch (dtype) {
    case DTYPE_F32:
    case DTYPE_I32:
        return 4;
    case DTYPE_BF16:
    case DTYPE_F16:
        return 2;
    default:
        die("unknown dtype %d", (int)dtype);
    }
}

const char *dtype_name(enum dtype dtype) {
    static const char *const names[DTYPE_COUNT] = {"f32", "bf16", "f16", "i32"};
    return (unsigned)dtype < DTYPE_COUNT ? names[dtype] : "?";
}

/* Dimensions that a view has not are 1, so that products over all four are right. */
struct tensor tensor_1d(void *data, enum dtype dtype, int64_t d0) {
    struct tensor t = {data, dtype, 1, {d0, 1, 1, 1}};
    return t;
}

struct tensor tensor_2d(void *data, enum dtype dtype, int64_t d0, int64_t d1) {
    struct tensor t = {data, dtype, 2, {d0, d1, 1, 1}};
    return t;
}

struct tensor tensor_3d(void *data, enum dtype dtype, int64_t d0, int64_t d1, int64_t d2) {
    struct tensor t = {data, dtype, 3, {d0, d1, d2, 1}};
    return t;
}

int64_t tensor_count(struct tensor t) {
    int64_t count = 1;
    for (int d = 0; d < t.ndim; d++)
        count *= t.dims[d];
    return count;
}

size_t tensor_bytes(struct tensor t) {
    return (size_t)tensor_count(t) * dtype_bytes(t.dtype);
}

struct tensor tensor_rows(struct tensor t, int64_t first, int64_t count) {
    CHECK(first >= 0 && count >= 0 && first + count <= t.dims[0], "rows %lld + %lld of a tensor of %lld",
          (long long)first, (long long)count, (long long)t.dims[0]);
    int64_t row_count = t.dims[0] ? tensor_count(t) / t.dims[0] : 0;
    t.data = (char *)t.data + (size_t)(first * row_count) * dtype_bytes(t.dtype);
    t.dims[0] = count;
    return t;
}

const char *tensor_shape_text(struct tensor t, char *text, size_t room_bytes) {
    size_t used = (size_t)snprintf(text, room_bytes, "[");
    for (int d = 0; d < t.ndim && used < room_bytes; d++)
        used += (size_t)snprintf(text + used, room_bytes - used, d ? ", %lld" : "%lld", (long long)t.dims[d]);
    if (used < room_bytes)
        snprintf(text + used, room_bytes - used, "] %s", dtype_name(t.dtype));
    return text;
}
