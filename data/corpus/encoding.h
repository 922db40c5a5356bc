/* encoding.h - text in another encoding than UTF-8, turned into UTF-8 as it streams by.  What has no
 * character in an encoding (half a surrogate pair, an odd last byte, the five bytes that windows-1252 leaves
 * undefined) becomes a byte that is invalid in UTF-8, so that whoever checks the text finds it, and that says what it was. */
#pragma once

#include "data/corpus/text.h"

enum text_encoding {
    ENCODING_UTF8,
    ENCODING_LATIN1,       /* ISO 8859-1 */
    ENCODING_WINDOWS_1252, /* what Windows calls ANSI in western Europe */
    ENCODING_UTF16,        /* a byte order mark says which */
    ENCODING_UTF16LE,
    ENCODING_UTF16BE
};

/* Start from {.encoding = ...}. */
struct encoding_state {
    enum text_encoding encoding;
    bool has_byte; /* UTF-16: half a unit */
    unsigned char byte;
    uint32_t high; /* UTF-16: first half of a surrogate pair, or 0 */
};

/* encoding_start - look at the first bytes of a file.  Returns 0, or -1 with err set: UTF-16 without a byte
 * order mark, the mark of another encoding than is said, or text that is UTF-8 already. */
int encoding_start(struct encoding_state *state, struct text_span first, const char *path, struct err *err);

/* encoding_is_utf16 - that the first bytes of a file begin with the mark of UTF-16 and are text of it without a fault: it need not be
 * said.  UTF-32 begins likewise, and a NUL follows. */
bool encoding_is_utf16(struct text_span first);

/* encoding_fault - what a byte that is invalid in UTF-8 stands for in a text that was converted: "half a surrogate pair of UTF-16";
 * NULL: nothing that was made here. */
const char *encoding_fault(unsigned char byte);

/* encoding_append - bytes of a file as UTF-8, appended to out.  encoding_end - what is left at the end of it.
 */
void encoding_append(struct encoding_state *state, struct text_span bytes, struct text *out);
void encoding_end(struct encoding_state *state, struct text *out);
