/* prepare_cells.h - values of a record that a table or a column of texts holds as it can: a list of messages as a text of JSON, and in
 * tables of text alone (struct format, has_text_cells) null, booleans and numbers too. */
#pragma once

#include "data/corpus/prepare_batch.h"

/* cell_is_list - a string of JSON, as it stands on a line, whose text begins as a list does. */
bool cell_is_list(struct text_span value);

/* cell_hint - after the fault of such a text: whose list it is instead, "" where that is not known. */
const char *cell_hint(struct text_span text);

/* cells_read - of the columns of a record, by name and in place: what is a text and has to be a list becomes one; of tables of text an
 * empty cell is null, and true, false (in any case) and whole numbers are what they say.  What is none of these stays a text, which
 * whoever wants another type refuses.  Returns 0, or -1 with err set: a text that begins as a list and is not JSON. */
int cells_read(const struct prepare_source *source, const struct batch_document *document, json_t *fields,
               struct err *err);
