/* jinja_format.c - texts with places for values: 'text %s' % value and 'text {}'.format(value).  See jinja_parts.h.
 * Source: the Python Standard Library, "printf-style String Formatting" and "Format String Syntax". */
#include <stdlib.h>

#include "data/template/jinja_parts.h"

/* put_value - append what a place is filled with, as str() writes it. */
static int put_value(struct jinja_run *run, struct jinja_value *to, const struct jinja_value *value) {
    struct jinja_value text;
    if (value->kind == JINJA_UNDEFINED) /* Python writes nothing, or refuses */
        return err_set(run->err, "'%.60s' is undefined", value->bytes ? value->bytes : "a value");
    return value_to_string(run, value, &text) != 0 ? -1 : value_append(run, to, &text);
}

/* Each '%s' and '%d' takes the next value of a tuple, or the one value that is not a tuple; Python refuses values
 * that are left over as well as places that are.  Widths, precisions and names ('%5d', '%(name)s') are refused. */
int text_percent(struct jinja_run *run, const struct jinja_value *format, const struct jinja_value *values,
                 struct jinja_value *result) {
    bool is_tuple = values->kind == JINJA_LIST && values->sequence == SEQUENCE_TUPLE;
    size_t count = is_tuple ? values->count : 1, next = 0, from = 0;
    *result = value_string("");
    for (size_t at = 0; at < format->count; at++) {
        if (format->bytes[at] != '%')
            continue;
        struct jinja_value plain = value_part(format, from, at);
        char sign = at + 1 < format->count ? format->bytes[at + 1] : '\0';
        if (value_append(run, result, &plain) != 0)
            return -1;
        from = at + 2;
        at++;
        if (sign == '%') {
            struct jinja_value percent = value_part(format, at, at + 1);
            if (value_append(run, result, &percent) != 0)
                return -1;
            continue;
        }
        const struct jinja_value *value = is_tuple ? &values->list[next < count ? next : 0] : values;
        bool is_whole = value->kind == JINJA_INT || value->kind == JINJA_BOOL;
        if (next++ >= count || (sign != 's' && (sign != 'd' || !is_whole)))
            return err_set(run->err, "a text with '%%%c' %% such values is not supported", sign ? sign : ' ');
        struct jinja_value number = value_int(value->number);
        if (put_value(run, result, sign == 'd' ? &number : value) != 0)
            return -1;
    }
    if (next != count)
        return err_set(run->err, "a text %% more values than it has places is not supported");
    struct jinja_value rest = value_part(format, from > format->count ? format->count : from, format->count);
    return value_append(run, result, &rest);
}

/* argument - the one that a place in brackets means: "" the next, "1" the second, "name" by its keyword.  Python takes
 * places with numbers or places without, not both: after one with a number, next is beyond all arguments. */
static const struct jinja_value *argument(const struct jinja_args *args, const char *name, size_t length,
                                          int *next) {
    enum { NUMBERED = JINJA_MAX_ARGS + 1 };
    int number = length == 0 ? (*next)++ : -1, place = 0;
    if (length > 0 && length < 4 && strspn(name, "0123456789") >= length) {
        if (*next > 0 && *next != NUMBERED)
            return NULL;
        *next = NUMBERED;
        number = 0;
        for (size_t i = 0; i < length; i++)
            number = 10 * number + (name[i] - '0');
    }
    for (int i = 0; i < args->count; i++) {
        const char *keyword = args->keywords[i];
        if (keyword ? number < 0 && strlen(keyword) == length && memcmp(keyword, name, length) == 0
                    : place++ == number)
            return &args->values[i];
    }
    return NULL;
}

/* '{{' and '}}' are the brackets themselves; '{}', '{1}' and '{name}' are places.  What follows a ':' or a '!'
 * inside, or an attribute there, is no argument's name, so it is refused by argument. */
int text_format(struct jinja_run *run, const struct jinja_value *format, const struct jinja_args *args,
                struct jinja_value *result) {
    size_t from = 0;
    int next = 0;
    *result = value_string("");
    for (size_t at = 0; at < format->count; at++) {
        char c = format->bytes[at];
        if (c != '{' && c != '}')
            continue;
        bool is_doubled = at + 1 < format->count && format->bytes[at + 1] == c;
        struct jinja_value plain = value_part(format, from, at + is_doubled);
        if (value_append(run, result, &plain) != 0)
            return -1;
        const char *close = is_doubled ? NULL : memchr(format->bytes + at, '}', format->count - at);
        if (!is_doubled && (c == '}' || !close))
            return err_set(run->err, "'format' of a text with a single '%c' is not supported", c);
        if (is_doubled) {
            from = at + 2;
            at++;
            continue;
        }
        const char *name = format->bytes + at + 1;
        const struct jinja_value *value = argument(args, name, (size_t)(close - name), &next);
        if (!value)
            return err_set(run->err, "'format' with the place '{%.*s}' is not supported",
                           (int)(close - name < 40 ? close - name : 40), name);
        if (put_value(run, result, value) != 0)
            return -1;
        at = (size_t)(close - format->bytes);
        from = at + 1;
    }
    struct jinja_value rest = value_part(format, from, format->count);
    return value_append(run, result, &rest);
}
