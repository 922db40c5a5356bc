/* table.h - a Parquet file as a stream of records, each an object of JSON.  Only the columns that were chosen are read, a page
 * of each at a time: memory is that of the pages. */
#pragma once

#include "data/corpus/text.h"

struct table;

/* table_open - reads the footer.  NULL with err set, which names the file: not a regular file, not a Parquet table (what it is
 * instead where that is known), damaged, cut, encrypted.  table_close - NULL is fine. */
struct table *table_open(const char *path, struct err *err);
void table_close(struct table *table);

/* table_num_fields, table_field - the names of a record, in their order; UTF-8, borrowed. */
int64_t table_num_fields(const struct table *table);
struct text_span table_field(const struct table *table, int64_t i);

/* table_append_sample - a record of all fields, appended: each with a value of its kind of JSON ("", 0, false, [], {}). */
void table_append_sample(const struct table *table, struct text *out);

/* table_choose - fields for which `is_wanted` says true; once, before the first record.  Returns 0, or -1 with err set: one
 * holds what is not read. */
typedef bool (*table_wish)(const void *user, struct text_span name);
int table_choose(struct table *table, table_wish is_wanted, const void *user, struct err *err);

/* table_next - the next record, appended; texts are what the file holds, which may not be UTF-8.  At most max_bytes.  Returns 1,
 * 0 where the table has ended, or -1 with err set and the place. */
int table_next(struct table *table, size_t max_bytes, struct text *out, struct err *err);

/* table_begin_group - the next record is the first of this row group, and the table ends with its last. */
void table_begin_group(struct table *table, int64_t group);

/* table_num_groups, table_group_rows - row groups, and the rows of one. */
int64_t table_num_groups(const struct table *table);
int64_t table_group_rows(const struct table *table, int64_t group);
