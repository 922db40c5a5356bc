/* prepare_wanted.h - which fields of its records a source can make use of: a table of columns need not read the others. */
#pragma once

#include "data/corpus/prepare.h"

/* source_wants - whether a field of this name is read, if a record has it. */
bool source_wants(const struct prepare_source *source, struct text_span name);

/* source_check_sample - that records with the fields of this one, an object of JSON whose values have the types of theirs, are
 * what the source says.  Returns 0, or -1 with err set: a field is missing (what there is instead), or of another type. */
int source_check_sample(const struct prepare_source *source, struct text_span sample, struct err *err);

/* source_check_where - that they have the fields of the source's filters.  Returns 0, or -1 with err set. */
int source_check_where(const struct prepare_source *source, struct text_span sample, struct err *err);
