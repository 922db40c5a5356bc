/* raw_tensors.h - a safetensors file with tensors of any type, byte for byte as the test wants them: what no writer of
 * ours writes. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "tests/check.h"

struct raw_tensor {
    char name[256];
    const char *dtype_text;
    int64_t dims[4]; /* up to the first 0: a matrix, a vector, a scalar */
    void *bytes;     /* freed by raw_write */
    size_t length_bytes;
};

struct raw_file {
    struct raw_tensor tensors[256];
    int count;
};

/* raw_add - takes a copy of the bytes. */
static inline void raw_add(struct raw_file *file, const char *name, const char *dtype_text, int64_t rows,
                           int64_t cols, const void *bytes, size_t length_bytes) {
    assert_true(file->count < 256);
    struct raw_tensor *tensor = &file->tensors[file->count++];
    *tensor =
        (struct raw_tensor){.dtype_text = dtype_text, .dims = {rows, cols, 0}, .length_bytes = length_bytes};
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->bytes = xmalloc(length_bytes + 1);
    memcpy(tensor->bytes, bytes, length_bytes);
}

/* raw_add_stack - the same, of three dimensions. */
static inline void raw_add_stack(struct raw_file *file, const char *name, const char *dtype_text,
                                 const int64_t dims[3], const void *bytes, size_t length_bytes) {
    raw_add(file, name, dtype_text, dims[0], dims[1], bytes, length_bytes);
    file->tensors[file->count - 1].dims[2] = dims[2];
}

/* raw_add_stacks - the same, of four. */
static inline void raw_add_stacks(struct raw_file *file, const char *name, const char *dtype_text,
                                  const int64_t dims[4], const void *bytes, size_t length_bytes) {
    raw_add_stack(file, name, dtype_text, dims, bytes, length_bytes);
    file->tensors[file->count - 1].dims[3] = dims[3];
}

/* raw_write - the file, and the list is empty again. */
static inline void raw_write(struct raw_file *file, const char *path) {
    json_t *header = json_object();
    uint64_t at = 0;
    for (int i = 0; i < file->count; i++) {
        const struct raw_tensor *tensor = &file->tensors[i];
        json_t *shape = json_array();
        for (int d = 0; d < 4 && tensor->dims[d] > 0; d++)
            json_array_append_new(shape, json_integer(tensor->dims[d]));
        json_object_set_new(header, tensor->name,
                            json_pack("{s:s,s:o,s:[I,I]}", "dtype", tensor->dtype_text, "shape", shape,
                                      "data_offsets", (json_int_t)at,
                                      (json_int_t)(at + tensor->length_bytes)));
        at += tensor->length_bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    uint64_t header_bytes = strlen(text);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    fwrite(&header_bytes, sizeof header_bytes, 1, out);
    fwrite(text, 1, header_bytes, out);
    for (int i = 0; i < file->count; i++) {
        fwrite(file->tensors[i].bytes, 1, file->tensors[i].length_bytes, out);
        free(file->tensors[i].bytes);
    }
    assert_int_equal(fclose(out), 0);
    free(text);
    json_decref(header);
    file->count = 0;
}
