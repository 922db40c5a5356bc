/* text.c - UTF-8 checked byte by byte: what is valid, what a repair keeps; and the growing buffer. */
#include "data/corpus/text.h"

#include <stdlib.h>

/* Twice the room at a time, so that appending byte by byte stays linear. */
void text_reserve(struct text *text, size_t more_bytes) {
    CHECK(more_bytes <= SIZE_MAX / 4 && text->length_bytes <= SIZE_MAX / 4, "text of more than 2^62 bytes");
    size_t needed_bytes = text->length_bytes + more_bytes;
    if (needed_bytes <= text->room_bytes)
        return;
    size_t room_bytes = text->room_bytes ? text->room_bytes : 64;
    while (room_bytes < needed_bytes)
        room_bytes *= 2;
    text->bytes = xrealloc(text->bytes, room_bytes);
    text->room_bytes = room_bytes;
}

void text_append(struct text *text, const void *bytes, size_t length_bytes) {
    if (length_bytes == 0)
        return; /* bytes may be NULL then */
    text_reserve(text, length_bytes);
    memcpy(text->bytes + text->length_bytes, bytes, length_bytes);
    text->length_bytes += length_bytes;
}

/* RFC 3629, section 3. */
size_t text_encode_char(char *bytes, uint32_t code_point) {
    if (code_point < 0x80) {
        bytes[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        bytes[0] = (char)(0xC0 | code_point >> 6);
        bytes[1] = (char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        bytes[0] = (char)(0xE0 | code_point >> 12);
        bytes[1] = (char)(0x80 | (code_point >> 6 & 0x3F));
        bytes[2] = (char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    bytes[0] = (char)(0xF0 | code_point >> 18);
    bytes[1] = (char)(0x80 | (code_point >> 12 & 0x3F));
    bytes[2] = (char)(0x80 | (code_point >> 6 & 0x3F));
    bytes[3] = (char)(0x80 | (code_point & 0x3F));
    return 4;
}

int64_t text_num_chars(const char *text) {
    int64_t count = 0;
    for (; *text; count++)
        text_next_char(&text);
    return count;
}

void text_append_char(struct text *text, uint32_t code_point) {
    char bytes[4];
    text_append(text, bytes, text_encode_char(bytes, code_point));
}

void text_release(struct text *text) {
    free(text->bytes);
    *text = (struct text){0};
}

char *text_copy(const char *bytes, size_t length_bytes) {
    char *copy = xmalloc(length_bytes + 1);
    if (length_bytes > 0)
        memcpy(copy, bytes, length_bytes);
    copy[length_bytes] = 0;
    return copy;
}

bool text_take(struct text_span *from, void *to, size_t length_bytes) {
    if (from->length_bytes < length_bytes)
        return false;
    memcpy(to, from->bytes, length_bytes);
    from->bytes += length_bytes;
    from->length_bytes -= length_bytes;
    return true;
}

/* How many bytes at p (n > 0 of them) form one valid sequence; 0 and *bad_bytes, the length of the longest
 * start of a valid sequence (at least 1), otherwise. */
static size_t sequence_bytes(const unsigned char *p, size_t n, size_t *bad_bytes) {
    *bad_bytes = 1;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0; /* a continuation byte, an overlong form, or beyond U+10FFFF */
    size_t wanted_bytes = text_char_bytes((char)p[0]);
    /* The second byte's range excludes overlong forms, surrogates and code points above U+10FFFF. */
    unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    for (size_t i = 1; i < wanted_bytes; i++) {
        *bad_bytes = i;
        if (i == n || p[i] < low || p[i] > high)
            return 0;
        low = 0x80;
        high = 0xBF;
    }
    return wanted_bytes;
}

size_t text_valid_bytes(const char *bytes, size_t length_bytes) {
    const unsigned char *p = (const unsigned char *)bytes;
    size_t at = 0;
    while (at < length_bytes) {
        uint64_t word;
        if (at + sizeof word <= length_bytes) { /* eight ASCII bytes at a time */
            memcpy(&word, p + at, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                at += sizeof word;
                continue;
            }
            at += (size_t)__builtin_ctzll(word & 0x8080808080808080u) / 8;
        }
        size_t bad_bytes;
        size_t step_bytes = sequence_bytes(p + at, length_bytes - at, &bad_bytes);
        if (step_bytes == 0)
            return at;
        at += step_bytes;
    }
    return at;
}

int64_t text_append_repaired(struct text *text, const char *bytes, size_t length_bytes) {
    int64_t num_replaced = 0;
    size_t at = 0;
    while (at < length_bytes) {
        size_t good_bytes = text_valid_bytes(bytes + at, length_bytes - at);
        text_append(text, bytes + at, good_bytes);
        at += good_bytes;
        if (at == length_bytes)
            break;
        size_t bad_bytes;
        sequence_bytes((const unsigned char *)bytes + at, length_bytes - at, &bad_bytes);
        text_append_char(text, 0xFFFD);
        at += bad_bytes;
        num_replaced++;
    }
    return num_replaced;
}

bool text_is_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

/* is_invisible - controls, the braille blank, and Default_Ignorable_Code_Point.  Source: Unicode 15,
 * DerivedCoreProperties.txt. */
static bool is_invisible(uint32_t c) {
    static const struct {
        uint32_t first, last;
    } ranges[] = {{0x00, 0x1F},     {0x7F, 0x9F},       {0xAD, 0xAD},       {0x34F, 0x34F},
                  {0x61C, 0x61C},   {0x115F, 0x1160},   {0x17B4, 0x17B5},   {0x180B, 0x180F},
                  {0x200B, 0x200F}, {0x202A, 0x202E},   {0x2060, 0x206F},   {0x2800, 0x2800},
                  {0x3164, 0x3164}, {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},
                  {0xFFF0, 0xFFF8}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

bool text_is_blank(const char *bytes, size_t length_bytes) {
    const char *at = bytes, *end = bytes + length_bytes;
    while (at < end) {
        uint32_t c = text_next_char(&at);
        if (!text_is_space(c) && !is_invisible(c))
            return false;
    }
    return true;
}
