/* json_line.h - one field of a line of JSON, without making a tree of the others.  The whole line must be
 * JSON, but what the other fields hold is nobody's business: integers of any length, NaN and Infinity (Python
 * writes them), numbers beyond a double, names that come twice. */
#pragma once

#include "data/corpus/text.h"

enum { JSON_LINE_DEPTH = 2048, JSON_LINE_NAMES = 8 };

struct json_line {
    struct text_span value; /* of the field, as written; bytes NULL where the line has no such field */
    struct text_span names[JSON_LINE_NAMES]; /* the first names of the line, as written, without quotes */
    int num_names;                           /* all, also those beyond JSON_LINE_NAMES */
};

/* json_line_scan - line is valid UTF-8.  Spans are borrowed from it.  Returns 0, or -1 with err set: not JSON
 * (column and what was expected), not an object, nested deeper than JSON_LINE_DEPTH, the field comes twice.
 */
int json_line_scan(struct text_span line, const char *field, struct json_line *out, struct err *err);

/* json_line_unescape - the text of a scanned string,
 * appended: escapes become characters, \u0000 a NUL, half a surrogate pair U+FFFD. */
void json_line_unescape(struct text_span value, struct text *out);

/* json_line_escape - bytes as a part of a string of JSON, appended: the quote, the backslash and control characters are
 * escaped. */
void json_line_escape(struct text *out, const char *bytes, size_t length_bytes);

/* json_line_plain - a scanned value, appended, with every number that is not a number of JSON or too large for
 * one put in quotes after JSON_LINE_NUMBER, an escaped NUL: so that a reader of JSON takes the rest, and knows it from a text. */
#define JSON_LINE_NUMBER "\\u0000"
void json_line_plain(struct text_span value, struct text *out);
