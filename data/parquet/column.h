/* column.h - the entries of a column in a row group: levels, and values where there is one.  What levels mean: the Dremel
 * paper, as apache/parquet-format's README.md has it under "Nested Encoding". */
#pragma once

#include "data/parquet/values.h"

/* The levels that a column can have. */
struct column_levels {
    uint32_t max_repetition, max_definition;
};

/* Start from zeros; column_open for each row group. */
struct column {
    struct value_kind kind;
    struct column_levels levels;
    struct pages pages;
    struct dictionary dictionary;
    struct values values;
    int64_t num_left, num_in_page; /* entries, without the one that is looked at */
    struct runs repetitions, definitions;
    bool has_entry;                  /* it was looked at and not taken */
    uint32_t repetition, definition; /* of it */
};

/* column_open - at the beginning of a chunk; kind and levels, and fd and path of pages, are set.  Returns 0, or -1 with err
 * set: it cannot be read at all.  column_release - also of one of zeros. */
int column_open(struct column *column, const struct parquet_chunk *chunk, struct err *err);
void column_release(struct column *column);

/* column_look - the next entry's levels.  Returns 1, 0 where the row group has no further one, or -1 with err set, without the
 * column's name.  column_take - steps over it; a value, borrowed until the next, where its definition is the highest one, else
 * value is left alone.  Returns 0, or -1 with err set. */
int column_look(struct column *column, struct err *err);
int column_take(struct column *column, struct text_span *value, struct err *err);
