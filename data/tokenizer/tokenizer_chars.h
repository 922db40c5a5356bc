/* tokenizer_chars.h - the Unicode classes that pre-tokenisers distinguish, one byte per code point. */
#pragma once

#include "data/corpus/text.h"

/* CHAR_NEWLINE (line feed, carriage return) is a subset of CHAR_SPACE; the rest excludes each other. */
enum char_class {
    CHAR_UPPER = 1,    /* Lu, Lt */
    CHAR_LOWER = 2,    /* Ll */
    CHAR_CASELESS = 4, /* Lm, Lo */
    CHAR_LETTER = CHAR_UPPER | CHAR_LOWER | CHAR_CASELESS,
    CHAR_MARK = 8,    /* M */
    CHAR_NUMBER = 16, /* N */
    CHAR_SPACE = 32,  /* White_Space: what \s means to the reference */
    CHAR_NEWLINE = 64,
    CHAR_PUNCTUATION = 128, /* P, and the ASCII symbols that count as punctuation there */
};

/* Two levels: blocks of 256 code points, equal blocks stored once. */
struct char_table {
    uint8_t *blocks;        /* [num_blocks][256] */
    uint16_t index[0x1100]; /* block of code_point >> 8 */
};

/* char_table_create - from utf8proc's data (Unicode 15 in version 2.8).  Freed with char_table_free. */
struct char_table *char_table_create(void);
void char_table_free(struct char_table *table);

/* char_class - of any code point, by two looks into the table. */
static inline unsigned char_class(const struct char_table *table, uint32_t code_point) {
    return table->blocks[(size_t)table->index[code_point >> 8] * 256 + (code_point & 255)];
}

/* char_class_next - class of the character at *at in valid UTF-8, stepping over it. */
static inline unsigned char_class_next(const struct char_table *table, const char **at) {
    unsigned char lead = (unsigned char)**at;
    if (lead < 0x80) {
        *at += 1;
        return table->blocks[lead]; /* block 0 comes first */
    }
    return char_class(table, text_next_char(at));
}

/* char_is_word - \w inside [...] in the reference's regular expressions (Oniguruma 6.9): letters, marks,
 * decimal digits, letter numbers, connecting punctuation, circled and squared letters.
 * char_is_word_around_token - \w as it is understood around added tokens: the joiners too (Unicode technical
 * standard 18, annex C). */
bool char_is_word(const struct char_table *table, uint32_t code_point);
bool char_is_word_around_token(const struct char_table *table, uint32_t code_point);
