/* value_json.h - a value of a Parquet column as JSON. */
#pragma once

#include "data/parquet/footer.h"

/* value_append_date - a day counted from 1970-01-01.  value_append_moment - a count of parts of a second from then on: six digits
 * of the second where it is not whole, nine where it has nanoseconds.  Both without quotes. */
void value_append_date(int64_t day, struct text *out);
void value_append_moment(int64_t count, int64_t per_second, enum parquet_zone zone, struct text *out);

/* value_append_decimal - a big-endian number of 1 to PARQUET_DECIMAL_BYTES bytes with a sign, of which `scale` digits stand after the
 * point, as Python's str() of a Decimal: 1E-7 where more than six zeros would follow the point.  value_append_uuid - with hyphens.
 * Both without quotes. */
void value_append_decimal(const uint8_t *bytes, size_t count, int scale, struct text *out);
void value_append_uuid(const uint8_t bytes[16], struct text *out);

/* value_append_json - value: as values.h has it.  Numbers that are not finite are written NaN, Infinity and -Infinity, as
 * Python's json does; others with the fewest digits that give them back. */
void value_append_json(const struct parquet_element *element, struct text_span value, struct text *out);
