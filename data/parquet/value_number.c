/* value_number.c - numbers that JSON would round, and names that are numbers, as Python's str() writes them: decimal.Decimal
 * ("to-scientific-string" of the General Decimal Arithmetic Specification, M. Cowlishaw) and uuid.UUID. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/parquet/value_json.h"

/* Digits of a number of 32 bytes. */
enum { MAX_DIGITS = 80 };

/* digits_of - the magnitude of a big-endian number in two's complement, by division; returns how many there are. */
static int digits_of(const uint8_t *bytes, size_t count, char digits[MAX_DIGITS]) {
    uint8_t rest[PARQUET_DECIMAL_BYTES];
    bool is_negative = bytes[0] >= 0x80;
    unsigned carry = is_negative;
    int num_digits = 0;
    for (size_t i = count; i-- > 0;) { /* the complement and one more */
        unsigned byte = (is_negative ? (uint8_t)~bytes[i] : bytes[i]) + carry;
        rest[i] = (uint8_t)byte;
        carry = byte >> 8;
    }
    for (bool is_zero = false; !is_zero;) {
        unsigned remainder = 0;
        is_zero = true;
        for (size_t i = 0; i < count; i++) {
            unsigned part = remainder << 8 | rest[i];
            rest[i] = (uint8_t)(part / 10);
            remainder = part % 10;
            is_zero = is_zero && rest[i] == 0;
        }
        digits[MAX_DIGITS - ++num_digits] = (char)('0' + remainder);
    }
    memmove(digits, digits + MAX_DIGITS - num_digits, (size_t)num_digits);
    return num_digits;
}

/* append_zeros - for places that have no digit. */
static void append_zeros(struct text *out, int count) {
    for (int i = 0; i < count; i++)
        text_append(out, "0", 1);
}

/* append_point - digits with a point after the first `whole` of them, which may lie before them. */
static void append_point(struct text *out, const char *digits, int num_digits, int whole) {
    if (whole <= 0) {
        text_append(out, "0.", 2);
        append_zeros(out, -whole);
        text_append(out, digits, (size_t)num_digits);
        return;
    }
    text_append(out, digits, (size_t)whole);
    if (num_digits > whole) {
        text_append(out, ".", 1);
        text_append(out, digits + whole, (size_t)(num_digits - whole));
    }
}

void value_append_decimal(const uint8_t *bytes, size_t count, int scale, struct text *out) {
    enum { SMALLEST_PLAIN = -6 };
    char digits[MAX_DIGITS], exponent[16];
    int num_digits = digits_of(bytes, count, digits), adjusted = num_digits - 1 - scale;
    if (bytes[0] >= 0x80)
        text_append(out, "-", 1);
    if (adjusted >= SMALLEST_PLAIN) {
        append_point(out, digits, num_digits, num_digits - scale);
        return;
    }
    append_point(out, digits, num_digits, 1);
    snprintf(exponent, sizeof exponent, "E%+d", adjusted);
    text_append(out, exponent, strlen(exponent));
}

void value_append_uuid(const uint8_t bytes[16], struct text *out) {
    char digits[4];
    for (int i = 0; i < 16; i++) {
        snprintf(digits, sizeof digits, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", bytes[i]);
        text_append(out, digits, strlen(digits));
    }
}
