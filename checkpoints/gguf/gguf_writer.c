/* gguf_writer.c - writing GGUF: metadata and directory are collected in memory, then the file goes out front
 * to back.
 *
 * llama.cpp insists that the offset of a tensor is the sum of the padded sizes before it, so the order of the
 * calls fixes every offset and nothing is ever written twice. */
#include "checkpoints/gguf/gguf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "checkpoints/value_check.h"
#include "data/file.h"

enum { ALIGNMENT = 32, MAX_NAME_BYTES = 63, GGUF_VERSION = 3 };

struct buffer {
    uint8_t *bytes;
    size_t used_bytes, room_bytes;
};

struct gguf_writer {
    struct buffer keys, directory;
    uint64_t num_keys, num_tensors;
    struct gguf_tensor *tensors; /* offset: relative to the data */
    char **names;                /* [num_tensors] */
    uint64_t data_bytes;         /* of all tensors, padded */
    char *path;                  /* NULL until the file is begun */
    int fd;
    int64_t at;        /* bytes written */
    uint64_t current;  /* tensor being written */
    int64_t rows_done; /* of it */
    struct buffer packed;
};

static uint64_t padded(uint64_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* reserve - room for so many more bytes; the pointer is valid until the next call. */
static uint8_t *reserve(struct buffer *buffer, size_t bytes) {
    if (buffer->room_bytes - buffer->used_bytes < bytes) {
        buffer->room_bytes = 2 * (buffer->used_bytes + bytes);
        buffer->bytes = xrealloc(buffer->bytes, buffer->room_bytes);
    }
    return buffer->bytes + buffer->used_bytes;
}

static void append(struct buffer *buffer, const void *bytes, size_t num_bytes) {
    if (num_bytes)
        memcpy(reserve(buffer, num_bytes), bytes, num_bytes);
    buffer->used_bytes += num_bytes;
}

/* Numbers as they are in memory: the format is little-endian, as is every machine the program is built for. */
static void append_u32(struct buffer *buffer, uint32_t value) {
    append(buffer, &value, sizeof value);
}

static void append_u64(struct buffer *buffer, uint64_t value) {
    append(buffer, &value, sizeof value);
}

static void append_string(struct buffer *buffer, const char *text, size_t length_bytes) {
    append_u64(buffer, length_bytes);
    append(buffer, text, length_bytes);
}

/* --- metadata --- */

struct gguf_writer *gguf_writer_create(void) {
    struct gguf_writer *writer = xcalloc(1, sizeof *writer);
    writer->fd = -1;
    return writer;
}

/* start_key - the type goes before the value, of an array also the elements' type and their number. */
static void start_key(struct gguf_writer *writer, const char *key, enum gguf_type type) {
    CHECK(!writer->path && key[0], "key '%s' after the metadata were written", key);
    append_string(&writer->keys, key, strlen(key));
    append_u32(&writer->keys, (uint32_t)type);
    writer->num_keys++;
}

static void start_array(struct gguf_writer *writer, const char *key, enum gguf_type type, int64_t count) {
    start_key(writer, key, GGUF_ARRAY);
    append_u32(&writer->keys, (uint32_t)type);
    append_u64(&writer->keys, (uint64_t)count);
}

void gguf_set_u32(struct gguf_writer *writer, const char *key, uint32_t value) {
    start_key(writer, key, GGUF_U32);
    append_u32(&writer->keys, value);
}

void gguf_set_f32(struct gguf_writer *writer, const char *key, float value) {
    start_key(writer, key, GGUF_F32);
    append(&writer->keys, &value, sizeof value);
}

void gguf_set_bool(struct gguf_writer *writer, const char *key, bool value) {
    uint8_t byte = value;
    start_key(writer, key, GGUF_BOOL);
    append(&writer->keys, &byte, sizeof byte);
}

void gguf_set_string(struct gguf_writer *writer, const char *key, const char *value, size_t length_bytes) {
    start_key(writer, key, GGUF_STRING);
    append_string(&writer->keys, value, length_bytes);
}

void gguf_set_text(struct gguf_writer *writer, const char *key, const char *text) {
    gguf_set_string(writer, key, text, strlen(text));
}

void gguf_set_strings(struct gguf_writer *writer, const char *key, const struct gguf_string *values,
                      int64_t count) {
    start_array(writer, key, GGUF_STRING, count);
    for (int64_t i = 0; i < count; i++)
        append_string(&writer->keys, values[i].text, values[i].length_bytes);
}

void gguf_set_f32s(struct gguf_writer *writer, const char *key, const float *values, int64_t count) {
    start_array(writer, key, GGUF_F32, count);
    append(&writer->keys, values, (size_t)count * sizeof *values);
}

void gguf_set_i32s(struct gguf_writer *writer, const char *key, const int32_t *values, int64_t count) {
    start_array(writer, key, GGUF_I32, count);
    append(&writer->keys, values, (size_t)count * sizeof *values);
}

/* --- directory --- */

/* The offset is the sum of the padded sizes before, as it must be (see above); dims[0] is the fastest. */
void gguf_add_tensor(struct gguf_writer *writer, const char *name, int ndim, const int64_t *dims,
                     enum ggml_type type) {
    const struct quant_format *format = quant_format((int)type);
    CHECK(!writer->path && format && ndim >= 1 && ndim <= 4, "cannot add the tensor '%s'", name);
    CHECK(strlen(name) <= MAX_NAME_BYTES, "tensor name '%s' is too long for GGUF", name);
    CHECK(dims[0] % format->block_count == 0, "rows of %lld values do not fit %s", (long long)dims[0],
          format->name);
    struct gguf_tensor tensor = {NULL, (int)type, ndim, {1, 1, 1, 1}, 1, (int64_t)writer->data_bytes, 0};
    append_string(&writer->directory, name, strlen(name));
    append_u32(&writer->directory, (uint32_t)ndim);
    for (int d = 0; d < ndim; d++) {
        append_u64(&writer->directory, (uint64_t)dims[d]);
        tensor.dims[d] = dims[d];
        tensor.count *= dims[d];
    }
    append_u32(&writer->directory, (uint32_t)type);
    append_u64(&writer->directory, writer->data_bytes);
    tensor.size_bytes = tensor.count / format->block_count * (int64_t)format->block_bytes;
    writer->tensors = xrealloc(writer->tensors, (size_t)(writer->num_tensors + 1) * sizeof *writer->tensors);
    writer->names = xrealloc(writer->names, (size_t)(writer->num_tensors + 1) * sizeof *writer->names);
    writer->names[writer->num_tensors] = xstrdup(name);
    writer->tensors[writer->num_tensors++] = tensor;
    writer->data_bytes += padded((uint64_t)tensor.size_bytes);
}

/* --- the file --- */

static int write_bytes(struct gguf_writer *writer, const void *bytes, size_t num_bytes, struct err *err) {
    if (file_write_at(writer->fd, writer->path, bytes, num_bytes, writer->at, err) != 0)
        return -1;
    writer->at += (int64_t)num_bytes;
    return 0;
}

/* write_padding - up to the next multiple of the alignment. */
static int write_padding(struct gguf_writer *writer, struct err *err) {
    static const uint8_t zeros[ALIGNMENT];
    return write_bytes(writer, zeros, (size_t)(padded((uint64_t)writer->at) - (uint64_t)writer->at), err);
}

/* The file gets its whole size at once: a disk that is too small says so now and not after an hour of writing. */
int gguf_writer_begin(struct gguf_writer *writer, const char *path, struct err *err) {
    struct buffer head = {NULL, 0, 0};
    CHECK(!writer->path, "a GGUF writer writes one file");
    writer->path = xstrdup(path);
    append(&head, "GGUF", 4);
    append_u32(&head, GGUF_VERSION);
    append_u64(&head, writer->num_tensors);
    append_u64(&head, writer->num_keys);
    append(&head, writer->keys.bytes, writer->keys.used_bytes);
    append(&head, writer->directory.bytes, writer->directory.used_bytes);
    writer->fd = file_create_sized(path, (int64_t)(padded(head.used_bytes) + writer->data_bytes), err);
    int status = -1;
    if (writer->fd >= 0 && write_bytes(writer, head.bytes, head.used_bytes, err) == 0)
        status = write_padding(writer, err);
    free(head.bytes);
    return status;
}

/* Checked before they are packed: in f16 and q8_0 a number that does not fit would become an infinity that nobody can trace. */
int gguf_write_rows(struct gguf_writer *writer, int64_t num_rows, const float *rows, struct err *err) {
    CHECK(writer->fd >= 0 && writer->current < writer->num_tensors, "rows without a tensor");
    const struct gguf_tensor *tensor = &writer->tensors[writer->current];
    const struct quant_format *format = quant_format(tensor->type);
    int64_t total_rows = tensor->count / tensor->dims[0], count = num_rows * tensor->dims[0];
    CHECK(num_rows >= 0 && num_rows <= total_rows - writer->rows_done, "%lld rows more than the tensor has",
          (long long)(num_rows - (total_rows - writer->rows_done)));
    if (count == 0)
        return 0;
    int64_t first = writer->rows_done * tensor->dims[0];
    if (value_check(writer->names[writer->current], value_type_of_ggml((enum ggml_type)tensor->type), rows,
                    first, count, err) != 0)
        return -1;
    size_t packed_bytes = (size_t)(count / format->block_count) * format->block_bytes;
    quant_encode(tensor->type, rows, count, reserve(&writer->packed, packed_bytes));
    if (write_bytes(writer, writer->packed.bytes, packed_bytes, err) != 0)
        return -1;
    writer->rows_done += num_rows;
    if (writer->rows_done < total_rows)
        return 0;
    writer->rows_done = 0;
    writer->current++;
    return write_padding(writer, err);
}

int gguf_writer_end(struct gguf_writer *writer, struct err *err) {
    CHECK(writer->fd >= 0 && writer->current == writer->num_tensors, "%llu of %llu tensors were written",
          (unsigned long long)writer->current, (unsigned long long)writer->num_tensors);
    int fd = writer->fd;
    writer->fd = -1;
    return file_sync_close(fd, writer->path, err);
}

void gguf_writer_free(struct gguf_writer *writer) {
    if (!writer)
        return;
    if (writer->fd >= 0)
        close(writer->fd); /* given up: the caller removes the file */
    free(writer->keys.bytes);
    free(writer->directory.bytes);
    free(writer->packed.bytes);
    for (uint64_t i = 0; i < writer->num_tensors; i++)
        free(writer->names[i]);
    free(writer->names);
    free(writer->tensors);
    free(writer->path);
    free(writer);
}
