/* text.h - bytes that should be UTF-8: validation, repair, one code point at a time, a growing buffer. */
#pragma once

#include <string.h>

#include "kernels/error.h"

/* Bytes, growing; the caller's.  Start from {0}; text_release frees.  Not NUL-terminated unless you push one.
 */
struct text {
    char *bytes;
    size_t length_bytes, room_bytes;
};
/* text_reserve - room for so many bytes beyond the length; dies where memory is out.  text_append - bytes, of any kind.
 * text_append_char - a code point as UTF-8, 1 to 4 bytes. */
void text_reserve(struct text *text, size_t more_bytes);
void text_append(struct text *text, const void *bytes, size_t length_bytes);
void text_append_char(struct text *text, uint32_t code_point);
void text_release(struct text *text);

/* text_copy - bytes, which may hold NUL, copied and NUL-terminated.  Freed with free(). */
char *text_copy(const char *bytes, size_t length_bytes);

/* A stretch of somebody else's bytes. */
struct text_span {
    const char *bytes; /* borrowed */
    size_t length_bytes;
};
/* text_take - copy the first length_bytes of a span to `to` and step over them; false, with nothing taken, where it has
 * fewer. */
bool text_take(struct text_span *from, void *to, size_t length_bytes);

/* text_valid_bytes - length of the longest valid UTF-8 prefix: length_bytes when all is valid, otherwise the
 * offset of the first bad byte (overlong forms, surrogates and code points above U+10FFFF are bad). */
size_t text_valid_bytes(const char *bytes, size_t length_bytes);

/* text_append_repaired - append bytes with each invalid sequence (longest prefix of a valid one, as the
 * Unicode standard recommends, chapter 3 table 3-8) replaced by U+FFFD.  Returns the number of replacements.
 */
int64_t text_append_repaired(struct text *text, const char *bytes, size_t length_bytes);

/* text_next_char - decode the code point at *at in valid UTF-8 and step over it. */
static inline uint32_t text_next_char(const char **at) {
    const unsigned char *p = (const unsigned char *)*at;
    if (p[0] < 0x80) {
        *at += 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *at += 2;
        return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    }
    if (p[0] < 0xF0) {
        *at += 3;
        return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    }
    *at += 4;
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 |
           (p[3] & 0x3F);
}

/* text_previous_char - decode the code point that ends just before at in valid UTF-8; start < at. */
static inline uint32_t text_previous_char(const char *at) {
    do
        at--;
    while (((unsigned char)*at & 0xC0) == 0x80);
    return text_next_char(&at);
}

/* text_num_chars - code points of NUL-terminated valid UTF-8. */
int64_t text_num_chars(const char *text);

/* text_char_bytes - bytes of the UTF-8 sequence that starts with this lead byte. */
static inline size_t text_char_bytes(char lead) {
    unsigned char byte = (unsigned char)lead;
    return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/* text_encode_char - UTF-8 of a code point into 4 bytes of room; returns the number written. */
size_t text_encode_char(char *bytes, uint32_t code_point);

/* text_is_blank - nothing of a text, which is valid UTF-8, can be seen: white space, control characters, and
 * those that Unicode says are not drawn (zero-width spaces and joiners, soft hyphens, byte order marks). */
bool text_is_blank(const char *bytes, size_t length_bytes);

/* text_is_space - white space as Python's str.strip() sees it, no-break spaces included. */
bool text_is_space(uint32_t code_point);
