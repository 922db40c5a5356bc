/* test_nfc.c - Unicode normalisation form C over every code point, against values made by another
 * implementation (tests/golden/make_nfc.py), alone and between other characters. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/sha256.h"
#include "data/tokenizer/tokenizer_nfc.h"
#include "tests/check.h"

enum { NUM_CODE_POINTS = 0x110000, CONTEXT = 0x1000, MAX_BYTES = 32 };

static struct {
    bool is_assigned[NUM_CODE_POINTS];
    unsigned char length[NUM_CODE_POINTS]; /* of the normal form where NFC changes the character, else 0 */
    char form[NUM_CODE_POINTS][MAX_BYTES];
    char context[NUM_CODE_POINTS / CONTEXT][SHA256_HEX_ROOM];
} want;

static struct nfc_table *table;

static void read_single(const char *line) {
    unsigned code_point, byte;
    char hex[2 * MAX_BYTES + 1];
    assert_int_equal(sscanf(line, "single %x %64s", &code_point, hex), 2);
    size_t length = strlen(hex) / 2;
    assert_true(code_point < NUM_CODE_POINTS && length < MAX_BYTES);
    for (size_t i = 0; i < length; i++) {
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        want.form[code_point][i] = (char)byte;
    }
    want.length[code_point] = (unsigned char)length;
}

static int read_golden(void **state) {
    (void)state;
    char line[256];
    unsigned first, last;
    FILE *file = fopen("tests/golden/nfc/nfc.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "assigned %x %x", &first, &last) == 2) {
            assert_true(first <= last && last < NUM_CODE_POINTS);
            memset(want.is_assigned + first, 1, last - first + 1);
        } else if (strncmp(line, "single ", 7) == 0) {
            read_single(line);
        } else if (strncmp(line, "context ", 8) == 0) {
            assert_int_equal(sscanf(line, "context %x %*s", &first), 1);
            assert_true(first % CONTEXT == 0 && first < NUM_CODE_POINTS);
            assert_int_equal(sscanf(strrchr(line, ' '), " %64s", want.context[first / CONTEXT]), 1);
        }
    }
    fclose(file);
    table = nfc_table_create();
    return 0;
}

static int free_table(void **state) {
    (void)state;
    nfc_table_free(table);
    return 0;
}

/* normal - NFC of bytes: in out where it changed, else the bytes. */
static struct text_span normal(const char *bytes, size_t length_bytes, struct text *out) {
    if (nfc_apply(table, (struct text_span){bytes, length_bytes}, out))
        return (struct text_span){out->bytes, out->length_bytes};
    return (struct text_span){bytes, length_bytes};
}

static void test_every_code_point(void **state) {
    (void)state;
    struct text out = {0};
    int num_changed = 0, num_checked = 0;
    for (uint32_t c = 0; c < NUM_CODE_POINTS; c++) {
        char bytes[4];
        if (!want.is_assigned[c])
            continue;
        size_t length = text_encode_char(bytes, c);
        struct text_span got = normal(bytes, length, &out);
        const char *form = want.length[c] ? want.form[c] : bytes;
        size_t form_bytes = want.length[c] ? want.length[c] : length;
        if (got.length_bytes != form_bytes || memcmp(got.bytes, form, form_bytes) != 0)
            fail_msg("NFC of U+%04X is wrong", c);
        num_changed += want.length[c] != 0;
        num_checked++;
    }
    assert_true(num_changed > 1000 && num_checked > 280000); /* the table was read */
    text_release(&out);
}

static void test_every_code_point_in_context(void **state) {
    (void)state;
    static const char before[] = "e", after[] = "\xCC\xA7\xCC\x81"; /* cedilla, acute */
    struct text out = {0};
    int num_checked = 0;
    for (uint32_t first = 0; first < NUM_CODE_POINTS; first += CONTEXT) {
        char hex[SHA256_HEX_ROOM], bytes[16];
        struct sha256 sha;
        if (!want.context[first / CONTEXT][0])
            continue;
        sha256_init(&sha);
        for (uint32_t c = first; c < first + CONTEXT; c++) {
            if (!want.is_assigned[c])
                continue;
            size_t length = strlen(before);
            memcpy(bytes, before, length);
            length += text_encode_char(bytes + length, c);
            memcpy(bytes + length, after, strlen(after));
            struct text_span got = normal(bytes, length + strlen(after), &out);
            sha256_update(&sha, got.bytes, got.length_bytes);
            sha256_update(&sha, "\n", 1);
        }
        sha256_finish(&sha, hex);
        if (strcmp(hex, want.context[first / CONTEXT]) != 0)
            fail_msg("NFC around one of U+%04X to U+%04X is wrong", first, first + CONTEXT - 1);
        num_checked++;
    }
    assert_true(num_checked > 50);
    text_release(&out);
}

/* The kinds by name, with a control: what is in NFC already is left alone. */
static void test_kinds(void **state) {
    (void)state;
    static const struct {
        const char *text, *form;
    } cases[] = {
        {"\xE2\x84\xAB", "\xC3\x85"},                     /* singleton: angstrom sign */
        {"\xE1\xBD\xB1", "\xCE\xAC"},                     /* singleton that decomposes further */
        {"\xE0\xBE\x81", "\xE0\xBD\xB1\xE0\xBE\x80"},     /* never composed: non-starter */
        {"\xE0\xA5\x98", "\xE0\xA4\x95\xE0\xA4\xBC"},     /* never composed: excluded */
        {"\xE2\x84\xABngstr\xC3\xB6m e\xCC\x81t\xC3\xA9", /* amid text */
         "\xC3\x85ngstr\xC3\xB6m \xC3\xA9t\xC3\xA9"},
    };
    struct text out = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(nfc_apply(table, (struct text_span){cases[i].text, strlen(cases[i].text)}, &out));
        assert_int_equal(out.length_bytes, strlen(cases[i].form));
        assert_memory_equal(out.bytes, cases[i].form, out.length_bytes);
        assert_false(nfc_apply(table, (struct text_span){"d\xC3\xA9j\xC3\xA0 \xC3\x85", 9}, &out));
    }
    text_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_every_code_point_in_context),
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, read_golden, free_table);
}
