/* markup.h - texts and numbers inside HTML and SVG.  The page is also well-formed XML, so that any XML parser can check it:
 * what is no character of XML 1.0 never gets there.  Source: HTML Living Standard, section 13.1; XML 1.0, section 2.2. */
#pragma once

#include <stdio.h>

#include "kernels/error.h"

/* How a language writes numbers, UTF-8. */
struct number_marks {
    const char *thousands, *decimal;
};

/* put_html - a text of others between tags or inside a quoted attribute: marks are escaped, bytes that are not UTF-8 become
 * U+FFFD, line ends become spaces, what is invisible or turns the direction of text becomes '?'.  More than 400 bytes are cut.
 * put_html_lines - the same for <pre>: line ends stay, nothing is cut. */
void put_html(FILE *out, const char *text);
void put_html_lines(FILE *out, const char *text);

/* put_decimal - with so many decimals (0 to 15).  put_rounded - with so many digits that count; from 1e15 on and below 1e-4 as
 * "1.5 × 10⁻⁷".  A value that is not finite is a dash: it is not a number.  put_power - "10⁻⁷". */
void put_decimal(FILE *out, double value, int num_decimals, const struct number_marks *marks);
void put_rounded(FILE *out, double value, int num_digits, const struct number_marks *marks);
void put_power(FILE *out, int exponent);
