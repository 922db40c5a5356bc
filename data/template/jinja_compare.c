/* jinja_compare.c - whether values are equal, and which comes first, as Python has it.  See jinja_parts.h. */
#include "data/template/jinja_parts.h"

bool value_is_number(const struct jinja_value *value) {
    return value->kind == JINJA_BOOL || value->kind == JINJA_INT || value->kind == JINJA_FLOAT;
}

double value_real(const struct jinja_value *value) {
    return value->kind == JINJA_FLOAT ? value->real : (double)value->number;
}

/* The comparisons below cannot fail: where one runs for too long or too deep, num_steps is left beyond its bound
 * and "not equal" is returned, and whoever asked counts a step next, which ends the rendering. */

/* lists_equal - of one kind: in Python (1, 2) is not [1, 2]. */
static bool lists_equal(struct jinja_run *run, const struct jinja_value *a, const struct jinja_value *b) {
    bool is_same = a->count == b->count && a->sequence == b->sequence;
    for (size_t i = 0; is_same && i < a->count; i++)
        is_same = value_equal(run, &a->list[i], &b->list[i]);
    return is_same;
}

/* dicts_equal - in whatever order their names came. */
static bool dicts_equal(struct jinja_run *run, const struct jinja_dict *a, const struct jinja_dict *b) {
    if (a == b)
        return true;
    if (a->count != b->count)
        return false;
    for (const struct jinja_entry *entry = a->first; entry; entry = entry->next) {
        const struct jinja_value *other = dict_find(b, entry->name);
        run->num_steps += (int64_t)b->count; /* each is looked for among all */
        if (run->num_steps > run->max_steps || !other || !value_equal(run, &entry->value, other))
            return false;
    }
    return true;
}

/* numbers_equal - whole ones as such: beyond 2^53 two of them may be the same double. */
static bool numbers_equal(const struct jinja_value *a, const struct jinja_value *b) {
    if (!value_is_number(a) || !value_is_number(b))
        return false;
    bool are_whole = a->kind != JINJA_FLOAT && b->kind != JINJA_FLOAT;
    return are_whole ? a->number == b->number : value_real(a) == value_real(b);
}

/* equal_inside - of one kind; numbers of all kinds are one, true being 1.  What has no value of its own (a
 * namespace, a macro, the loop) is equal to itself alone. */
static bool equal_inside(struct jinja_run *run, const struct jinja_value *a, const struct jinja_value *b) {
    if (value_is_number(a) || value_is_number(b))
        return numbers_equal(a, b);
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case JINJA_STRING: {
        struct jinja_value whole[2] = {*a, *b};
        if (a->count != b->count)
            return false;
        value_flatten(run, &whole[0]);
        value_flatten(run, &whole[1]);
        return a->count == 0 || memcmp(whole[0].bytes, whole[1].bytes, a->count) == 0;
    }
    case JINJA_LIST:
        return lists_equal(run, a, b);
    case JINJA_NAMESPACE:
    case JINJA_LOOP:
        return a->dict == b->dict;
    case JINJA_MACRO:
        return a->macro == b->macro;
    case JINJA_DICT:
        return dicts_equal(run, a->dict, b->dict);
    default:
        return true; /* none, undefined */
    }
}

bool value_equal(struct jinja_run *run, const struct jinja_value *a, const struct jinja_value *b) {
    if (run->num_steps > run->max_steps || run->depth > JINJA_MAX_NESTED) {
        run->num_steps =
            run->max_steps + 1; /* lists in lists without end: the next step ends the rendering */
        return false;
    }
    run->depth++;
    run->num_steps += 1 + (int64_t)(a->kind == JINJA_STRING ? a->count / JINJA_STEP_BYTES : 0);
    bool is_equal = equal_inside(run, a, b);
    run->depth--;
    return is_equal;
}

int value_order(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                const struct jinja_value *b, int *order) {
    *order = 0;
    if (value_is_number(a) && value_is_number(b)) {
        bool are_whole = a->kind != JINJA_FLOAT && b->kind != JINJA_FLOAT;
        *order = are_whole ? (a->number > b->number) - (a->number < b->number)
                           : (value_real(a) > value_real(b)) - (value_real(a) < value_real(b));
        return 0;
    }
    if (a->kind != JINJA_STRING || b->kind != JINJA_STRING)
        return err_set(run->err, "'%s' of %s and %s is not supported", sign, value_kind_name(a),
                       value_kind_name(b));
    size_t shared = a->count < b->count ? a->count : b->count;
    jinja_count_bytes(run, shared);
    int first = shared ? memcmp(a->bytes, b->bytes, shared) : 0; /* UTF-8 has the order of its code points */
    *order = first ? first : (a->count > b->count) - (a->count < b->count);
    return 0;
}
