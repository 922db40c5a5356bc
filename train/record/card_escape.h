/* card_escape.h - texts of others inside YAML and Markdown: they say what they say and change nothing around
 * them. */
#pragma once

#include <stdio.h>

#include "kernels/error.h"

/* hidden_bytes - length of a character that nobody sees at `at`, or 0: controls, line and paragraph
 * separators, widths of zero, changes of direction, what is not a character.  The text is UTF-8. */
size_t hidden_bytes(const unsigned char *at);

/* put_yaml - a scalar: plain where YAML can mean nothing else by it, else in double quotes on one line. */
void put_yaml(FILE *out, const char *text);

/* put_markdown - inside a line or a table cell: marks are escaped, line ends become spaces, what is invisible
 * or turns the direction of text becomes '?'.  Very long texts are cut. */
void put_markdown(FILE *out, const char *text);

/* put_address - a link where it is a plain http or https address, else as text. */
void put_address(FILE *out, const char *text);

/* put_count, put_real - numbers as people read them: thousands between groups of three, a decimal mark; four
 * digits that count. */
void put_count(FILE *out, int64_t value, const char *thousands);
void put_real(FILE *out, double value, const char *decimal);
