/* base64.h - RFC 4648, section 4. */
#pragma once

#include "kernels/error.h"

/* base64_decode - with padding, and nothing else than the alphabet in between; the bits that padding leaves over are 0.  Returns 0
 * with *length_bytes, or -1: malformed, or more than room_bytes. */
int base64_decode(const char *text, size_t text_bytes, char *bytes, size_t room_bytes, size_t *length_bytes);
