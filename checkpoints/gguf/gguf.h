/* gguf.h - the GGUF v3 container: metadata and tensor directory, read and written.
 * What the keys and names mean for a model lives in gguf_model.c and gguf_tokenizer.c.
 * Source: ggml-org/ggml docs/gguf.md. */
#pragma once

#include "checkpoints/gguf/quant.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

struct gguf;

/* gguf_open - reads and checks header, metadata and directory; tensor data stays on disk.  Tensors of a type
 * atelier does not know are listed all the same. Returns NULL with err set: not GGUF, version, a length
 * beyond the file, duplicate names, offsets that overlap. */
struct gguf *gguf_open(const char *path, struct err *err);
/* gguf_close - strings and tensors borrowed from it are gone. */
void gguf_close(struct gguf *file);

/* gguf_path - the path it was opened by, for messages. */
const char *gguf_path(const struct gguf *file);

/* A text of the metadata. */
struct gguf_string {
    const char *text; /* borrowed, not NUL-terminated */
    size_t length_bytes;
};

/* Metadata, by index below gguf_num_keys (to list it) or by key.  gguf_find_key returns -1 where absent. */
int64_t gguf_num_keys(const struct gguf *file);
int64_t gguf_find_key(const struct gguf *file, const char *key);
const char *gguf_key(const struct gguf *file, int64_t index); /* borrowed */
enum gguf_type gguf_key_type(const struct gguf *file, int64_t index);
/* gguf_array_type, gguf_array_count - of the elements; a scalar counts as an array of one. */
enum gguf_type gguf_array_type(const struct gguf *file, int64_t index);
int64_t gguf_array_count(const struct gguf *file, int64_t index);
/* gguf_get_int, _double, _string - a value; element is 0 for a scalar.  Numbers of any numeric type and bool convert, where nothing is lost.
 * Return 0, or -1 with err set: another type, a fraction or overflow, an element out of range. */
int gguf_get_int(const struct gguf *file, int64_t index, int64_t element, int64_t *value, struct err *err);
int gguf_get_double(const struct gguf *file, int64_t index, int64_t element, double *value, struct err *err);
int gguf_get_string(const struct gguf *file, int64_t index, int64_t element, struct gguf_string *value,
                    struct err *err);

/* Directory.  dims in file order: dims[0] is the row length ("in"). */
struct gguf_tensor {
    const char *name; /* borrowed */
    int type;         /* enum ggml_type, or a number atelier does not know */
    int ndim;
    int64_t dims[4];
    int64_t count;
    int64_t offset, size_bytes; /* in the file; size 0 for unknown types */
};
/* gguf_tensor - by index, below gguf_num_tensors.  gguf_find_tensor - the index of a name, -1 where absent. */
int64_t gguf_num_tensors(const struct gguf *file);
struct gguf_tensor gguf_tensor(const struct gguf *file, int64_t index);
int64_t gguf_find_tensor(const struct gguf *file, const char *name);

/* gguf_read_f32 - elements [first, first + count) of a tensor, dequantised; any alignment to blocks is
 * handled. Returns 0, or -1 with err set. */
int gguf_read_f32(const struct gguf *file, int64_t tensor, int64_t first, int64_t count, float *out,
                  struct err *err);

/* gguf_map_tensor - its bytes as they are in the file, mapped, until gguf_close.  NULL where the file cannot be mapped or has
 * become too short: gguf_read_f32 then says why. */
const uint8_t *gguf_map_tensor(struct gguf *file, int64_t tensor);

struct gguf_writer;

/* gguf_writer_create - collects metadata and tensors, then writes.  Keys keep the order in which they are
 * set.  gguf_writer_free - also where nothing was written, or a write failed; the file is the caller's to remove. */
struct gguf_writer *gguf_writer_create(void);
void gguf_writer_free(struct gguf_writer *writer);

/* gguf_set_* - one key of that type, copied.  Keys are set once; a value's strings need not end with NUL where a length is
 * given. */
void gguf_set_u32(struct gguf_writer *writer, const char *key, uint32_t value);
void gguf_set_f32(struct gguf_writer *writer, const char *key, float value);
void gguf_set_bool(struct gguf_writer *writer, const char *key, bool value);
void gguf_set_string(struct gguf_writer *writer, const char *key, const char *value, size_t length_bytes);
void gguf_set_text(struct gguf_writer *writer, const char *key, const char *text); /* up to its NUL */
void gguf_set_strings(struct gguf_writer *writer, const char *key, const struct gguf_string *values,
                      int64_t count);
void gguf_set_f32s(struct gguf_writer *writer, const char *key, const float *values, int64_t count);
void gguf_set_i32s(struct gguf_writer *writer, const char *key, const int32_t *values, int64_t count);
/* gguf_add_tensor - dims [ndim] in file order.  The order of the calls is the order in the file. */
void gguf_add_tensor(struct gguf_writer *writer, const char *name, int ndim, const int64_t *dims,
                     enum ggml_type type);
/* gguf_writer_begin - create path, write everything up to the data.  gguf_write_rows - the next rows of the
 * tensor being written, from f32 (quantised row by row); tensors follow in order.  gguf_writer_end - pad,
 * fsync, close.  Return 0, or -1 with err set: what the disk said. */
int gguf_writer_begin(struct gguf_writer *writer, const char *path, struct err *err);
int gguf_write_rows(struct gguf_writer *writer, int64_t num_rows, const float *rows, struct err *err);
int gguf_writer_end(struct gguf_writer *writer, struct err *err);
