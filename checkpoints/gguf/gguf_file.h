/* gguf_file.h - an opened GGUF file as gguf.c fills it and gguf_values.c reads it.  Private to the two. */
#pragma once

#include "checkpoints/gguf/gguf.h"

struct gguf_entry {
    char *key;
    enum gguf_type type, element_type; /* the same for a scalar */
    int64_t count;                     /* elements; 1 for a scalar */
    uint64_t at;                       /* of the first element in the block */
    uint64_t *string_at;               /* [count] for strings: each one's length field; else NULL */
};

/* Of the entry or tensor with that index. */
struct gguf_named {
    const char *name; /* borrowed */
    int64_t index;
};

struct gguf {
    char *path;
    int fd;
    uint64_t file_bytes;
    const uint8_t *mapped; /* all of it, once gguf_map_tensor was called */
    size_t mapped_bytes;
    uint8_t *head; /* the first head_bytes of the file */
    uint64_t head_bytes;
    uint64_t at; /* where the parser is */
    struct gguf_entry *entries;
    int64_t num_entries;
    struct gguf_tensor *tensors;
    int64_t num_tensors;
    struct gguf_named *key_names, *tensor_names; /* sorted */
};

/* gguf_string_at - the string whose length field, checked before, is at `at` in head. */
struct gguf_string gguf_string_at(const struct gguf *file, uint64_t at);

/* gguf_type_bytes - of one value; 0 for strings and arrays, -1 for a number that is not a type. */
int gguf_type_bytes(uint32_t type);
