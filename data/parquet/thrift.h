/* thrift.h - reading what Thrift's compact protocol wrote, without making a tree of it: Parquet's footer and page headers.
 *
 * Source: apache/thrift, doc/specs/thrift-compact-protocol.md.  The bytes are hostile: each function checks what is left, and
 * after the first fault all of them give nothing.  The loops that callers make around them end, as each turn takes a byte. */
#pragma once

#include "data/corpus/text.h"

enum thrift_type {
    THRIFT_STOP,
    THRIFT_TRUE,
    THRIFT_FALSE,
    THRIFT_BYTE,
    THRIFT_I16,
    THRIFT_I32,
    THRIFT_I64,
    THRIFT_DOUBLE,
    THRIFT_BINARY,
    THRIFT_LIST,
    THRIFT_SET,
    THRIFT_MAP,
    THRIFT_STRUCT
};

/* Start from {begin, end}. */
struct thrift {
    const unsigned char *at, *end;
    bool has_failed;
    bool is_short; /* it failed because the bytes ended */
};

/* A field of a struct; start from {0} for each struct. */
struct thrift_field {
    int id, type;
};

/* thrift_next_field - false at the end of the struct, and after a fault.  The value is to be read, or skipped. */
bool thrift_next_field(struct thrift *from, struct thrift_field *field);
/* thrift_skip - the value of such a type. */
void thrift_skip(struct thrift *from, int type);

/* The value of a field, which has to be of that kind: a whole number, a truth value, bytes (borrowed). */
int64_t thrift_int(struct thrift *from, const struct thrift_field *field);
bool thrift_bool(struct thrift *from, const struct thrift_field *field);
struct text_span thrift_bytes(struct thrift *from, const struct thrift_field *field);
/* thrift_enter - a field that is a struct is read next.  False, and it is skipped or a fault, where it is something else. */
bool thrift_enter(struct thrift *from, const struct thrift_field *field);
/* thrift_list - how many values of this type follow. */
int64_t thrift_list(struct thrift *from, const struct thrift_field *field, enum thrift_type element);
