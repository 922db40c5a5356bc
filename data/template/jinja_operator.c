/* jinja_operator.c - operators of two sides, as Python has them.  See jinja_parts.h. */
#include <math.h>

#include "data/template/jinja_parts.h"

/* wrong_sides - names the kinds of both, and the name that was undefined where one was: most often a misspelt
 * field. */
static int wrong_sides(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                       const struct jinja_value *b) {
    const struct jinja_value *odd = a->kind == JINJA_UNDEFINED ? a : b;
    bool is_missing = odd->kind == JINJA_UNDEFINED && odd->bytes;
    return err_set(run->err, "'%s' of %s and %s%s%.60s is not supported", sign, value_kind_name(a),
                   value_kind_name(b), is_missing ? ": " : "", is_missing ? odd->bytes : "");
}

/* A part of a text, a name of a dictionary, an item of a list.  Undefined holds nothing, as Jinja2's has no items. */
int jinja_is_in(struct jinja_run *run, const struct jinja_value *a, const struct jinja_value *b,
                bool *is_in) {
    *is_in = false;
    if (b->kind == JINJA_STRING && a->kind == JINJA_STRING) {
        jinja_count_bytes(run, b->count);
        *is_in = a->count == 0 || memmem(b->bytes, b->count, a->bytes, a->count) != NULL;
        return 0;
    }
    if (b->kind == JINJA_DICT && a->kind == JINJA_STRING) {
        jinja_count_entries(run, b->dict);
        *is_in = dict_find_text(b->dict, a) != NULL;
        return 0;
    }
    if (b->kind != JINJA_LIST && b->kind != JINJA_UNDEFINED)
        return err_set(run->err, "'in' with %s is not supported", value_kind_name(b));
    for (size_t i = 0; b->kind == JINJA_LIST && i < b->count; i++)
        *is_in = *is_in || value_equal(run, a, &b->list[i]);
    return jinja_count_step(run);
}

/* --- numbers --- */

/* divide_whole - '//' and '%' of whole numbers: Python rounds down, C towards zero. */
static int64_t divide_whole(char sign, int64_t x, int64_t y) {
    int64_t quotient = x / y, rest = x % y;
    bool is_below = rest != 0 && (rest < 0) != (y < 0);
    return sign == '%' ? rest + (is_below ? y : 0) : quotient - is_below;
}

/* whole_numbers - Python's have no largest one; a result that does not fit in 64 bits is refused, never wrapped. */
static int whole_numbers(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                         const struct jinja_value *b, struct jinja_value *value) {
    int64_t x = a->number, y = b->number, result = 0;
    bool divides = sign[0] == '%' || sign[0] == '/';
    if ((divides && (y == 0 || (x == INT64_MIN && y == -1))) ||
        (sign[0] == '+' && __builtin_add_overflow(x, y, &result)) ||
        (sign[0] == '-' && __builtin_sub_overflow(x, y, &result)) ||
        (sign[0] == '*' && __builtin_mul_overflow(x, y, &result)))
        return err_set(run->err, "'%s' of %lld and %lld is not supported", sign, (long long)x, (long long)y);
    *value = value_int(divides ? divide_whole(sign[0], x, y) : result);
    return 0;
}

/* real_numbers - where one has a point, and '/' of any.  A whole number beyond 2^53 may not be a double exactly,
 * and Python divides whole numbers of any size exactly before it rounds: refused. */
static int real_numbers(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                        const struct jinja_value *b, struct jinja_value *value) {
    double x = value_real(a), y = value_real(b);
    bool divides = sign[0] == '/' || sign[0] == '%';
    bool is_large = fabs(x) > 9007199254740992.0 || fabs(y) > 9007199254740992.0; /* 2^53 */
    if (strcmp(sign, "//") == 0 || sign[0] == '%' || (divides && y == 0) || is_large || isnan(x) || isnan(y))
        return err_set(run->err, "'%s' of %.17g and %.17g is not supported", sign, x, y);
    *value = (struct jinja_value){.kind = JINJA_FLOAT,
                                  .real = sign[0] == '+'   ? x + y
                                          : sign[0] == '-' ? x - y
                                          : sign[0] == '*' ? x * y
                                                           : x / y};
    return 0;
}

/* --- lists and texts --- */

/* add_lists - a new list; its items are shared, as Python's list holds references. */
static int add_lists(struct jinja_run *run, const struct jinja_value *a, const struct jinja_value *b,
                     struct jinja_value *value) {
    if ((a->count + b->count) * sizeof *value->list > run->max_bytes)
        return err_set(run->err, "the template takes too much memory");
    *value = value_list(run, a->count + b->count);
    value->sequence = a->sequence;
    memcpy(value->list, a->list, a->count * sizeof *a->list);
    memcpy(value->list + a->count, b->list, b->count * sizeof *b->list);
    value->count = a->count + b->count;
    return 0;
}

/* repeat - 'text' * 3; 0 times, or fewer, is the empty text. */
static int repeat(struct jinja_run *run, const struct jinja_value *text, int64_t times,
                  struct jinja_value *value) {
    size_t count = times > 0 ? (size_t)times : 0;
    if (count > 0 && text->count > run->max_bytes / sizeof *text->origins / count)
        return err_set(run->err, "the template takes too much memory");
    *value = value_string("");
    if (count == 0 || text->count == 0)
        return 0;
    char *bytes = pool_take(&run->pool, count * text->count);
    uint16_t *origins = text->origins ? pool_take(&run->pool, count * text->count * sizeof *origins) : NULL;
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes + i * text->count, text->bytes, text->count);
        if (origins)
            memcpy(origins + i * text->count, text->origins, text->count * sizeof *origins);
    }
    *value = *text;
    value->bytes = bytes;
    value->origins = origins;
    value->count *= count;
    jinja_count_bytes(run, value->count);
    return jinja_count_step(run);
}

/* Two sides that are flat.  The order of the rules matters: true counts as a number first, and a text is a format
 * for '%' whatever stands on its right. */
int jinja_calculate(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                    const struct jinja_value *b, struct jinja_value *value) {
    bool are_whole = a->kind != JINJA_FLOAT && b->kind != JINJA_FLOAT && strcmp(sign, "/") != 0;
    if (value_is_number(a) && value_is_number(b))
        return are_whole ? whole_numbers(run, sign, a, b, value) : real_numbers(run, sign, a, b, value);
    bool are_lists = a->kind == JINJA_LIST && b->kind == JINJA_LIST && a->sequence == b->sequence;
    if (sign[0] == '+' && are_lists && a->sequence != SEQUENCE_RANGE)
        return add_lists(run, a, b, value);
    if (a->is_safe || b->is_safe)
        return err_set(run->err, "'%s' of a text marked 'safe' is not supported", sign);
    if (sign[0] == '*' && a->kind == JINJA_STRING && b->kind == JINJA_INT)
        return repeat(run, a, b->number, value);
    if (sign[0] == '*' && b->kind == JINJA_STRING && a->kind == JINJA_INT)
        return repeat(run, b, a->number, value);
    if (sign[0] == '%' && a->kind == JINJA_STRING)
        return text_percent(run, a, b, value);
    return wrong_sides(run, sign, a, b);
}

/* join_safe - '+' where a side is marked 'safe': Markup of Python writes the other one for HTML. */
static int join_safe(struct jinja_run *run, struct jinja_value *a, struct jinja_value *b,
                     struct jinja_value *value) {
    value_flatten(run, a);
    value_flatten(run, b);
    if ((!a->is_safe && text_html(run, a) != 0) || (!b->is_safe && text_html(run, b) != 0))
        return -1;
    *value = value_join(run, a, b);
    value_flatten(run, value);
    value->is_safe = true;
    return 0;
}

/* '~' makes texts of both sides first and takes no notice of 'safe'; '+' of anything but two texts is a sum. */
int jinja_concat(struct jinja_run *run, const char *sign, const struct jinja_value sides[2],
                 struct jinja_value *value) {
    struct jinja_value a = sides[0], b = sides[1];
    if (sign[0] == '+' && (a.kind != JINJA_STRING || b.kind != JINJA_STRING))
        return jinja_calculate(run, sign, &a, &b, value);
    if (sign[0] == '+' && (a.is_safe || b.is_safe))
        return join_safe(run, &a, &b, value);
    if (value_to_string(run, &a, &a) != 0 || value_to_string(run, &b, &b) != 0)
        return -1;
    if (a.count + b.count > run->max_bytes)
        return err_set(run->err, "the template takes too much memory");
    a.is_safe = b.is_safe = false;
    *value = value_join(run, &a, &b);
    return 0;
}

/* Nothing comes before or after NaN, which value_order cannot say: it is looked for first. */
int jinja_compare(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                  const struct jinja_value *b, bool *is) {
    int order = 0;
    if (strcmp(sign, "==") == 0 || strcmp(sign, "!=") == 0) {
        *is = value_equal(run, a, b) == (sign[0] == '=');
        return jinja_count_step(run); /* which may have been too many */
    }
    if (strcmp(sign, "in") == 0 || strcmp(sign, "not in") == 0) {
        int status = jinja_is_in(run, a, b, is);
        *is = *is == (sign[0] == 'i');
        return status;
    }
    bool is_nan = (a->kind == JINJA_FLOAT && isnan(a->real)) || (b->kind == JINJA_FLOAT && isnan(b->real));
    if (value_order(run, sign, a, b, &order) != 0)
        return -1;
    *is = !is_nan && ((sign[0] == '<' ? order < 0 : order > 0) || (sign[1] == '=' && order == 0));
    return 0;
}
