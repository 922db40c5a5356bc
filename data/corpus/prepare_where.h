/* prepare_where.h - what a source takes of its records: those that its filters ask for, and of these several fields as one
 * text. */
#pragma once

#include "data/corpus/prepare_batch.h"

enum where_answer { WHERE_NO, WHERE_YES, WHERE_FAULT };

/* where_matches - whether a record of valid UTF-8 meets all filters: a text that is one of the values, a number that has the value of
 * one (1 is 1.0), true or false in any case; a field that is absent or null meets none.  WHERE_NO: *reason says by which filter.
 * WHERE_FAULT with err set: not JSON, a list or an object to be compared. */
enum where_answer where_matches(const struct prepare_source *source, struct text_span line,
                                struct text *scratch, struct where_reason *reason, struct err *err);

/* where_counts_add - of a document that is LEFT_FILTER. */
void where_counts_init(struct where_counts *counts, const struct prepare_config *config);
void where_counts_release(struct where_counts *counts);
void where_counts_add(struct where_counts *counts, const struct batch_document *document);

/* where_tell - a warning of a source with filters that gave nothing: which of them left out most, and why. */
void where_tell(const struct where_counts *counts, const struct prepare_config *config, int source,
                const char *name);

/* fields_join - the source's fields of a record as one string of JSON into out, the separator between those that say
 * something; null says nothing.  Returns 0, or -1 with err set: not JSON, a field is absent or no text. */
int fields_join(const struct prepare_source *source, struct text_span line, struct text *out,
                struct err *err);
