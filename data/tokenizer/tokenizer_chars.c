/* tokenizer_chars.c - the table of classes, made once from utf8proc's categories. */
#include "data/tokenizer/tokenizer_chars.h"

#include <stdlib.h>
#include <utf8proc.h>

/* is_space - Unicode's White_Space (PropList.txt). */
static bool is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

/* classify - the ASCII characters of the third test are punctuation to the reference, symbols to Unicode. */
static unsigned classify(uint32_t c) {
    if (c == '\n' || c == '\r')
        return CHAR_SPACE | CHAR_NEWLINE;
    if (is_space(c))
        return CHAR_SPACE;
    if (c < 128 && strchr("$+<=>^`|~", (int)c) && c)
        return CHAR_PUNCTUATION;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
        return CHAR_UPPER;
    case UTF8PROC_CATEGORY_LL:
        return CHAR_LOWER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return CHAR_CASELESS;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return CHAR_MARK;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return CHAR_NUMBER;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return CHAR_PUNCTUATION;
    default:
        return 0;
    }
}

/* Planes 4 to 13 are empty, 15 and 16 private; 14 has tags and selectors at its start.  Passing over them
 * makes loading four times as fast. */
static bool may_be_assigned(uint32_t c) {
    return c < 0x40000 || (c >= 0xE0000 && c < 0xE1000);
}

/* Blocks that hold the same are stored once: most of Unicode is empty, or of one class. */
struct char_table *char_table_create(void) {
    enum { BLOCKS = 0x1100, BLOCK = 256 };
    struct char_table *table = xmalloc(sizeof *table);
    table->blocks = xmalloc((size_t)BLOCKS * BLOCK);
    int num_blocks = 0;
    for (uint32_t b = 0; b < BLOCKS; b++) {
        uint8_t *block = table->blocks + (size_t)num_blocks * BLOCK;
        for (uint32_t i = 0; i < BLOCK; i++)
            block[i] = may_be_assigned(b * BLOCK) ? (uint8_t)classify(b * BLOCK + i) : 0;
        int same = 0;
        while (same < num_blocks && memcmp(table->blocks + (size_t)same * BLOCK, block, BLOCK) != 0)
            same++;
        table->index[b] = (uint16_t)same;
        num_blocks += same == num_blocks;
    }
    table->blocks = xrealloc(table->blocks, (size_t)num_blocks * BLOCK);
    return table;
}

void char_table_free(struct char_table *table) {
    if (!table)
        return;
    free(table->blocks);
    free(table);
}

bool char_is_word(const struct char_table *table, uint32_t c) {
    if (char_class(table, c) & (CHAR_LETTER | CHAR_MARK))
        return true;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    if (category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
        category == UTF8PROC_CATEGORY_PC)
        return true;
    /* Circled and squared letters: symbols, but alphabetic. */
    return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
           (c >= 0x1F170 && c <= 0x1F189);
}

bool char_is_word_around_token(const struct char_table *table, uint32_t c) {
    return char_is_word(table, c) || c == 0x200C || c == 0x200D;
}
