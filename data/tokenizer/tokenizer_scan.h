/* tokenizer_scan.h - the pre-tokenisers' well-known regular expressions, written out as scanners.
 *
 * Splitting by PCRE2 takes most of the time of encoding; these five patterns cover the families of interest
 * and are recognised by their exact text.  Any other pattern goes through tokenizer_regex.h. */
#pragma once

#include "data/tokenizer/tokenizer_chars.h"

/* A scanner returns the bytes of the first piece of text (length_bytes > 0, valid UTF-8); pieces leave no
 * gaps. */
typedef size_t (*piece_scanner)(const struct char_table *chars, const char *text, size_t length_bytes);

/* scanner_find - the scanner of a pattern, or NULL where there is none. */
piece_scanner scanner_find(const char *pattern);

/* scan_gpt2 - the scanner of the pattern that ByteLevel uses when no other is given. */
size_t scan_gpt2(const struct char_table *chars, const char *text, size_t length_bytes);
