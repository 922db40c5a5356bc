/* jinja_filter.c - what stands after '|'.  See jinja_parts.h.  Source: Jinja2, "List of Builtin Filters". */
#include "data/template/jinja_parts.h"

/* A filter: value is what stands before the '|', flat (no rope); given are its arguments by the places of its
 * signature in FILTERS, NULL for one that was left out.  Returns 0, or -1 with run->err set.  All have this type,
 * for the table's sake. */

/* filter_default - its second argument makes it stand in for everything that counts as false, too. */
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

/* filter_safe - the mark changes what '+' does later, so it cannot be left out although nothing is escaped here. */
static int filter_safe(struct jinja_run *run, const struct jinja_value *value,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    if (value_to_string(run, value, result) != 0)
        return -1;
    value_flatten(run, result);
    result->is_safe = true;
    return 0;
}

/* filter_length - in characters, not bytes; Jinja2's Undefined has the length 0. */
static int filter_length(struct jinja_run *run, const struct jinja_value *value,
                         const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    if (value->kind == JINJA_DICT) {
        *result = value_int((int64_t)value_names(run, value->dict).count);
        return 0;
    }
    bool is_empty = value->kind == JINJA_UNDEFINED;
    if (value->kind != JINJA_STRING && value->kind != JINJA_LIST && !is_empty)
        return jinja_wrong(run, "the filter", "length", value);
    *result = value_int(is_empty                      ? 0
                        : value->kind == JINJA_STRING ? text_num_characters(value)
                                                      : (int64_t)value->count);
    return 0;
}

/* --- lists --- */

/* filter_list - the one way to keep a STREAM: read once into a list. */
static int filter_list(struct jinja_run *run, const struct jinja_value *value,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    int status = jinja_items(run, "list", value, result);
    result->kind = JINJA_LIST;
    result->sequence = SEQUENCE_LIST;
    return status;
}

static int filter_first(struct jinja_run *run, const struct jinja_value *value,
                        const struct jinja_value *const *given, struct jinja_value *result) {
    struct jinja_value list;
    (void)given;
    int status = jinja_items(run, "first", value, &list);
    *result = status != 0 || list.count == 0 ? jinja_no_item() : list.list[0];
    return status;
}

static int filter_last(struct jinja_run *run, const struct jinja_value *value,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    struct jinja_value list;
    (void)given;
    if (value->kind == JINJA_STREAM) /* cannot be read from its end, but for a dictionary's */
        return jinja_wrong(run, "the filter", "last", value);
    int status = jinja_items(run, "last", value, &list);
    *result = status != 0 || list.count == 0 ? jinja_no_item() : list.list[list.count - 1];
    return status;
}

/* filter_reverse - of a text a text, of all else Python's reversed(), which is read once. */
static int filter_reverse(struct jinja_run *run, const struct jinja_value *value,
                          const struct jinja_value *const *given, struct jinja_value *result) {
    struct jinja_value list, text = value_string("");
    (void)given;
    if (value->kind == JINJA_STREAM || jinja_items(run, "reverse", value, &list) != 0)
        return jinja_wrong(run, "the filter", "reverse", value);
    *result = value_list(run, list.count);
    result->kind = JINJA_STREAM;
    for (size_t i = list.count; i-- > 0;)
        result->list[result->count++] = list.list[i];
    if (value->kind != JINJA_STRING)
        return 0;
    for (size_t i = 0; i < result->count; i++) {
        text = value_join(run, &text, &result->list[i]);
        if (jinja_count_step(run) != 0)
            return -1;
    }
    *result = text;
    return 0;
}

/* filter_join - the pieces stay a rope, so that joining a long conversation copies none of it; the bound on memory
 * is therefore asked for the length that it would have. */
static int filter_join(struct jinja_run *run, const struct jinja_value *value,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    struct jinja_value between = value_string(""), text, list;
    if (given[0] && value_to_string(run, given[0], &between) != 0)
        return -1;
    if (jinja_items(run, "join", value, &list) != 0)
        return -1;
    if (given[1] && given[1]->kind != JINJA_NONE) {
        struct jinja_args args = {.values = {*given[1]}, .keywords = {"attribute"}, .count = 1};
        struct jinja_value whole = list;
        if (jinja_go_through(run, "map", &whole, &args, &list) != 0)
            return -1;
    }
    *result = value_string("");
    for (size_t i = 0; i < list.count; i++) {
        if (value_to_string(run, &list.list[i], &text) != 0 || jinja_count_step(run) != 0)
            return -1;
        if (result->count + between.count + text.count > run->max_bytes)
            return err_set(run->err, "the template takes too much memory");
        if (i > 0)
            *result = value_join(run, result, &between);
        *result = value_join(run, result, &text);
    }
    return 0;
}

/* filter_items - (name, value) pairs, from a generator in Jinja2: read once.  Undefined gives none of them, not an
 * error as a loop over 'x.items()' would. */
static int filter_items(struct jinja_run *run, const struct jinja_value *value,
                        const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    *result = value_list(run, 0);
    if (value->kind == JINJA_DICT && value->dict->has_order)
        *result = value_pairs(run, value->dict);
    else if (value->kind != JINJA_UNDEFINED)
        return jinja_wrong(run, "the filter", "items", value);
    result->kind = JINJA_STREAM;
    return 0;
}

static int filter_dictsort(struct jinja_run *run, const struct jinja_value *value,
                           const struct jinja_value *const *given, struct jinja_value *result) {
    return value->kind == JINJA_DICT ? jinja_dict_sort(run, value, given, result)
                                     : jinja_wrong(run, "the filter", "dictsort", value);
}

/* --- texts; what is not one becomes one first --- */

/* filter_trim - with a set of characters each place costs a walk through the set, which is counted. */
static int filter_trim(struct jinja_run *run, const struct jinja_value *value,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    struct jinja_value text;
    const struct jinja_value *set = given[0] && given[0]->kind != JINJA_NONE ? given[0] : NULL;
    if (set && set->kind != JINJA_STRING)
        return jinja_wrong(run, "the filter with these characters", "trim", set);
    if (value_to_string(run, value, &text) != 0)
        return -1;
    value_flatten(run, &text);
    jinja_count_bytes(run, set ? JINJA_PLACE_BYTES * text.count : 0);
    *result = value_strip(&text, set, true, true);
    return 0;
}

/* filter_replace - Jinja2 turns all three into texts first, so that numbers are replaced as they are printed. */
static int filter_replace(struct jinja_run *run, const struct jinja_value *value,
                          const struct jinja_value *const *given, struct jinja_value *result) {
    struct jinja_value texts[3];
    const struct jinja_value *from[] = {value, given[0], given[1]};
    if (given[2] && given[2]->kind != JINJA_INT && given[2]->kind != JINJA_NONE)
        return jinja_wrong(run, "the filter with this count", "replace", given[2]);
    for (int i = 0; i < 3; i++) {
        if (value_to_string(run, from[i], &texts[i]) != 0)
            return -1;
        value_flatten(run, &texts[i]);
    }
    return text_replace(run, &texts[0], &texts[1], &texts[2],
                        given[2] && given[2]->kind == JINJA_INT ? given[2]->number : -1, result);
}

/* filter_indent - blanks, or a text, before each line but the first and those that are empty; with 'first' and
 * 'blank' before those, too. */
static int filter_indent(struct jinja_run *run, const struct jinja_value *value,
                         const struct jinja_value *const *given, struct jinja_value *result) {
    struct jinja_value lines, blanks = value_string("    "), text = *value, newline = value_string("\n");
    bool first = given[1] && value_is_true(given[1]), blank = given[2] && value_is_true(given[2]);
    enum { WIDEST = 1000 };
    if (given[0] && given[0]->kind == JINJA_STRING) {
        blanks = *given[0];
    } else if (given[0]) {
        if (given[0]->kind != JINJA_INT || given[0]->number > WIDEST)
            return jinja_wrong(run, "the filter with this width", "indent", given[0]);
        size_t width = given[0]->number < 0 ? 0 : (size_t)given[0]->number;
        char *spaces = pool_take(&run->pool, width + 1);
        memset(spaces, ' ', width);
        blanks = value_string(spaces);
    }
    if (value->kind != JINJA_STRING)
        return jinja_wrong(run, "the filter", "indent", value);
    text = value_join(run, &text, &newline); /* so that a newline at the end stays */
    value_flatten(run, &text);
    if (text_lines(run, &text, false, &lines) != 0)
        return -1;
    *result = first ? blanks : value_string("");
    for (size_t i = 0; i < lines.count; i++) {
        if (jinja_count_step(run) != 0 || result->count > run->max_bytes)
            return err_set(run->err, "the template takes too much memory");
        if (i > 0)
            *result = value_join(run, result, &newline);
        if (i > 0 && (blank || lines.list[i].count > 0))
            *result = value_join(run, result, &blanks);
        *result = value_join(run, result, &lines.list[i]);
    }
    return 0;
}

static int filter_tojson(struct jinja_run *run, const struct jinja_value *value,
                         const struct jinja_value *const *given, struct jinja_value *result) {
    return jinja_to_json(run, value, given, result);
}

/* The four filters of letter case, which differ in one word. */
#define CASE_FILTER(function, wanted)                                                                        \
    static int function(struct jinja_run *run, const struct jinja_value *value,                              \
                        const struct jinja_value *const *given, struct jinja_value *result) {                \
        struct jinja_value text;                                                                             \
        (void)given;                                                                                         \
        if (value_to_string(run, value, &text) != 0)                                                         \
            return -1;                                                                                       \
        value_flatten(run, &text);                                                                           \
        return text_change_case(run, wanted, &text, result);                                                 \
    }
CASE_FILTER(filter_upper, CASE_UPPER)
CASE_FILTER(filter_lower, CASE_LOWER)
CASE_FILTER(filter_capitalize, CASE_CAPITALIZE)
CASE_FILTER(filter_title, CASE_TITLE_FILTER)

/* Names and parameters as in Jinja2, with how many must be given.  Filters that are not here are refused by name. */
static const struct {
    struct jinja_signature signature;
    int (*run)(struct jinja_run *run, const struct jinja_value *value, const struct jinja_value *const *given,
               struct jinja_value *result);
} FILTERS[] = {
    {{"default", 0, {"default_value", "boolean"}}, filter_default},
    {{"d", 0, {"default_value", "boolean"}}, filter_default},
    {{"string", 0, {NULL}}, filter_string},
    {{"safe", 0, {NULL}}, filter_safe},
    {{"length", 0, {NULL}}, filter_length},
    {{"count", 0, {NULL}}, filter_length},
    {{"list", 0, {NULL}}, filter_list},
    {{"first", 0, {NULL}}, filter_first},
    {{"last", 0, {NULL}}, filter_last},
    {{"reverse", 0, {NULL}}, filter_reverse},
    {{"join", 0, {"d", "attribute"}}, filter_join},
    {{"items", 0, {NULL}}, filter_items},
    {{"dictsort", 0, {"case_sensitive", "by", "reverse"}}, filter_dictsort},
    {{"tojson", 0, {"ensure_ascii", "indent", "separators", "sort_keys"}},
     filter_tojson}, /* of transformers */
    {{"trim", 0, {"chars"}}, filter_trim},
    {{"replace", 2, {"old", "new", "count"}}, filter_replace},
    {{"indent", 0, {"width", "first", "blank"}}, filter_indent},
    {{"upper", 0, {NULL}}, filter_upper},
    {{"lower", 0, {NULL}}, filter_lower},
    {{"capitalize", 0, {NULL}}, filter_capitalize},
    {{"title", 0, {NULL}}, filter_title},
    {{"int", 0, {"default", "base"}}, jinja_to_int},
    {{"float", 0, {"default"}}, jinja_to_float},
    {{"abs", 0, {NULL}}, jinja_abs},
    {{"round", 0, {"precision", "method"}}, jinja_round},
};

/* keeps_safe - filters that leave a text as it is, or only look at it.  The others run Python's Markup methods there,
 * which write their arguments for HTML: not done here, so refused. */
static bool keeps_safe(const char *name) {
    return strcmp(name, "safe") == 0 || strcmp(name, "string") == 0 || strcmp(name, "default") == 0 ||
           strcmp(name, "length") == 0 || strcmp(name, "tojson") == 0;
}

/* skips_nothing - filters that take whatever counts as false for an empty list: Jinja2 begins them with 'if value:',
 * so that even none or 0, which no other filter could go through, gives nothing rather than an error. */
static bool skips_nothing(const char *name) {
    return strcmp(name, "map") == 0 || strncmp(name, "select", 6) == 0 || strncmp(name, "reject", 6) == 0;
}

/* The bytes of a text are counted once here for whatever the filter does with them; filters that walk through it
 * more than once count the rest themselves. */
int jinja_filter(struct jinja_run *run, const char *name, const struct jinja_value *value,
                 const struct jinja_args *args, struct jinja_value *result) {
    const struct jinja_value *given[JINJA_MAX_PARAMS];
    struct jinja_value list;
    if (value->kind == JINJA_STRING)
        jinja_count_bytes(run, value->count);
    if (value->is_safe && !keeps_safe(name))
        return err_set(run->err, "the filter '%.40s' of a text marked 'safe' is not supported", name);
    if (skips_nothing(name) && !value_is_true(value)) {
        list = value_list(run, 0);
        return jinja_go_through(run, name, &list, args, result);
    }
    if (jinja_goes_through(name))
        return jinja_items(run, name, value, &list) != 0 ? -1
                                                         : jinja_go_through(run, name, &list, args, result);
    for (size_t i = 0; i < sizeof FILTERS / sizeof FILTERS[0]; i++)
        if (strcmp(name, FILTERS[i].signature.name) == 0)
            return args_bind(run, &FILTERS[i].signature, args, given) != 0
                       ? -1
                       : FILTERS[i].run(run, value, given, result);
    return jinja_wrong(run, "the filter", name, value);
}
