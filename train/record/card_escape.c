/* card_escape.c - what YAML and Markdown would take for their own, made harmless.  Source: YAML 1.2.2, sections 5.1
 * and 5.7; CommonMark 0.31, section 2.4. */
#include "train/record/card_escape.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

enum { LONGEST_TEXT_BYTES = 400 };

size_t hidden_bytes(const unsigned char *at) {
    if (at[0] < 0x20 || at[0] == 0x7f)
        return 1;
    if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
        return 2;
    if (at[0] == 0xe2 && at[1] == 0x80 &&
        ((at[2] >= 0x8b && at[2] <= 0x8f) || (at[2] >= 0xa8 && at[2] <= 0xae)))
        return 3;
    if (at[0] == 0xe2 && at[1] == 0x81 && at[2] >= 0xa0 && at[2] <= 0xaf)
        return 3;
    bool is_mark = at[0] == 0xef && at[1] == 0xbb && at[2] == 0xbf;
    bool is_none = at[0] == 0xef && at[1] == 0xbf && at[2] >= 0xbe;
    return is_mark || is_none ? 3 : 0;
}

/* is_plain - a word that is a string in every version of YAML. */
static bool is_plain(const char *text) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-";
    static const char *const meant[] = {"true", "false", "yes", "no",  "on", "off",
                                        "null", "y",     "n",   "nan", "inf"};
    for (size_t i = 0; i < sizeof meant / sizeof meant[0]; i++)
        if (strcasecmp(text, meant[i]) == 0)
            return false;
    return text[0] && strchr(letters, text[0]) && text[strspn(text, allowed)] == '\0';
}

void put_yaml(FILE *out, const char *text) {
    if (is_plain(text)) {
        fputs(text, out);
        return;
    }
    putc('"', out);
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        size_t hidden = hidden_bytes(at);
        if (hidden) {
            putc(*at == '\n' || *at == '\t' ? ' ' : '?', out);
            at += hidden - 1;
            continue;
        }
        if (*at == '"' || *at == '\\')
            putc('\\', out);
        putc(*at, out);
    }
    putc('"', out);
}

void put_markdown(FILE *out, const char *text) {
    static const char marks[] = "\\`*_{}[]<>|~#&$!";
    const unsigned char *first = (const unsigned char *)text;
    for (const unsigned char *at = first; *at; at++) {
        bool starts = (*at & 0xc0) != 0x80; /* a cut comes between characters */
        if (starts && at - first >= LONGEST_TEXT_BYTES) {
            fputs("...", out);
            return;
        }
        size_t hidden = hidden_bytes(at);
        if (hidden) {
            putc(*at == '\n' || *at == '\t' || *at == '\r' ? ' ' : '?', out);
            at += hidden - 1;
            continue;
        }
        if (*at < 0x80 && strchr(marks, *at))
            putc('\\', out);
        putc(*at, out);
    }
}

void put_address(FILE *out, const char *text) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/?#@!$&'()*+,;=%";
    size_t scheme = strncmp(text, "https://", 8) == 0 ? 8 : strncmp(text, "http://", 7) == 0 ? 7 : 0;
    if (scheme && text[scheme] && strlen(text) <= LONGEST_TEXT_BYTES && text[strspn(text, allowed)] == '\0')
        fprintf(out, "<%s>", text);
    else
        put_markdown(out, text);
}

void put_count(FILE *out, int64_t value, const char *thousands) {
    char digits[32];
    snprintf(digits, sizeof digits, "%" PRIu64, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    if (value < 0)
        putc('-', out);
    for (size_t i = 0, count = strlen(digits); i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0)
            fputs(thousands, out);
        putc(digits[i], out);
    }
}

void put_real(FILE *out, double value, const char *decimal) {
    char text[64];
    snprintf(text, sizeof text, "%.4g", value);
    for (const char *at = text; *at; at++)
        if (*at == '.')
            fputs(decimal, out);
        else
            putc(*at, out);
}
