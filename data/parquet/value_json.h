/* value_json.h - a value of a Parquet column as JSON. */
#pragma once

#include "data/parquet/footer.h"

/* value_append_json - value: as values.h has it.  Numbers that are not finite are written NaN, Infinity and -Infinity, as
 * Python's json does; others with the fewest digits that give them back. */
void value_append_json(const struct parquet_element *element, struct text_span value, struct text *out);
