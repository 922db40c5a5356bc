/* prepare_where.h - what a source takes of its records: those that its filters ask for, and of these several fields as one
 * text. */
#pragma once

#include "data/corpus/prepare_batch.h"

enum where_answer { WHERE_NO, WHERE_YES, WHERE_FAULT };

/* where_matches - whether a record of valid UTF-8 meets all filters: a text, a number as it is written, true or false that is one
 * of the values; a field that is absent or null meets none.  WHERE_FAULT with err set: not JSON, a list or an object to be
 * compared. */
enum where_answer where_matches(const struct prepare_source *source, struct text_span line,
                                struct text *scratch, struct err *err);

/* fields_join - the source's fields of a record as one string of JSON into out, the separator between those that say
 * something; null says nothing.  Returns 0, or -1 with err set: not JSON, a field is absent or no text. */
int fields_join(const struct prepare_source *source, struct text_span line, struct text *out,
                struct err *err);
