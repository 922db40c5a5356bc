/* jinja_method.c - what is called after a point: 'text.strip()'.  See jinja_parts.h.  Source: the Python
 * Standard Library, "Text Sequence Type" and "Mapping Types". */
#include "data/template/jinja_parts.h"

/* dict_get - of messages and the like. */
static int dict_get(struct jinja_run *run, const struct jinja_value *object, const struct jinja_args *args,
                    struct jinja_value *result) {
    static const struct jinja_signature get = {"get", 1, {"", ""}};
    const struct jinja_value *given[JINJA_MAX_PARAMS], none = {.kind = JINJA_NONE};
    if (args_bind(run, &get, args, given) != 0)
        return -1;
    if (given[0]->kind != JINJA_STRING)
        return err_set(run->err, "'get' of a key that is %s is not supported", value_kind_name(given[0]));
    const struct jinja_value *found = dict_find_text(object->dict, given[0]);
    *result = found ? *found : given[1] ? *given[1] : none;
    return 0;
}

static int strip(struct jinja_run *run, const char *name, const struct jinja_value *object,
                 const struct jinja_value *set, struct jinja_value *result) {
    if (set && set->kind != JINJA_STRING)
        return jinja_wrong(run, "the method with this argument", name, object);
    *result = value_strip(object, set, name[0] != 'r', name[0] != 'l');
    return 0;
}

static bool starts_with(const struct jinja_value *text, const struct jinja_value *part) {
    return text->count >= part->count && memcmp(text->bytes, part->bytes, part->count) == 0;
}

static bool ends_with(const struct jinja_value *text, const struct jinja_value *part) {
    return text->count >= part->count &&
           memcmp(text->bytes + (text->count - part->count), part->bytes, part->count) == 0;
}

enum method { STRIP, SPLIT, STARTS, ENDS, REPLACE, UPPER, LOWER, CAPITALIZE, TITLE };
static const struct {
    struct jinja_signature signature;
    enum method method;
} METHODS[] = {
    {{"strip", 0, {""}}, STRIP},         {{"lstrip", 0, {""}}, STRIP},
    {{"rstrip", 0, {""}}, STRIP},        {{"split", 1, {"sep"}}, SPLIT},
    {{"startswith", 1, {""}}, STARTS},   {{"endswith", 1, {""}}, ENDS},
    {{"replace", 2, {"", ""}}, REPLACE}, {{"upper", 0, {NULL}}, UPPER},
    {{"lower", 0, {NULL}}, LOWER},       {{"capitalize", 0, {NULL}}, CAPITALIZE},
    {{"title", 0, {NULL}}, TITLE},
};

/* call - a method of a string; given: strings where the method has parameters. */
static int call(struct jinja_run *run, enum method method, const struct jinja_value *text,
                const struct jinja_value *const *given, struct jinja_value *result) {
    switch (method) {
    case SPLIT:
        return text_split(run, text, given[0], result);
    case STARTS:
        *result = value_bool(starts_with(text, given[0]));
        return 0;
    case ENDS:
        *result = value_bool(ends_with(text, given[0]));
        return 0;
    case REPLACE:
        return text_replace(run, text, given[0], given[1], result);
    case UPPER:
        return text_change_case(run, CASE_UPPER, text, result);
    case LOWER:
        return text_change_case(run, CASE_LOWER, text, result);
    case CAPITALIZE:
        return text_change_case(run, CASE_CAPITALIZE, text, result);
    case TITLE:
        return text_change_case(run, CASE_TITLE_METHOD, text, result);
    case STRIP:
        break;
    }
    die("method %d of a string", (int)method);
}

int jinja_method(struct jinja_run *run, const struct jinja_value *object, const char *name,
                 const struct jinja_args *args, struct jinja_value *result) {
    const struct jinja_value *given[JINJA_MAX_PARAMS];
    if (object->kind == JINJA_DICT && strcmp(name, "get") == 0)
        return dict_get(run, object, args, result);
    if (object->kind == JINJA_DICT && object->dict->has_order && args->count == 0 &&
        (strcmp(name, "items") == 0 || strcmp(name, "keys") == 0)) {
        *result = name[0] == 'i' ? value_pairs(run, object->dict) : value_names(run, object->dict);
        result->kind = JINJA_STREAM; /* Python's views are not lists */
        return 0;
    }
    size_t i = 0, count = sizeof METHODS / sizeof METHODS[0];
    while (i < count && strcmp(name, METHODS[i].signature.name) != 0)
        i++;
    if (object->kind != JINJA_STRING || i == count)
        return jinja_wrong(run, "the method", name, object);
    if (args_bind(run, &METHODS[i].signature, args, given) != 0)
        return -1;
    if (METHODS[i].method == STRIP)
        return strip(run, name, object, given[0], result);
    for (int a = 0; a < METHODS[i].signature.min; a++)
        if (given[a]->kind != JINJA_STRING)
            return jinja_wrong(run, "the method with such an argument", name, object);
    return call(run, METHODS[i].method, object, given, result);
}
