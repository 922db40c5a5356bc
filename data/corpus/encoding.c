/* encoding.c - latin1, windows-1252 and UTF-16 byte by byte.  Sources: ISO 8859-1; Windows code page 1252
 * (bestfit1252.txt of the Unicode consortium); RFC 2781. */
#include "data/corpus/encoding.h"

/* Bytes that UTF-8 never has: prepare.bad_utf8 then decides, as it does about damage in a file of UTF-8. */
enum fault { FAULT_UNDEFINED, FAULT_ODD, FAULT_HALF, NUM_FAULTS };
static const struct {
    char byte[2];
    const char *what;
} FAULTS[NUM_FAULTS] = {[FAULT_UNDEFINED] = {"\xFD", "a byte that windows-1252 leaves undefined"},
                        [FAULT_ODD] = {"\xFE", "half a unit of UTF-16 (the file has an odd number of bytes)"},
                        [FAULT_HALF] = {"\xFF", "half a surrogate pair of UTF-16"}};

static void append_fault(struct text *out, enum fault fault) {
    text_append(out, FAULTS[fault].byte, 1);
}

const char *encoding_fault(unsigned char byte) {
    for (int fault = 0; fault < NUM_FAULTS; fault++)
        if (byte == (unsigned char)FAULTS[fault].byte[0])
            return FAULTS[fault].what;
    return NULL;
}

/* Marks at the beginning of a file (Unicode, section 23.8), UTF-32 before UTF-16, which begins likewise; `right` and `also` may be said of
 * such a file. */
static const struct {
    const char *bytes;
    size_t length_bytes;
    const char *name, *way_out;
    enum text_encoding right, also;
} MARKS[] = {
    {"\xFF\xFE\0\0", 4, "UTF-32", "convert it with iconv -f UTF-32 -t UTF-8, and leave out", ENCODING_UTF8,
     ENCODING_UTF8},
    {"\0\0\xFE\xFF", 4, "UTF-32", "convert it with iconv -f UTF-32 -t UTF-8, and leave out", ENCODING_UTF8,
     ENCODING_UTF8},
    {"\xEF\xBB\xBF", 3, "UTF-8", "leave out", ENCODING_UTF8, ENCODING_UTF8},
    {"\xFF\xFE", 2, "utf-16le", "leave out", ENCODING_UTF16LE, ENCODING_UTF16},
    {"\xFE\xFF", 2, "utf-16be", "leave out", ENCODING_UTF16BE, ENCODING_UTF16},
};

/* check_mark - that the file's mark, where it has one, is not another encoding's. */
static int check_mark(enum text_encoding encoding, struct text_span first, const char *path,
                      struct err *err) {
    for (size_t i = 0; i < sizeof MARKS / sizeof *MARKS; i++) {
        if (first.length_bytes < MARKS[i].length_bytes ||
            memcmp(first.bytes, MARKS[i].bytes, MARKS[i].length_bytes) != 0)
            continue;
        if (encoding == MARKS[i].right || encoding == MARKS[i].also)
            return 0;
        return err_set(
            err,
            "'%s' begins with the byte order mark of %s, which the source's encoding contradicts; %s the encoding",
            path, MARKS[i].name, MARKS[i].way_out);
    }
    return 0;
}

/* Code points of 0x80 to 0x9F in windows-1252; 0: undefined. */
static const uint16_t WINDOWS_1252[32] = {0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                          0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
                                          0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                          0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

/* is_utf8 - bytes beyond ASCII are there, and all of them are UTF-8; the last character may be cut. */
static bool is_utf8(struct text_span text) {
    size_t at = 0;
    while (at < text.length_bytes && (unsigned char)text.bytes[at] < 0x80)
        at++;
    if (at == text.length_bytes)
        return false;
    size_t valid = text_valid_bytes(text.bytes, text.length_bytes);
    return valid > at && text.length_bytes - valid < 4;
}

/* Text that is UTF-8 already would pass as latin1, each letter with an accent as two: every byte is a character
 * there. */
int encoding_start(struct encoding_state *state, struct text_span first, const char *path, struct err *err) {
    const unsigned char *p = (const unsigned char *)first.bytes;
    bool has_two = first.length_bytes >= 2;
    if (state->encoding != ENCODING_UTF8 && check_mark(state->encoding, first, path, err) != 0)
        return -1;
    switch (state->encoding) {
    case ENCODING_UTF8:
    case ENCODING_UTF16LE:
    case ENCODING_UTF16BE:
        return 0;
    case ENCODING_UTF16:
        if (has_two && p[0] == 0xFF && p[1] == 0xFE)
            state->encoding = ENCODING_UTF16LE;
        else if (has_two && p[0] == 0xFE && p[1] == 0xFF)
            state->encoding = ENCODING_UTF16BE;
        else if (first.length_bytes > 0)
            return err_set(err,
                           "cannot read '%s' as utf-16: it does not start with a byte order mark; set the "
                           "source's encoding to utf-16le or utf-16be, or leave it out for UTF-8",
                           path);
        return 0;
    case ENCODING_LATIN1:
    case ENCODING_WINDOWS_1252:
        if (is_utf8(first))
            return err_set(err, "'%s' is UTF-8 already; leave out the source's encoding", path);
        return 0;
    }
    return 0;
}

/* append_single - encodings of one byte a character; the code points of latin1 are its bytes. */
static void append_single(enum text_encoding encoding, struct text_span bytes, struct text *out) {
    for (size_t i = 0; i < bytes.length_bytes; i++) {
        uint32_t c = (unsigned char)bytes.bytes[i];
        if (encoding == ENCODING_WINDOWS_1252 && c >= 0x80 && c < 0xA0)
            c = WINDOWS_1252[c - 0x80];
        if (c == 0 && bytes.bytes[i] != 0)
            append_fault(out, FAULT_UNDEFINED);
        else
            text_append_char(out, c);
    }
}

/* append_unit - one unit of UTF-16. */
static void append_unit(struct encoding_state *state, uint32_t unit, struct text *out) {
    bool is_low = unit >= 0xDC00 && unit < 0xE000;
    if (state->high && is_low) {
        text_append_char(out, 0x10000 + ((state->high - 0xD800) << 10) + (unit - 0xDC00));
        state->high = 0;
        return;
    }
    if (state->high)
        append_fault(out, FAULT_HALF);
    state->high = unit >= 0xD800 && unit < 0xDC00 ? unit : 0;
    if (is_low)
        append_fault(out, FAULT_HALF);
    else if (!state->high)
        text_append_char(out, unit);
}

/* append_utf16 - a unit, and a pair of them, may be cut by the end of a block: the state keeps the half. */
static void append_utf16(struct encoding_state *state, struct text_span bytes, struct text *out) {
    for (size_t i = 0; i < bytes.length_bytes; i++) {
        unsigned char byte = (unsigned char)bytes.bytes[i];
        if (!state->has_byte) {
            state->byte = byte;
            state->has_byte = true;
            continue;
        }
        state->has_byte = false;
        append_unit(state,
                    state->encoding == ENCODING_UTF16BE ? (uint32_t)state->byte << 8 | byte
                                                        : (uint32_t)byte << 8 | state->byte,
                    out);
    }
}

void encoding_append(struct encoding_state *state, struct text_span bytes, struct text *out) {
    if (state->encoding == ENCODING_UTF8)
        text_append(out, bytes.bytes, bytes.length_bytes);
    else if (state->encoding == ENCODING_LATIN1 || state->encoding == ENCODING_WINDOWS_1252)
        append_single(state->encoding, bytes, out);
    else
        append_utf16(state, bytes, out);
}

void encoding_end(struct encoding_state *state, struct text *out) {
    if (state->high)
        append_fault(out, FAULT_HALF);
    if (state->has_byte)
        append_fault(out, FAULT_ODD);
    state->has_byte = false;
    state->high = 0;
}

bool encoding_is_utf16(struct text_span first) {
    struct encoding_state state = {.encoding = ENCODING_UTF16};
    struct text text = {0};
    struct err err;
    if (first.length_bytes < 4 || encoding_start(&state, first, "", &err) != 0)
        return false;
    encoding_append(&state, first, &text);
    bool is_text = text_valid_bytes(text.bytes, text.length_bytes) == text.length_bytes &&
                   !memchr(text.bytes, '\0', text.length_bytes);
    text_release(&text);
    return is_text;
}
