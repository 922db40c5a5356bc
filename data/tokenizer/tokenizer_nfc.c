/* tokenizer_nfc.c - NFC and NFKC by utf8proc, where a text needs it.
 *
 * Normalising never looks across the start of a stable character (Unicode standard annex 15, section 9), so
 * only the stretches around unstable ones go through utf8proc; French text has next to none. */
#include "data/tokenizer/tokenizer_nfc.h"

#include <stdlib.h>
#include <utf8proc.h>

/* Beyond plane 3 nothing combines or decomposes. */
enum { NUM_CODE_POINTS = 0x110000, END_OF_CHANGES = 0x40000 };

struct nfc_table {
    uint64_t unstable[NUM_CODE_POINTS / 64];
};

static void mark(struct nfc_table *table, uint32_t code_point) {
    table->unstable[code_point / 64] |= (uint64_t)1 << code_point % 64;
}

static bool is_stable(const struct nfc_table *table, uint32_t code_point) {
    return !(table->unstable[code_point / 64] >> code_point % 64 & 1);
}

static void append_normalised(struct text *out, struct text_span text, utf8proc_option_t options) {
    utf8proc_uint8_t *result = NULL;
    utf8proc_ssize_t count =
        utf8proc_map((const utf8proc_uint8_t *)text.bytes, (utf8proc_ssize_t)text.length_bytes, &result,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE | options);
    CHECK(count >= 0, "utf8proc: %s", utf8proc_errmsg(count));
    text_append(out, result, (size_t)count);
    free(result);
}

/* changes - NFC is not the character itself: singletons (U+212B, U+1F71) and what never comes back from
 * decomposing and composing (U+0F81, U+0958). */
static bool changes(utf8proc_int32_t c, struct text *scratch) {
    char bytes[4];
    size_t length_bytes = text_encode_char(bytes, (uint32_t)c);
    scratch->length_bytes = 0;
    append_normalised(scratch, (struct text_span){bytes, length_bytes}, 0);
    return scratch->length_bytes != length_bytes || memcmp(scratch->bytes, bytes, length_bytes) != 0;
}

/* Mark what one code point makes unstable: combining characters, characters that NFC changes, and every part
 * of a decomposition but the first (it may join to the left). */
static void mark_code_point(struct nfc_table *table, utf8proc_int32_t c, struct text *scratch) {
    enum { ROOM = 8 };
    const utf8proc_property_t *property = utf8proc_get_property(c);
    if (property->combining_class != 0)
        mark(table, (uint32_t)c);
    utf8proc_int32_t parts[ROOM];
    int unused = 0;
    utf8proc_ssize_t count = utf8proc_decompose_char(c, parts, ROOM, UTF8PROC_DECOMPOSE, &unused);
    CHECK(count >= 1 && count <= ROOM, "canonical decomposition of U+%04X", (unsigned)c);
    for (utf8proc_ssize_t i = 1; i < count; i++)
        mark(table, (uint32_t)parts[i]);
    if ((count > 1 || parts[0] != c) && changes(c, scratch))
        mark(table, (uint32_t)c);
}

struct nfc_table *nfc_table_create(void) {
    struct nfc_table *table = xcalloc(1, sizeof *table);
    struct text scratch = {0};
    for (utf8proc_int32_t c = 0x80; c < END_OF_CHANGES; c++)
        if (c < 0xD800 || c > 0xDFFF)
            mark_code_point(table, c, &scratch);
    text_release(&scratch);
    return table;
}

void nfc_table_free(struct nfc_table *table) {
    free(table);
}

/* The first unstable character at or after at, and in *before the stable one ahead of it (or at); end if
 * none. */
static const char *next_unstable(const struct nfc_table *table, const char *at, const char *end,
                                 const char **before) {
    *before = at;
    while (at < end) {
        /* Nothing below U+0300, lead byte 0xCC, is unstable. */
        if ((unsigned char)*at < 0xCC) {
            *before = at;
            at += text_char_bytes(*at);
            continue;
        }
        const char *start = at;
        if (!is_stable(table, text_next_char(&at)))
            return start;
        *before = start;
    }
    return end;
}

/* Each stretch begins at the stable character before the unstable ones, which they may join. */
bool nfc_apply(const struct nfc_table *table, struct text_span text, struct text *out) {
    const char *end = text.bytes + text.length_bytes, *done = text.bytes, *before;
    const char *unstable = next_unstable(table, done, end, &before);
    if (unstable == end)
        return false;
    out->length_bytes = 0;
    while (unstable < end) {
        const char *stop = unstable;
        while (stop < end) { /* through the unstable characters that follow */
            const char *start = stop;
            if (is_stable(table, text_next_char(&stop))) {
                stop = start;
                break;
            }
        }
        text_append(out, done, (size_t)(before - done));
        append_normalised(out, (struct text_span){before, (size_t)(stop - before)}, 0);
        done = stop;
        unstable = next_unstable(table, done, end, &before);
    }
    text_append(out, done, (size_t)(end - done));
    return true;
}

/* ASCII is its own NFKC. */
bool nfkc_apply(struct text_span text, struct text *out) {
    size_t i = 0;
    while (i < text.length_bytes && (unsigned char)text.bytes[i] < 0x80)
        i++;
    if (i == text.length_bytes)
        return false;
    out->length_bytes = 0;
    append_normalised(out, text, UTF8PROC_COMPAT);
    return true;
}
