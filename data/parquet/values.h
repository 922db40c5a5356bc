/* values.h - the values of a page, one after another, whatever their encoding: each as the bytes that PLAIN has for it (a text
 * without its length; a truth value as one byte).  Source: apache/parquet-format, Encodings.md. */
#pragma once

#include "data/parquet/page.h"

/* The values of a dictionary page. */
struct dictionary {
    char *bytes;              /* its own */
    struct text_span *values; /* [num_values], in bytes */
    int64_t num_values;
};

/* What all values of a column are. */
struct value_kind {
    enum parquet_type type;
    int32_t length_bytes; /* of PARQUET_FIXED */
};

struct values {
    struct value_kind kind;
    int64_t encoding;
    struct bytes from;
    const struct dictionary *dictionary;
    struct runs runs; /* indices, truth values */
    struct deltas deltas,
        prefixes;         /* numbers, or lengths; of DELTA_BYTE_ARRAY: of suffixes, and how much is shared */
    uint64_t index;       /* of the next value: truth values of PLAIN, and split bytes */
    struct text previous; /* DELTA_BYTE_ARRAY: the last text */
    unsigned char scratch[16]; /* a number that was put together */
};

/* values_start - of a page; what an earlier page left in values is used again.  Returns 0, or -1 with err set: an encoding
 * that such values cannot have, or damaged.  values_next - borrowed until the next one.  Returns 0, or -1 with err set. */
int values_start(struct values *values, struct value_kind kind, const struct page *page,
                 const struct dictionary *dictionary, struct err *err);
int values_next(struct values *values, struct text_span *value, struct err *err);
void values_release(struct values *values);

/* dictionary_read - takes a copy of a page's values.  Returns 0, or -1 with err set; dictionary_release either way. */
int dictionary_read(struct dictionary *dictionary, struct value_kind kind, const struct page *page,
                    struct err *err);
void dictionary_release(struct dictionary *dictionary);
