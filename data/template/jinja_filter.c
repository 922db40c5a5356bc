/* jinja_filter.c - what stands after '|'.  See jinja_parts.h.  Source: Jinja2, "List of Builtin Filters". */
#include "data/template/jinja_parts.h"

/* attribute_name - a field that selectattr looks at; a path of several is refused. */
static const char *attribute_name(struct jinja_run *run, const struct jinja_value *attribute) {
    char *name = pool_take(&run->pool, attribute->count + 1);
    memcpy(name, attribute->bytes, attribute->count);
    bool is_path = memchr(name, '.', attribute->count) || memchr(name, '\0', attribute->count);
    bool is_index = attribute->count > 0 && strspn(name, "0123456789") == attribute->count;
    return is_path || is_index ? NULL : name;
}

/* is_selected - whether an item's attribute passes the test, or is true without one: 1 or 0, or -1 with err. */
static int is_selected(struct jinja_run *run, const struct jinja_value *item, const char *name,
                       const struct jinja_args *args) {
    struct jinja_value value = {.kind = JINJA_UNDEFINED, .bytes = name};
    if (item->kind != JINJA_DICT)
        return err_set(run->err, "a field of %s is not supported", value_kind_name(item));
    const struct jinja_value *found = dict_find(item->dict, name);
    if (!found && jinja_has_method(item, name))
        return err_set(run->err, "the method '%.40s' as a value is not supported", name);
    value = found ? *found : value;
    if (args->count < 2)
        return value_is_true(&value);
    char *test = pool_take(&run->pool, args->values[1].count + 1);
    memcpy(test, args->values[1].bytes, args->values[1].count);
    struct jinja_args rest = {.count = args->count - 2};
    memcpy(rest.values, args->values + 2, (size_t)rest.count * sizeof *rest.values);
    bool passes = false;
    return jinja_test(run, test, &value, &rest, &passes) != 0 ? -1 : passes;
}

/* select_items - selectattr, rejectattr: items whose attribute passes a test, or is true without one. */
static int select_items(struct jinja_run *run, const struct jinja_value *list, const struct jinja_args *args,
                        bool wanted, struct jinja_value *result) {
    const char *filter = wanted ? "selectattr" : "rejectattr";
    for (int i = 0; i < args->count; i++)
        if (args->keywords[i] || (i < 2 && args->values[i].kind != JINJA_STRING))
            return jinja_wrong(run, "the filter with such arguments", filter, list);
    const char *name = args->count > 0 ? attribute_name(run, &args->values[0]) : NULL;
    if (!name)
        return jinja_wrong(run, "the filter with such arguments", filter, list);
    *result = value_list(run, list->count);
    result->kind = JINJA_STREAM;
    for (size_t i = 0; i < list->count; i++) {
        int is = is_selected(run, &list->list[i], name, args);
        if (is < 0)
            return -1;
        if (is == wanted)
            result->list[result->count++] = list->list[i];
    }
    return 0;
}

/* --- the others, by their parameters --- */

static int filter_default(struct jinja_run *run, const struct jinja_value *value,
                          const struct jinja_value *const *given, struct jinja_value *result) {
    (void)run;
    bool is_missing =
        value->kind == JINJA_UNDEFINED || (given[1] && value_is_true(given[1]) && !value_is_true(value));
    *result = !is_missing ? *value : given[0] ? *given[0] : value_string("");
    return 0;
}

static int filter_string(struct jinja_run *run, const struct jinja_value *value,
                         const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    return value_to_string(run, value, result);
}

static int filter_length(struct jinja_run *run, const struct jinja_value *value,
                         const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    if (value->kind != JINJA_STRING && value->kind != JINJA_LIST)
        return jinja_wrong(run, "the filter", "length", value);
    *result = value_int(value->kind == JINJA_STRING ? text_num_characters(value) : (int64_t)value->count);
    return 0;
}

static bool is_items(const struct jinja_value *value) {
    return value->kind == JINJA_LIST || value->kind == JINJA_STREAM;
}

static int filter_list(struct jinja_run *run, const struct jinja_value *value,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    if (!is_items(value))
        return jinja_wrong(run, "the filter", "list", value);
    *result = *value;
    result->kind = JINJA_LIST;
    result->sequence = SEQUENCE_LIST;
    return 0;
}

static const struct jinja_value NO_ITEM = {.kind = JINJA_UNDEFINED, .bytes = "an item of an empty list"};

static int filter_first(struct jinja_run *run, const struct jinja_value *value,
                        const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    if (!is_items(value))
        return jinja_wrong(run, "the filter", "first", value);
    *result = value->count == 0 ? NO_ITEM : value->list[0];
    return 0;
}

static int filter_last(struct jinja_run *run, const struct jinja_value *value,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    if (value->kind != JINJA_LIST)
        return jinja_wrong(run, "the filter", "last", value);
    *result = value->count == 0 ? NO_ITEM : value->list[value->count - 1];
    return 0;
}

static int filter_join(struct jinja_run *run, const struct jinja_value *value,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    struct jinja_value between = value_string(""), text;
    if (!is_items(value))
        return jinja_wrong(run, "the filter", "join", value);
    if (given[0] && value_to_string(run, given[0], &between) != 0)
        return -1;
    *result = value_string("");
    for (size_t i = 0; i < value->count; i++) {
        if (value_to_string(run, &value->list[i], &text) != 0 || jinja_count_step(run) != 0)
            return -1;
        if (result->count + between.count + text.count > run->max_bytes)
            return err_set(run->err, "the template takes too much memory");
        if (i > 0)
            *result = value_join(run, result, &between);
        *result = value_join(run, result, &text);
    }
    return 0;
}

static int filter_trim(struct jinja_run *run, const struct jinja_value *value,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    if (value->kind != JINJA_STRING || (given[0] && given[0]->kind != JINJA_STRING))
        return jinja_wrong(run, "the filter", "trim", value->kind != JINJA_STRING ? value : given[0]);
    *result = value_strip(value, given[0], true, true);
    return 0;
}

static int filter_replace(struct jinja_run *run, const struct jinja_value *value,
                          const struct jinja_value *const *given, struct jinja_value *result) {
    const struct jinja_value *texts[] = {value, given[0], given[1]};
    for (int i = 0; i < 3; i++)
        if (texts[i]->kind != JINJA_STRING)
            return jinja_wrong(run, "the filter", "replace", texts[i]);
    return text_replace(run, value, given[0], given[1], result);
}

static int filter_items(struct jinja_run *run, const struct jinja_value *value,
                        const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    if (value->kind != JINJA_DICT || !value->dict->has_order)
        return jinja_wrong(run, "the filter", "items", value);
    *result = value_pairs(run, value->dict);
    result->kind = JINJA_STREAM;
    return 0;
}

static int filter_tojson(struct jinja_run *run, const struct jinja_value *value,
                         const struct jinja_value *const *given, struct jinja_value *result) {
    if (given[0] && (given[0]->kind != JINJA_BOOL || given[0]->number != 0))
        return err_set(run->err, "'tojson' with 'ensure_ascii' is not supported");
    return jinja_to_json(run, value, given[1], result);
}

#define CASE_FILTER(function, name, wanted)                                                                  \
    static int function(struct jinja_run *run, const struct jinja_value *value,                              \
                        const struct jinja_value *const *given, struct jinja_value *result) {                \
        (void)given;                                                                                         \
        return value->kind == JINJA_STRING ? text_change_case(run, wanted, value, result)                    \
                                           : jinja_wrong(run, "the filter", name, value);                    \
    }
CASE_FILTER(filter_upper, "upper", CASE_UPPER)
CASE_FILTER(filter_lower, "lower", CASE_LOWER)
CASE_FILTER(filter_capitalize, "capitalize", CASE_CAPITALIZE)
CASE_FILTER(filter_title, "title", CASE_TITLE_FILTER)

static const struct {
    struct jinja_signature signature;
    int (*run)(struct jinja_run *run, const struct jinja_value *value, const struct jinja_value *const *given,
               struct jinja_value *result);
} FILTERS[] = {
    {{"default", 0, {"default_value", "boolean"}}, filter_default},
    {{"d", 0, {"default_value", "boolean"}}, filter_default},
    {{"string", 0, {NULL}}, filter_string},
    {{"length", 0, {NULL}}, filter_length},
    {{"count", 0, {NULL}}, filter_length},
    {{"list", 0, {NULL}}, filter_list},
    {{"first", 0, {NULL}}, filter_first},
    {{"last", 0, {NULL}}, filter_last},
    {{"join", 0, {"d"}}, filter_join},
    {{"items", 0, {NULL}}, filter_items},
    {{"tojson", 0, {"ensure_ascii", "indent"}}, filter_tojson}, /* as transformers has it */
    {{"trim", 0, {"chars"}}, filter_trim},
    {{"replace", 2, {"old", "new"}}, filter_replace},
    {{"upper", 0, {NULL}}, filter_upper},
    {{"lower", 0, {NULL}}, filter_lower},
    {{"capitalize", 0, {NULL}}, filter_capitalize},
    {{"title", 0, {NULL}}, filter_title},
};

int jinja_filter(struct jinja_run *run, const char *name, const struct jinja_value *value,
                 const struct jinja_args *args, struct jinja_value *result) {
    const struct jinja_value *given[JINJA_MAX_PARAMS];
    if (strcmp(name, "selectattr") == 0 || strcmp(name, "rejectattr") == 0)
        return is_items(value) ? select_items(run, value, args, name[0] == 's', result)
                               : jinja_wrong(run, "the filter", name, value);
    for (size_t i = 0; i < sizeof FILTERS / sizeof FILTERS[0]; i++)
        if (strcmp(name, FILTERS[i].signature.name) == 0)
            return args_bind(run, &FILTERS[i].signature, args, given) != 0
                       ? -1
                       : FILTERS[i].run(run, value, given, result);
    return jinja_wrong(run, "the filter", name, value);
}
