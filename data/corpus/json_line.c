/* json_line.c - a scan over one line of JSON that finds one field, and the text of its string.  Source: RFC 8259.
 * Where the scan is inside of what is kept as one bit per level, so that deep nesting costs no stack. */
#include "data/corpus/json_line.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct scan {
    const char *start, *at, *end;
    const char *field;
    struct json_line *out;
    struct err *err;
    uint64_t is_object[JSON_LINE_DEPTH / 64]; /* per level: object or array */
    int depth;
};

/* wrong - with the place, counted from 1, or that the line ended.  Returns -1. */
static int wrong(struct scan *s, const char *expected) {
    long long column = (long long)(s->at - s->start) + 1;
    if (s->at >= s->end)
        return err_set(s->err, "not valid JSON: it ends at byte %lld, expected %s", column, expected);
    return err_set(s->err, "not valid JSON: expected %s at byte %lld", expected, column);
}

static void skip_blanks(struct scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\r' || *s->at == '\n'))
        s->at++;
}

static bool next_is(const struct scan *s, char c) {
    return s->at < s->end && *s->at == c;
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* skip_string - from its opening quote to after the closing one. */
static int skip_string(struct scan *s) {
    for (s->at++; s->at < s->end; s->at++) {
        unsigned char c = (unsigned char)*s->at;
        if (c == '"') {
            s->at++;
            return 0;
        }
        if (c < 0x20)
            return wrong(s, "no control character in a string (write it as \\n, \\t or \\u00XX)");
        if (c != '\\')
            continue;
        s->at++;
        if (s->at >= s->end || !strchr("\"\\/bfnrtu", *s->at) || *s->at == '\0')
            return wrong(s, "one of \"\\/bfnrtu after a backslash");
        for (int i = 0; *s->at == 'u' && i < 4; i++)
            if (s->at + i + 1 >= s->end || !is_hex(s->at[i + 1]))
                return wrong(s, "four hexadecimal digits after \\u");
    }
    return wrong(s, "the end of a string");
}

static bool skip_word(struct scan *s, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(s->end - s->at) < length || memcmp(s->at, word, length) != 0)
        return false;
    s->at += length;
    return true;
}

static bool skip_digits(struct scan *s) {
    const char *first = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > first;
}

/* skip_scalar - a number, also NaN and Infinity, or a word. */
static int skip_scalar(struct scan *s) {
    if (skip_word(s, "true") || skip_word(s, "false") || skip_word(s, "null") || skip_word(s, "NaN"))
        return 0;
    if (next_is(s, '-'))
        s->at++;
    if (skip_word(s, "Infinity"))
        return 0;
    if (next_is(s, '0'))
        s->at++;
    else if (!skip_digits(s))
        return wrong(s, "a value");
    if (next_is(s, '.')) {
        s->at++;
        if (!skip_digits(s))
            return wrong(s, "a digit");
    }
    if (next_is(s, 'e') || next_is(s, 'E')) {
        s->at++;
        if (next_is(s, '+') || next_is(s, '-'))
            s->at++;
        if (!skip_digits(s))
            return wrong(s, "a digit");
    }
    return 0;
}

/* same_name - a name as written, escapes and all, is the field's. */
static bool same_name(struct text_span name, const char *field) {
    size_t length = strlen(field);
    if (!memchr(name.bytes, '\\', name.length_bytes))
        return name.length_bytes == length && memcmp(name.bytes, field, length) == 0;
    struct text plain = {0};
    json_line_unescape((struct text_span){name.bytes - 1, name.length_bytes + 2}, &plain);
    bool is_same = plain.length_bytes == length && memcmp(plain.bytes, field, length) == 0;
    text_release(&plain);
    return is_same;
}

/* take_name - a name and its colon; at the top level it is noted, and *is_field says whether it is the
 * field's. */
static int take_name(struct scan *s, bool *is_field) {
    skip_blanks(s);
    if (!next_is(s, '"'))
        return wrong(s, "a name in double quotes");
    const char *first = s->at + 1;
    if (skip_string(s) != 0)
        return -1;
    struct text_span name = {first, (size_t)(s->at - 1 - first)};
    *is_field = s->depth == 1 && same_name(name, s->field);
    if (s->depth == 1) {
        if (s->out->num_names < JSON_LINE_NAMES)
            s->out->names[s->out->num_names] = name;
        s->out->num_names++;
    }
    if (*is_field && s->out->value.bytes)
        return err_set(s->err, "the field '%s' comes twice", s->field);
    skip_blanks(s);
    if (!next_is(s, ':'))
        return wrong(s, "':'");
    s->at++;
    return 0;
}

static bool in_object(const struct scan *s) {
    return s->is_object[(s->depth - 1) / 64] >> (s->depth - 1) % 64 & 1;
}

static int open_level(struct scan *s) {
    if (s->depth == JSON_LINE_DEPTH)
        return err_set(s->err, "nested deeper than %d levels", JSON_LINE_DEPTH);
    uint64_t bit = (uint64_t)1 << s->depth % 64;
    if (*s->at == '{')
        s->is_object[s->depth / 64] |= bit;
    else
        s->is_object[s->depth / 64] &= ~bit;
    s->depth++;
    s->at++;
    return 0;
}

/* end_value - what may follow a value: the ends of the levels it closes, and a comma.  *has_more: another
 * value of the level that is open now. */
static int end_value(struct scan *s, const char *field_value, bool *has_more) {
    for (;;) {
        if (s->depth == 1 && field_value && !s->out->value.bytes)
            s->out->value = (struct text_span){field_value, (size_t)(s->at - field_value)};
        *has_more = false;
        if (s->depth == 0)
            return 0;
        skip_blanks(s);
        if (next_is(s, ',')) {
            s->at++;
            *has_more = true;
            return 0;
        }
        if (!next_is(s, in_object(s) ? '}' : ']'))
            return wrong(s, in_object(s) ? "',' or '}'" : "',' or ']'");
        s->at++;
        s->depth--;
    }
}

/* walk - the whole line, value by value, without recursion: what is open stands in is_object and depth.  All of the
 * line is checked, also after the field was found: one that is damaged at its end was cut. */
static int walk(struct scan *s) {
    const char *field_value = NULL; /* where the field's value starts, while inside it */
    bool has_more = true, is_field = false;
    while (has_more) {
        if (s->depth > 0 && in_object(s) && take_name(s, &is_field) != 0)
            return -1;
        skip_blanks(s);
        if (s->depth == 1)
            field_value = is_field ? s->at : NULL;
        is_field = false;
        if (next_is(s, '{') || next_is(s, '[')) {
            if (open_level(s) != 0)
                return -1;
            skip_blanks(s);
            if (!next_is(s, in_object(s) ? '}' : ']'))
                continue; /* its first value */
            s->at++;
            s->depth--;
        } else if ((next_is(s, '"') ? skip_string(s) : skip_scalar(s)) != 0) {
            return -1;
        }
        if (end_value(s, field_value, &has_more) != 0)
            return -1;
    }
    skip_blanks(s);
    return s->at == s->end ? 0 : wrong(s, "the end");
}

/* Nothing is copied: the names and the value are spans of the line. */
int json_line_scan(struct text_span line, const char *field, struct json_line *out, struct err *err) {
    struct scan s = {.start = line.bytes,
                     .at = line.bytes,
                     .end = line.bytes + line.length_bytes,
                     .field = field,
                     .out = out,
                     .err = err};
    *out = (struct json_line){0};
    skip_blanks(&s);
    if (next_is(&s, '['))
        return err_set(
            err,
            "not a JSON object but an array; where the file is one array, set the source's format to json");
    if (!next_is(&s, '{')) {
        if (next_is(&s, '"') || (s.at < s.end && strchr("-0123456789tfnNI", *s.at)))
            return err_set(err, "not a JSON object");
        return wrong(&s, "'{'");
    }
    return walk(&s);
}

/* --- values --- */

static uint32_t hex4(const char *digits) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t c = (unsigned char)digits[i];
        value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

/* unescape_unicode - at stands on the 'u'; returns how many bytes to step over. */
static size_t unescape_unicode(const char *at, const char *end, struct text *out) {
    uint32_t c = hex4(at + 1);
    if (c >= 0xD800 && c < 0xDC00 && end - at >= 11 && at[5] == '\\' && at[6] == 'u') {
        uint32_t low = hex4(at + 7);
        if (low >= 0xDC00 && low < 0xE000) {
            text_append_char(out, 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00));
            return 11;
        }
    }
    text_append_char(out, c >= 0xD800 && c < 0xE000 ? 0xFFFD : c);
    return 5;
}

/* The string was scanned before, so that every escape is whole; half a surrogate pair becomes U+FFFD. */
void json_line_unescape(struct text_span value, struct text *out) {
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *at = value.bytes + 1, *end = value.bytes + value.length_bytes - 1;
    text_reserve(out, value.length_bytes);
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        const char *stop = escape ? escape : end;
        text_append(out, at, (size_t)(stop - at));
        if (!escape)
            break;
        at = escape + 1;
        if (*at == 'u') {
            at += unescape_unicode(at, end, out);
        } else {
            text_append(out, &meant[strchr(letters, *at) - letters], 1);
            at++;
        }
    }
}

/* RFC 8259, section 7. */
enum { ESCAPE_BYTES = 6 }; /* the longest one, a backslash with u001f */

/* escaped_bytes - the highest bit of each of eight bytes that is below 0x20, a quote or a backslash.  Exact up to the lowest one:
 * a subtraction borrows from the bytes above, never from those below. */
static uint64_t escaped_bytes(uint64_t word) {
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
    uint64_t is_low = (word - ones * 0x20) & ~word;
    uint64_t is_quote = (quote - ones) & ~quote, is_backslash = (backslash - ones) & ~backslash;
    return (is_low | is_quote | is_backslash) & (ones * 0x80);
}

/* write_escape - of a byte that needs one; where the next byte goes. */
static char *write_escape(char *to, unsigned char c) {
    static const char digits[] = "0123456789abcdef";
    const char escape[ESCAPE_BYTES] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    if (c != '\n' && c != '"' && c != '\\') {
        memcpy(to, escape, sizeof escape);
        return to + sizeof escape;
    }
    to[0] = '\\';
    to[1] = c == '\n' ? 'n' : (char)c;
    return to + 2;
}

/* escape_part - into room for ESCAPE_BYTES a byte; how many were written.  Words are copied before they are looked at: most
 * have nothing to escape. */
static size_t escape_part(char *to, const char *from, size_t length_bytes) {
    char *at = to;
    size_t i = 0;
    uint64_t word;
    while (i + sizeof word <= length_bytes) {
        memcpy(&word, from + i, sizeof word);
        memcpy(at, &word, sizeof word);
        uint64_t found = escaped_bytes(word);
        size_t clean = found ? (size_t)__builtin_ctzll(found) / 8 : sizeof word;
        i += clean;
        at += clean;
        if (found)
            at = write_escape(at, (unsigned char)from[i++]);
    }
    for (; i < length_bytes; i++) {
        unsigned char c = (unsigned char)from[i];
        if (c < 0x20 || c == '"' || c == '\\')
            at = write_escape(at, c);
        else
            *at++ = from[i];
    }
    return (size_t)(at - to);
}

void json_line_escape(struct text *out, const char *bytes, size_t length_bytes) {
    enum { PART_BYTES = 4096 };
    while (length_bytes > 0) {
        size_t part = length_bytes < PART_BYTES ? length_bytes : PART_BYTES;
        text_reserve(out, part * ESCAPE_BYTES);
        out->length_bytes += escape_part(out->bytes + out->length_bytes, bytes, part);
        bytes += part;
        length_bytes -= part;
    }
}

/* fits - a number that every reader of JSON takes. */
static bool fits(struct text_span number) {
    char digits[64];
    if (number.length_bytes >= sizeof digits || memchr(number.bytes, 'I', number.length_bytes) ||
        number.bytes[0] == 'N')
        return false;
    memcpy(digits, number.bytes, number.length_bytes);
    digits[number.length_bytes] = '\0';
    errno = 0;
    if (strcspn(digits, ".eE") < number.length_bytes)
        return isfinite(strtod(digits, NULL)) && errno != ERANGE;
    strtoll(digits, NULL, 10);
    return errno == 0;
}

/* Numbers that jansson refuses, beyond 64 bits or a double, become strings that begin with JSON_LINE_NUMBER, by
 * which they are told from texts; all else is copied. */
void json_line_plain(struct text_span value, struct text *out) {
    const char *at = value.bytes, *end = at + value.length_bytes;
    text_reserve(out, value.length_bytes);
    while (at < end) {
        struct scan s = {.start = at, .at = at, .end = end};
        if (*at == '"') {
            skip_string(&s);
            text_append(out, at, (size_t)(s.at - at));
        } else if (strchr("-0123456789NI", *at) && *at != '\0') {
            skip_scalar(&s);
            struct text_span number = {at, (size_t)(s.at - at)};
            bool is_plain = fits(number);
            if (!is_plain)
                text_append(out, "\"" JSON_LINE_NUMBER, strlen("\"" JSON_LINE_NUMBER));
            text_append(out, number.bytes, number.length_bytes);
            text_append(out, "\"", is_plain ? 0 : 1);
        } else {
            text_append(out, at, 1);
            s.at = at + 1;
        }
        at = s.at;
    }
}
