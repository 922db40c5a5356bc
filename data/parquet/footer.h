/* footer.h - what a Parquet file says of itself at its end: its columns as a list of elements, and where the chunks of each
 * row group lie.  Source: apache/parquet-format, src/main/thrift/parquet.thrift. */
#pragma once

#include "data/corpus/text.h"

enum parquet_type {
    PARQUET_GROUP = -1,
    PARQUET_BOOLEAN,
    PARQUET_INT32,
    PARQUET_INT64,
    PARQUET_INT96,
    PARQUET_FLOAT,
    PARQUET_DOUBLE,
    PARQUET_BYTE_ARRAY,
    PARQUET_FIXED,
    PARQUET_TYPE_COUNT
};
enum parquet_repetition { PARQUET_REQUIRED, PARQUET_OPTIONAL, PARQUET_REPEATED };

/* What a column's values mean, beyond its type; those that are not told apart here are PARQUET_OTHER. */
enum parquet_meaning {
    PARQUET_PLAIN,
    PARQUET_TEXT,
    PARQUET_LIST,
    PARQUET_MAP,
    PARQUET_SIGNED,
    PARQUET_UNSIGNED,
    PARQUET_DATE,
    PARQUET_MOMENT,
    PARQUET_DECIMAL,
    PARQUET_UUID,
    PARQUET_OTHER
};
/* The longest decimal number that is read: of 76 digits. */
enum { PARQUET_DECIMAL_BYTES = 32, PARQUET_DECIMAL_DIGITS = 76 };
enum parquet_zone { PARQUET_LOCAL, PARQUET_UTC };

/* An element of the schema, depth first: a column (a leaf), or a group of the num_children that follow. */
struct parquet_element {
    struct text_span name; /* valid UTF-8, borrowed from the footer */
    enum parquet_type type;
    enum parquet_repetition repetition;
    enum parquet_meaning meaning;
    const char *meaning_name; /* of PARQUET_OTHER: "a decimal number" */
    int64_t per_second;       /* of PARQUET_MOMENT: in what it is counted */
    enum parquet_zone zone;
    int64_t scale;        /* of PARQUET_DECIMAL: digits after the point */
    int32_t length_bytes; /* of PARQUET_FIXED */
    int32_t num_children;
};

/* The pages of a column in a row group. */
struct parquet_chunk {
    int64_t first_byte, length_bytes; /* in the file, checked */
    int64_t num_values;               /* nulls included */
    int codec;
    const char *fault; /* why it cannot be read, NULL: it can */
};

struct parquet_footer {
    char *bytes;
    struct parquet_element *elements; /* [num_elements]; the first one is the root */
    int64_t num_elements, num_leaves;
    struct parquet_chunk *chunks; /* [num_groups * num_leaves] */
    int64_t *group_rows;          /* [num_groups] */
    int64_t num_groups;
};

/* parquet_footer_read - of an open file.  Returns 0, or -1 with err set, which does not name the file: not Parquet (no magic
 * number at its end), cut, encrypted, damaged.  Released by parquet_footer_release either way. */
int parquet_footer_read(struct parquet_footer *footer, int fd, const char *path, int64_t file_bytes,
                        struct err *err);
void parquet_footer_release(struct parquet_footer *footer);
