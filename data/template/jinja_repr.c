/* jinja_repr.c - values as text: Python's str() and repr().  See jinja_parts.h.  Source: the Python Language
 * Reference, "String literals"; the Standard Library, "Built-in Types" and "repr". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "data/template/jinja_parts.h"

enum { DEEPEST = 50, NUMBER_BYTES = 32, ESCAPE_BYTES = 12 };

struct writer {
    struct jinja_run *run;
    struct jinja_value out; /* what is written so far */
    int depth;
};

static int put(struct writer *w, const struct jinja_value *text) {
    return value_append(w->run, &w->out, text);
}

static int put_text(struct writer *w, const char *bytes) {
    struct jinja_value text = value_string(bytes);
    return put(w, &text);
}

/* --- numbers --- */

/* shortest - digits and exponent of ten of the shortest decimal number that reads back as this double, which is
 * what Python prints.  17 digits are always enough for a double. */
static int shortest(double real, char digits[NUMBER_BYTES]) {
    char text[NUMBER_BYTES];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, fabs(real));
        if (strtod(text, NULL) == fabs(real))
            break;
    }
    char *exponent = strchr(text, 'e');
    size_t count = 0;
    for (const char *at = text; at < exponent; at++)
        if (*at != '.')
            digits[count++] = *at;
    digits[count] = '\0';
    return atoi(exponent + 1);
}

/* Python's format of repr: an exponent below -4 or from 16 on, otherwise all digits, and always a point. */
void jinja_write_real(double real, char out[JINJA_REAL_BYTES]) {
    char digits[NUMBER_BYTES];
    const char *sign = signbit(real) ? "-" : "";
    if (isnan(real) || isinf(real)) {
        snprintf(out, JINJA_REAL_BYTES, "%s%s", isnan(real) ? "" : sign, isnan(real) ? "nan" : "inf");
        return;
    }
    int exponent = shortest(real, digits), count = (int)strlen(digits);
    if (exponent < -4 || exponent >= 16)
        snprintf(out, JINJA_REAL_BYTES, "%s%c%s%se%c%02d", sign, digits[0], count > 1 ? "." : "", digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        snprintf(out, JINJA_REAL_BYTES, "%s0.%.*s%s", sign, -exponent - 1, "000", digits);
    else if (count > exponent + 1)
        snprintf(out, JINJA_REAL_BYTES, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
    else
        snprintf(out, JINJA_REAL_BYTES, "%s%s%.*s.0", sign, digits, exponent + 1 - count, "0000000000000000");
}

/* number_text - with the origin of the number: one from a message's JSON is the message's text. */
static struct jinja_value number_text(struct jinja_run *run, const struct jinja_value *value) {
    char *text = pool_take(&run->pool, JINJA_REAL_BYTES);
    if (value->kind == JINJA_FLOAT)
        jinja_write_real(value->real, text);
    else
        snprintf(text, JINJA_REAL_BYTES, "%lld", (long long)value->number);
    struct jinja_value result = value_string(text);
    result.origin = value->origin;
    return result;
}

/* --- strings --- */

/* is_printable - Python's str.isprintable() of one character: not of Unicode's categories "other" and "separator",
 * but for the blank.  By utf8proc's version of Unicode, which may know more or fewer characters than Python's. */
static bool is_printable(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return true;
    }
}

/* escape - how a character is written between these quotes; false: as it is. */
static bool escape(uint32_t c, char quote, char out[ESCAPE_BYTES]) {
    if (c == (unsigned char)quote || c == '\\')
        snprintf(out, ESCAPE_BYTES, "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        snprintf(out, ESCAPE_BYTES, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (is_printable(c))
        return false;
    else
        snprintf(out, ESCAPE_BYTES, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    return true;
}

/* write_string - in single quotes, or in double ones where it holds single ones alone; an escape comes from where
 * its character does. */
static int write_string(struct writer *w, const struct jinja_value *text) {
    bool is_double = memchr(text->bytes, '\'', text->count) && !memchr(text->bytes, '"', text->count);
    const char *quote = is_double ? "\"" : "'", *end = text->bytes + text->count, *plain = text->bytes;
    char escaped[ESCAPE_BYTES];
    if (put_text(w, quote) != 0)
        return -1;
    for (const char *at = text->bytes; at < end;) {
        const char *start = at;
        if (!escape(text_next_char(&at), *quote, escaped))
            continue;
        struct jinja_value part =
            value_part(text, (size_t)(plain - text->bytes), (size_t)(start - text->bytes));
        char *kept = pool_take(&w->run->pool, ESCAPE_BYTES);
        memcpy(kept, escaped, ESCAPE_BYTES);
        struct jinja_value written = value_string(kept);
        written.origin = text->origins ? text->origins[start - text->bytes] : text->origin;
        if (put(w, &part) != 0 || put(w, &written) != 0)
            return -1;
        plain = at;
    }
    struct jinja_value rest = value_part(text, (size_t)(plain - text->bytes), text->count);
    return put(w, &rest) != 0 ? -1 : put_text(w, quote);
}

/* --- lists and dictionaries --- */

static int write_value(struct writer *w, const struct jinja_value *value);

static int write_list(struct writer *w, const struct jinja_value *list) {
    bool is_tuple = list->sequence == SEQUENCE_TUPLE;
    if (put_text(w, is_tuple ? "(" : "[") != 0)
        return -1;
    for (size_t i = 0; i < list->count; i++)
        if ((i > 0 && put_text(w, ", ") != 0) || write_value(w, &list->list[i]) != 0)
            return -1;
    return put_text(w, !is_tuple ? "]" : list->count == 1 ? ",)" : ")");
}

static int write_dict(struct writer *w, const struct jinja_dict *dict) {
    if (put_text(w, "{") != 0)
        return -1;
    for (const struct jinja_entry *entry = dict->first; entry; entry = entry->next) {
        struct jinja_value name = value_string(entry->name);
        name.origin = dict->origin;
        if ((entry != dict->first && put_text(w, ", ") != 0) || write_string(w, &name) != 0 ||
            put_text(w, ": ") != 0 || write_value(w, &entry->value) != 0)
            return -1;
    }
    return put_text(w, "}");
}

/* write_value - Python's repr(). */
static int write_value(struct writer *w, const struct jinja_value *value) {
    struct jinja_value text = *value;
    int status = -1;
    if (++w->depth > DEEPEST)
        return err_set(w->run->err, "more than %d levels of lists as text are not supported", DEEPEST);
    value_flatten(w->run, &text);
    if (text.kind == JINJA_STRING && text.is_safe) /* of a class of its own there */
        status = put_text(w, "Markup(") != 0 || write_string(w, &text) != 0 ? -1 : put_text(w, ")");
    else if (text.kind == JINJA_STRING)
        status = write_string(w, &text);
    else if (text.kind == JINJA_LIST && text.sequence != SEQUENCE_RANGE)
        status = write_list(w, &text);
    else if (text.kind == JINJA_DICT && text.dict->has_order)
        status = write_dict(w, text.dict);
    else if (text.kind == JINJA_UNDEFINED)
        status = put_text(w, "Undefined");
    else if (text.kind == JINJA_LIST || text.kind == JINJA_DICT)
        status = err_set(w->run->err, "writing %s as text is not supported", value_kind_name(value));
    else if (value_to_string(w->run, &text, &text) == 0)
        status = put(w, &text);
    w->depth--;
    return status;
}

int value_to_string(struct jinja_run *run, const struct jinja_value *value, struct jinja_value *text) {
    struct writer w = {.run = run, .out = value_string("")};
    switch (value->kind) {
    case JINJA_STRING:
        *text = *value;
        return 0;
    case JINJA_UNDEFINED:
        *text = value_string("");
        return 0;
    case JINJA_NONE:
        *text = value_string("None");
        return 0;
    case JINJA_BOOL:
        *text = value_string(value->number ? "True" : "False");
        return 0;
    case JINJA_INT:
    case JINJA_FLOAT:
        *text = number_text(run, value);
        return 0;
    case JINJA_LIST:
    case JINJA_DICT:
        if (write_value(&w, value) != 0)
            return -1;
        *text = w.out;
        return 0;
    case JINJA_NAMESPACE:
    case JINJA_LOOP:
    case JINJA_MACRO:
    case JINJA_STREAM:
        break;
    }
    return err_set(run->err, "writing %s as text is not supported", value_kind_name(value));
}
