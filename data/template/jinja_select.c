/* jinja_select.c - filters that go through the items of a list by an attribute, a test or another filter: map, select,
 * reject, selectattr, rejectattr, sort, unique, min, max, sum, dictsort.  See jinja_parts.h.  Source: Jinja2, "List of
 * Builtin Filters". */
#include <stdlib.h>

#include "data/template/jinja_parts.h"

/* copy_text - as a C string of the pool; what is compared with a list of names afterwards. */
static const char *copy_text(struct jinja_run *run, const struct jinja_value *text) {
    char *copy = pool_take(&run->pool, text->count + 1);
    memcpy(copy, text->bytes, text->count);
    return copy;
}

/* one_part - the field, or the place in a list where the part is a number. */
static int one_part(struct jinja_run *run, const struct jinja_value *part, struct jinja_value *value) {
    struct jinja_value object = *value, index = *part;
    bool is_number = part->count > 0 && part->count < 10;
    for (size_t i = 0; i < part->count; i++)
        is_number = is_number && part->bytes[i] >= '0' && part->bytes[i] <= '9';
    if (is_number)
        index = value_int(strtol(copy_text(run, part), NULL, 10));
    return jinja_get_item(run, &object, &index, value);
}

/* attribute_of - 'a', 'a.b' or 'a.0' of an item, or an item itself where no attribute is asked for. */
static int attribute_of(struct jinja_run *run, const struct jinja_value *item,
                        const struct jinja_value *attribute, struct jinja_value *value) {
    *value = *item;
    value_flatten(run, value);
    if (!attribute || attribute->kind == JINJA_NONE)
        return 0;
    if (attribute->kind == JINJA_INT)
        return jinja_get_item(run, item, attribute, value);
    if (attribute->kind != JINJA_STRING || memchr(attribute->bytes, ',', attribute->count) ||
        memchr(attribute->bytes, '\0', attribute->count))
        return err_set(run->err, "such an attribute of items is not supported");
    const struct jinja_value point = value_string(".");
    for (size_t from = 0; from <= attribute->count;) {
        int64_t at = text_at(attribute, &point, from);
        size_t end = at < 0 || attribute->count == 0 ? attribute->count : (size_t)at;
        struct jinja_value part = value_part(attribute, from, end);
        if (one_part(run, &part, value) != 0)
            return -1;
        value_flatten(run, value);
        from = end + 1;
    }
    return jinja_count_step(run);
}

/* --- select, reject, selectattr, rejectattr, map --- */

/* passes - 1, 0, or -1 with err set; the test's name is the first of the arguments from number at on, and what
 * follows it are the test's own.  Without a name the value itself decides. */
static int passes(struct jinja_run *run, const struct jinja_value *value, const struct jinja_args *args,
                  int at) {
    bool is = false;
    if (args->count <= at)
        return value_is_true(value);
    struct jinja_args rest = {.count = args->count - at - 1};
    memcpy(rest.values, args->values + at + 1, (size_t)rest.count * sizeof *rest.values);
    return jinja_test(run, copy_text(run, &args->values[at]), value, &rest, &is) != 0 ? -1 : is;
}

/* select_items - the four filters by their names: 's'elect or 'r'eject, with "attr" by an attribute. */
static int select_items(struct jinja_run *run, const char *filter, const struct jinja_value *list,
                        const struct jinja_args *args, struct jinja_value *result) {
    bool by_attribute = strstr(filter, "attr") != NULL, wanted = filter[0] == 's';
    int num_names = by_attribute ? 2 : 1;
    for (int i = 0; i < args->count; i++)
        if (args->keywords[i] || (i < num_names && args->values[i].kind != JINJA_STRING))
            return jinja_wrong(run, "the filter with such arguments", filter, list);
    if (by_attribute && args->count == 0)
        return jinja_wrong(run, "the filter with such arguments", filter, list);
    *result = value_list(run, list->count);
    result->kind = JINJA_STREAM;
    for (size_t i = 0; i < list->count; i++) {
        struct jinja_value value;
        if (attribute_of(run, &list->list[i], by_attribute ? &args->values[0] : NULL, &value) != 0)
            return -1;
        int is = passes(run, &value, args, by_attribute);
        if (is < 0 || jinja_count_step(run) != 0)
            return -1;
        if (is == wanted)
            result->list[result->count++] = list->list[i];
    }
    return 0;
}

/* mapped - one item of 'map': its attribute, or what a filter makes of it. */
static int mapped(struct jinja_run *run, const struct jinja_value *item, const struct jinja_args *args,
                  struct jinja_value *value) {
    static const struct jinja_signature by_name = {"map", 1, {"attribute", "default"}};
    const struct jinja_value *given[JINJA_MAX_PARAMS];
    if (!args->keywords[0]) {
        struct jinja_args rest = {.count = args->count - 1};
        struct jinja_value flat = *item;
        memcpy(rest.values, args->values + 1, (size_t)rest.count * sizeof *rest.values);
        memcpy(rest.keywords, args->keywords + 1, (size_t)rest.count * sizeof *rest.keywords);
        value_flatten(run, &flat);
        return run->filter(run, copy_text(run, &args->values[0]), &flat, &rest, value);
    }
    if (args_bind(run, &by_name, args, given) != 0 || attribute_of(run, item, given[0], value) != 0)
        return -1;
    if (value->kind == JINJA_UNDEFINED && given[1] && given[1]->kind != JINJA_NONE)
        *value = *given[1];
    return 0;
}

/* map_items - a filter that gave a STREAM would put a generator into the list, which only one reader could read:
 * refused. */
static int map_items(struct jinja_run *run, const char *filter, const struct jinja_value *list,
                     const struct jinja_args *args, struct jinja_value *result) {
    if (args->count == 0 || (!args->keywords[0] && args->values[0].kind != JINJA_STRING))
        return jinja_wrong(run, "the filter with such arguments", filter, list);
    *result = value_list(run, list->count);
    result->kind = JINJA_STREAM;
    for (size_t i = 0; i < list->count; i++) {
        struct jinja_value *value = &result->list[result->count++];
        if (mapped(run, &list->list[i], args, value) != 0 || jinja_count_step(run) != 0)
            return -1;
        if (value->kind == JINJA_STREAM)
            return jinja_wrong(run, "the filter that gives lists that are read once", filter, list);
    }
    return 0;
}

/* --- order --- */

/* By what items are compared. */
struct by {
    const struct jinja_value *attribute; /* NULL: the item itself */
    bool case_counts;
};

/* key_of - what items are compared by: texts in small letters where case does not count, which is Jinja2's
 * default. */
static int key_of(struct jinja_run *run, const struct by *by, const struct jinja_value *item,
                  struct jinja_value *key) {
    if (attribute_of(run, item, by->attribute, key) != 0)
        return -1;
    return key->kind == JINJA_STRING && !by->case_counts ? text_change_case(run, CASE_LOWER, key, key) : 0;
}

static struct by by_of(const struct jinja_value *attribute, const struct jinja_value *case_counts) {
    return (struct by){attribute, case_counts && value_is_true(case_counts)};
}

/* keys_of - of all items. */
static int keys_of(struct jinja_run *run, const struct by *by, const struct jinja_value *list,
                   struct jinja_value *keys) {
    *keys = value_list(run, list->count);
    for (size_t i = 0; i < list->count; i++)
        if (key_of(run, by, &list->list[i], &keys->list[keys->count++]) != 0)
            return -1;
    return 0;
}

/* sort_items - in place of list's copy; items of one key keep their order, in a reversed order, too, as Python's
 * sorted() promises.  Few, so by insertion; many are ended by the count of steps. */
static int sort_items(struct jinja_run *run, const struct by *by, const struct jinja_value *list,
                      bool is_reverse, struct jinja_value *result) {
    struct jinja_value keys;
    int order = 0;
    if (keys_of(run, by, list, &keys) != 0)
        return -1;
    *result = value_list(run, list->count);
    for (size_t i = 0; i < list->count; i++) {
        struct jinja_value key = keys.list[i];
        size_t to = i;
        if (i == 0 && list->count > 1 && value_order(run, "sort", &key, &keys.list[1], &order) != 0)
            return -1;
        for (; to > 0; to--) {
            if (jinja_count_step(run) != 0 || value_order(run, "sort", &key, &keys.list[to - 1], &order) != 0)
                return -1;
            if (is_reverse ? order <= 0 : order >= 0)
                break;
            keys.list[to] = keys.list[to - 1];
            result->list[to] = result->list[to - 1];
        }
        keys.list[to] = key;
        result->list[to] = list->list[i];
    }
    result->count = list->count;
    return 0;
}

static int filter_sort(struct jinja_run *run, const struct jinja_value *list,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    struct by by = by_of(given[2], given[1]);
    if (given[0] && !value_is_number(given[0]))
        return jinja_wrong(run, "the filter with such an order", "sort", given[0]);
    return sort_items(run, &by, list, given[0] && value_is_true(given[0]), result);
}

/* filter_unique - the first item of each key.  Keys other than texts, numbers and none are refused: Jinja2 keeps them
 * in a set, and lists have no hash. */
static int filter_unique(struct jinja_run *run, const struct jinja_value *list,
                         const struct jinja_value *const *given, struct jinja_value *result) {
    struct by by = by_of(given[1], given[0]);
    struct jinja_value keys, seen = value_list(run, list->count);
    if (keys_of(run, &by, list, &keys) != 0)
        return -1;
    *result = value_list(run, list->count);
    result->kind = JINJA_STREAM;
    for (size_t i = 0; i < list->count; i++) {
        bool is_new = true;
        if (keys.list[i].kind != JINJA_STRING && keys.list[i].kind != JINJA_NONE &&
            !value_is_number(&keys.list[i]))
            return jinja_wrong(run, "the filter with such items", "unique", &keys.list[i]);
        for (size_t k = 0; is_new && k < seen.count; k++)
            is_new = !value_equal(run, &seen.list[k], &keys.list[i]);
        if (jinja_count_step(run) != 0)
            return -1;
        if (is_new) {
            seen.list[seen.count++] = keys.list[i];
            result->list[result->count++] = list->list[i];
        }
    }
    return 0;
}

/* extreme - the first of the smallest, or of the largest. */
static int extreme(struct jinja_run *run, int sign, const struct jinja_value *list,
                   const struct jinja_value *const *given, struct jinja_value *result) {
    struct by by = by_of(given[1], given[0]);
    struct jinja_value keys;
    size_t best = 0;
    if (keys_of(run, &by, list, &keys) != 0)
        return -1;
    for (size_t i = 1; i < list->count; i++) {
        int order = 0;
        if (value_order(run, sign < 0 ? "min" : "max", &keys.list[i], &keys.list[best], &order) != 0)
            return -1;
        best = order * sign > 0 ? i : best;
    }
    *result = list->count > 0 ? list->list[best] : jinja_no_item();
    return 0;
}

static int filter_min(struct jinja_run *run, const struct jinja_value *list,
                      const struct jinja_value *const *given, struct jinja_value *result) {
    return extreme(run, -1, list, given, result);
}

static int filter_max(struct jinja_run *run, const struct jinja_value *list,
                      const struct jinja_value *const *given, struct jinja_value *result) {
    return extreme(run, 1, list, given, result);
}

/* filter_sum - of whole numbers; a sum of others depends on the order of its roundings and is refused. */
static int filter_sum(struct jinja_run *run, const struct jinja_value *list,
                      const struct jinja_value *const *given, struct jinja_value *result) {
    *result = given[1] ? *given[1] : value_int(0);
    for (size_t i = 0; i < list->count; i++) {
        struct jinja_value value;
        if (attribute_of(run, &list->list[i], given[0], &value) != 0)
            return -1;
        bool are_whole = value_is_number(&value) && value_is_number(result) && value.kind != JINJA_FLOAT &&
                         result->kind != JINJA_FLOAT;
        int64_t sum = 0;
        if (!are_whole || __builtin_add_overflow(value.number, result->number, &sum))
            return jinja_wrong(run, "the filter with such items", "sum", &value);
        *result = value_int(sum);
    }
    return 0;
}

int jinja_dict_sort(struct jinja_run *run, const struct jinja_value *dict,
                    const struct jinja_value *const *given, struct jinja_value *result) {
    bool by_value = given[1] && value_is_text(given[1], "value");
    struct jinja_value place = value_int(by_value);
    struct by by = by_of(&place, given[0]);
    if (given[1] && !by_value && !value_is_text(given[1], "key"))
        return err_set(run->err, "'dictsort' by anything but 'key' or 'value' is not supported");
    struct jinja_value pairs = value_pairs(run, dict->dict);
    return sort_items(run, &by, &pairs, given[2] && value_is_true(given[2]), result);
}

/* By parameters of their own; map, select and reject take whatever their filter or test takes. */
static const struct {
    struct jinja_signature signature;
    int (*run)(struct jinja_run *run, const struct jinja_value *list, const struct jinja_value *const *given,
               struct jinja_value *result);
} ORDERS[] = {
    {{"sort", 0, {"reverse", "case_sensitive", "attribute"}}, filter_sort},
    {{"unique", 0, {"case_sensitive", "attribute"}}, filter_unique},
    {{"min", 0, {"case_sensitive", "attribute"}}, filter_min},
    {{"max", 0, {"case_sensitive", "attribute"}}, filter_max},
    {{"sum", 0, {"attribute", "start"}}, filter_sum},
};

bool jinja_goes_through(const char *name) {
    static const char *const names[] = {"map",  "select", "reject", "selectattr", "rejectattr",
                                        "sort", "unique", "min",    "max",        "sum"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

int jinja_go_through(struct jinja_run *run, const char *name, const struct jinja_value *list,
                     const struct jinja_args *args, struct jinja_value *result) {
    const struct jinja_value *given[JINJA_MAX_PARAMS];
    if (strcmp(name, "map") == 0)
        return map_items(run, name, list, args, result);
    for (size_t i = 0; i < sizeof ORDERS / sizeof ORDERS[0]; i++)
        if (strcmp(name, ORDERS[i].signature.name) == 0)
            return args_bind(run, &ORDERS[i].signature, args, given) != 0
                       ? -1
                       : ORDERS[i].run(run, list, given, result);
    return select_items(run, name, list, args, result);
}
