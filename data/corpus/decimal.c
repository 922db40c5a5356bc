/* decimal.c - see decimal.h. */
#include "data/corpus/decimal.h"

#include <stdint.h>
#include <string.h>

enum { MAX_EXPONENT_DIGITS = 9, MAX_DIGITS = 400 };

/* Digits without zeros at either end, times a power of ten; no digits: zero. */
struct decimal {
    bool is_negative;
    char digits[MAX_DIGITS];
    int num_digits;
    int64_t power;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* take_digits - appends those at *at, each a place lower where they follow the point; false where there are none, or too many. */
static bool take_digits(struct decimal *to, const char **at, const char *end, int64_t power_of_each) {
    const char *first = *at;
    for (; *at < end && is_digit(**at); (*at)++) {
        to->power += power_of_each;
        if (to->num_digits == 0 && **at == '0')
            continue;
        if (to->num_digits == MAX_DIGITS)
            return false;
        to->digits[to->num_digits++] = **at;
    }
    return *at > first;
}

/* take_exponent - adds what follows an e; false where it is not a number. */
static bool take_exponent(struct decimal *to, const char **at, const char *end) {
    int64_t exponent = 0;
    const char *first;
    bool is_negative = *at < end && **at == '-';
    if (*at < end && (**at == '-' || **at == '+'))
        (*at)++;
    for (first = *at; *at < end && is_digit(**at); (*at)++) {
        if (*at - first == MAX_EXPONENT_DIGITS)
            return false;
        exponent = exponent * 10 + (**at - '0');
    }
    to->power += is_negative ? -exponent : exponent;
    return *at > first;
}

static bool read_decimal(struct decimal *to, struct text_span text) {
    const char *at = text.bytes, *end = text.bytes + text.length_bytes;
    *to = (struct decimal){.num_digits = 0};
    to->is_negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    if (!take_digits(to, &at, end, 0))
        return false;
    if (at < end && *at == '.' && (at++, !take_digits(to, &at, end, -1)))
        return false;
    if (at < end && (*at == 'e' || *at == 'E') && (at++, !take_exponent(to, &at, end)))
        return false;
    while (to->num_digits > 0 && to->digits[to->num_digits - 1] == '0') {
        to->num_digits--;
        to->power++;
    }
    return at == end;
}

bool decimal_equal(struct text_span a, struct text_span b) {
    struct decimal x, y;
    if (!read_decimal(&x, a) || !read_decimal(&y, b) || x.num_digits != y.num_digits)
        return false;
    if (x.num_digits == 0)
        return true;
    return x.is_negative == y.is_negative && x.power == y.power &&
           memcmp(x.digits, y.digits, (size_t)x.num_digits) == 0;
}
