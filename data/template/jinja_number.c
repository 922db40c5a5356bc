/* jinja_number.c - the filters that give numbers.  See jinja_parts.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/template/jinja_parts.h"

/* is_decimal - digits, with a point and an exponent or without, and with a sign before them or not. */
static bool is_decimal(const char *at) {
    at += *at == '+' || *at == '-';
    size_t whole = strspn(at, "0123456789"), part = 0;
    at += whole;
    if (*at == '.') {
        part = strspn(at + 1, "0123456789");
        at += 1 + part;
    }
    if (whole + part == 0 || (*at != 'e' && *at != 'E'))
        return whole + part > 0 && *at == '\0';
    at++;
    at += *at == '+' || *at == '-';
    return *at != '\0' && at[strspn(at, "0123456789")] == '\0';
}

enum { LONGEST = 300 };

/* number_text - a text without white space around it, where it may be a number; NULL with err set where we cannot
 * tell as Python would: digits of other scripts, '1_000', 'nan'. */
static const char *number_text(struct jinja_run *run, const struct jinja_value *text) {
    struct jinja_value bare = value_strip(text, NULL, true, true);
    bool is_odd = bare.count > LONGEST || memchr(bare.bytes, '\0', bare.count);
    for (size_t i = 0; i < bare.count; i++)
        is_odd = is_odd || (unsigned char)bare.bytes[i] >= 0x80 || bare.bytes[i] == '_';
    char *copy = pool_take(&run->pool, (is_odd ? 0 : bare.count) + 1);
    if (!is_odd)
        memcpy(copy, bare.bytes, bare.count);
    const char *letters = copy + (*copy == '+' || *copy == '-');
    if (is_odd || strchr("nNiI", *letters ? *letters : 'x')) {
        err_set(run->err, "such a text as a number is not supported");
        return NULL;
    }
    return copy;
}

/* As in Jinja2 int(x), or where that fails int(float(x)), or else the default: '3.7' is 3, 'x' is the default. */
int jinja_to_int(struct jinja_run *run, const struct jinja_value *value,
                 const struct jinja_value *const *given, struct jinja_value *result) {
    struct jinja_value zero = value_int(0);
    const char *text = NULL;
    *result = given[0] ? *given[0] : zero;
    if (given[1] && (given[1]->kind != JINJA_INT || given[1]->number != 10))
        return jinja_wrong(run, "with this base the filter", "int", value);
    if (value->kind == JINJA_STRING && !(text = number_text(run, value)))
        return -1;
    if (value->kind == JINJA_INT || value->kind == JINJA_BOOL) {
        *result = value_int(value->number);
    } else if (value->kind == JINJA_FLOAT || (text && is_decimal(text))) {
        double real = text ? strtod(text, NULL) : value->real;
        if (!(fabs(real) < 9007199254740992.0)) /* 2^53: what is larger is not whole any more */
            return jinja_wrong(run, "the filter", "int", value);
        *result = value_int((int64_t)real);
    } else if (value->kind == JINJA_UNDEFINED) {
        return jinja_wrong(run, "the filter", "int", value);
    }
    return 0;
}

int jinja_to_float(struct jinja_run *run, const struct jinja_value *value,
                   const struct jinja_value *const *given, struct jinja_value *result) {
    const char *text = NULL;
    *result = given[0] ? *given[0] : (struct jinja_value){.kind = JINJA_FLOAT, .real = 0};
    if (value->kind == JINJA_STRING && !(text = number_text(run, value)))
        return -1;
    if (value_is_number(value))
        *result = (struct jinja_value){.kind = JINJA_FLOAT, .real = value_real(value)};
    else if (text && is_decimal(text))
        *result = (struct jinja_value){.kind = JINJA_FLOAT, .real = strtod(text, NULL)};
    else if (value->kind == JINJA_UNDEFINED)
        return jinja_wrong(run, "the filter", "float", value);
    return 0;
}

int jinja_abs(struct jinja_run *run, const struct jinja_value *value, const struct jinja_value *const *given,
              struct jinja_value *result) {
    (void)given;
    if (!value_is_number(value) || (value->kind == JINJA_INT && value->number == INT64_MIN))
        return jinja_wrong(run, "the filter", "abs", value);
    *result = value->kind == JINJA_FLOAT
                  ? (struct jinja_value){.kind = JINJA_FLOAT, .real = fabs(value->real)}
                  : value_int(llabs(value->number));
    return 0;
}

/* jinja_round - to so many digits after the point, halves as the stored number has them: printf rounds the exact
 * binary value, to even where it lies in the middle, as Python's round() does.  A whole number stays one. */
int jinja_round(struct jinja_run *run, const struct jinja_value *value,
                const struct jinja_value *const *given, struct jinja_value *result) {
    enum { MOST_DIGITS = 15 };
    int64_t digits = given[0] ? given[0]->number : 0;
    char text[400];
    bool is_common = !given[1] || value_is_text(given[1], "common");
    if (!value_is_number(value) || (given[0] && given[0]->kind != JINJA_INT) || digits < 0 ||
        digits > MOST_DIGITS || !is_common || !isfinite(value_real(value)))
        return jinja_wrong(run, "with such arguments the filter", "round", value);
    if (value->kind != JINJA_FLOAT) {
        *result = value_int(value->number);
        return 0;
    }
    snprintf(text, sizeof text, "%.*f", (int)digits, value->real);
    *result = (struct jinja_value){.kind = JINJA_FLOAT, .real = strtod(text, NULL)};
    return 0;
}
