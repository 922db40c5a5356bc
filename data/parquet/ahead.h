/* ahead.h - the records of a Parquet file by several threads, each with row groups of its own, handed out in the order of the file.  A
 * thread is ahead of the one that asks by a few blocks of about a mebibyte: memory is that, and the pages of each thread. */
#pragma once

#include "data/parquet/table.h"

struct ahead;

/* What is read; borrowed until ahead_stop. */
struct ahead_wish {
    const char *path;
    table_wish is_wanted; /* which columns, asked with user */
    const void *user;
    size_t max_bytes; /* of a record */
};

/* ahead_start - num_readers threads, 1 at least, which open the table for themselves.  NULL with err set: a thread cannot be had.
 * ahead_stop - ends them wherever they are; NULL is fine. */
struct ahead *ahead_start(struct ahead_wish wish, int num_readers, struct err *err);
void ahead_stop(struct ahead *ahead);

/* ahead_next - the next record; borrowed until the next call.  Returns 1, 0 where the table has ended, or -1 with err set, as table_next
 * and table_open. */
int ahead_next(struct ahead *ahead, struct text_span *record, struct err *err);
