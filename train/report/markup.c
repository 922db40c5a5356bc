/* markup.c - escaping for HTML, numbers as each language writes them. */
#include "train/report/markup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/text.h"
#include "train/record/card_escape.h"

enum { LONGEST_TEXT_BYTES = 400, MAX_DECIMALS = 15 };

/* put_mark - one ASCII character, escaped where HTML or XML would take it for its own. */
static void put_mark(FILE *out, unsigned char mark) {
    switch (mark) {
    case '&':
        fputs("&amp;", out);
        break;
    case '<':
        fputs("&lt;", out);
        break;
    case '>':
        fputs("&gt;", out);
        break;
    case '"':
        fputs("&quot;", out);
        break;
    case '\'':
        fputs("&#39;", out);
        break;
    default:
        putc(mark, out);
    }
}

/* put_text - up to max_bytes of a text; newline: what a line end becomes. */
static void put_text(FILE *out, const char *text, size_t max_bytes, char newline) {
    struct text clean = {0};
    text_append_repaired(&clean, text, strlen(text));
    text_append(&clean, "", 1);
    const unsigned char *first = (const unsigned char *)clean.bytes;
    for (const unsigned char *at = first; *at; at++) {
        bool starts = (*at & 0xc0) != 0x80; /* a cut comes between characters */
        if (starts && (size_t)(at - first) >= max_bytes) {
            fputs("...", out);
            break;
        }
        size_t hidden = hidden_bytes(at);
        if (hidden) {
            putc(*at == '\n' ? newline : *at == '\t' || *at == '\r' ? ' ' : '?', out);
            at += hidden - 1;
            continue;
        }
        put_mark(out, *at);
    }
    text_release(&clean);
}

void put_html(FILE *out, const char *text) {
    put_text(out, text, LONGEST_TEXT_BYTES, ' ');
}

void put_html_lines(FILE *out, const char *text) {
    put_text(out, text, SIZE_MAX, '\n');
}

/* put_digits - "-1234567.89" with the marks of a language. */
static void put_digits(FILE *out, const char *digits, const struct number_marks *marks) {
    if (*digits == '-')
        putc(*digits++, out);
    size_t num_whole = strcspn(digits, ".");
    for (size_t i = 0; i < num_whole; i++) {
        if (i > 0 && (num_whole - i) % 3 == 0)
            fputs(marks->thousands, out);
        putc(digits[i], out);
    }
    if (digits[num_whole] == '.')
        fprintf(out, "%s%s", marks->decimal, digits + num_whole + 1);
}

void put_decimal(FILE *out, double value, int num_decimals, const struct number_marks *marks) {
    char digits[400]; /* the largest double has 309 digits */
    if (!isfinite(value)) {
        fputs("–", out);
        return;
    }
    int decimals = num_decimals < 0 ? 0 : num_decimals > MAX_DECIMALS ? MAX_DECIMALS : num_decimals;
    snprintf(digits, sizeof digits, "%.*f", decimals, value);
    bool is_zero = digits[strspn(digits, "-0.")] == '\0';
    put_digits(out, is_zero && digits[0] == '-' ? digits + 1 : digits, marks);
}

void put_power(FILE *out, int exponent) {
    static const char *const raised[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    char digits[16];
    fputs(exponent < 0 ? "10⁻" : "10", out);
    snprintf(digits, sizeof digits, "%d", abs(exponent));
    for (const char *at = digits; *at; at++)
        fputs(raised[*at - '0'], out);
}

void put_rounded(FILE *out, double value, int num_digits, const struct number_marks *marks) {
    char rounded[64];
    if (!isfinite(value) || value == 0) {
        put_decimal(out, value, 0, marks);
        return;
    }
    /* Rounded first: 9.996 with three digits is 10.0, which has one decimal, not two. */
    snprintf(rounded, sizeof rounded, "%.*e", num_digits - 1, value);
    char *power = strchr(rounded, 'e');
    int exponent = atoi(power + 1);
    if (exponent >= -4 && exponent < 15) {
        put_decimal(out, value, num_digits - 1 - exponent, marks);
        return;
    }
    *power = '\0';
    put_digits(out, rounded, marks);
    fputs(" × ", out);
    put_power(out, exponent);
}
