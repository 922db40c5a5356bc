/* safetensors_header.h - the JSON header of one safetensors file, checked whole.  Private to safetensors*.c
 * and to the fuzz target. */
#pragma once

#include "kernels/tensor.h"

/* The format's own limit; the reference reader refuses more. */
enum { ST_MAX_HEADER_BYTES = 100000000 };

/* One tensor of a file.  Offsets are in bytes from the end of the header. */
struct st_tensor {
    char *name;
    const char *dtype_text; /* static */
    enum dtype dtype;       /* DTYPE_COUNT: none of atelier's */
    int ndim;
    int64_t dims[TENSOR_MAX_DIMS]; /* the first four */
    int64_t *shape;                /* all of them [ndim], malloc'ed */
    int64_t count;                 /* elements */
    int64_t begin, end;
    int file; /* index, set by the caller */
};

/* st_header_parse - tensors of a header text, in the order of their offsets; *tensors is malloc'ed, its
 * names and shapes too.  data_bytes: of the file after the header.  Returns their number, or -1 with err set:
 * malformed, unknown type, a shape whose product overflows or disagrees with the offsets, a hole, an overlap,
 * bytes left over.  st_tensors_free - such a list. */
int64_t st_header_parse(const char *text, size_t length_bytes, int64_t data_bytes, const char *path,
                        struct st_tensor **tensors, struct err *err);
void st_tensors_free(struct st_tensor *tensors, int64_t count);

/* st_dtype_text - "F32", "BF16", "F16", "I32". */
const char *st_dtype_text(enum dtype dtype);
