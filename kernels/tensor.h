/* tensor.h - what a tensor is, and the legend of shape letters used everywhere.
 *
 *   N  tokens of one packed micro-batch (all its sequences and documents, laid end to end)
 *   C  model width            H  query heads      G  key/value heads      D  head width
 *   F  feed-forward width     V  vocabulary       L  layers               S  cache positions
 *   Q  = H + 2 G, the heads of the fused query/key/value projection
 *
 * A tensor is a view: pointer, type, shape; contiguous, row-major, never owning.  Gradients carry
 * the name of what they belong to with d in front. */
#pragma once

#include "kernels/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_I32, DTYPE_COUNT };

enum { TENSOR_MAX_DIMS = 4 };

struct tensor {
    void *data; /* borrowed */
    enum dtype dtype;
    int ndim;
    int64_t dims[TENSOR_MAX_DIMS];
};

/* dtype_bytes - bytes of one element.  dtype_name - "f32", "bf16", "f16", "i32". */
size_t dtype_bytes(enum dtype dtype);
const char *dtype_name(enum dtype dtype);

/* tensor_1d, tensor_2d, tensor_3d - views on memory that belongs to somebody else; data NULL: a shape alone. */
struct tensor tensor_1d(void *data, enum dtype dtype, int64_t d0);
struct tensor tensor_2d(void *data, enum dtype dtype, int64_t d0, int64_t d1);
struct tensor tensor_3d(void *data, enum dtype dtype, int64_t d0, int64_t d1, int64_t d2);

/* tensor_count - elements.  tensor_bytes - bytes. */
int64_t tensor_count(struct tensor t);
size_t tensor_bytes(struct tensor t);

/* tensor_rows - view of rows [first, first + count) along dimension 0. */
struct tensor tensor_rows(struct tensor t, int64_t first, int64_t count);

/* tensor_shape_text - "[4096, 512] bf16" into the caller's buffer; returns it. */
const char *tensor_shape_text(struct tensor t, char *text, size_t room_bytes);

#ifdef __cplusplus
}
#endif
