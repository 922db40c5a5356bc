/* jinja_names.c - the filters, tests, methods and functions that chat templates use.  What is not here is
 * refused by its name.  See jinja_parts.h. */
#include "data/template/jinja_parts.h"

static int wrong(struct jinja_run *run, const char *what, const char *name, const struct jinja_value *value) {
    return err_set(run->err, "%s '%.40s' of %s%s%.60s is not supported", what, name, value_kind_name(value),
                   value->kind == JINJA_UNDEFINED && value->bytes ? " " : "",
                   value->kind == JINJA_UNDEFINED && value->bytes ? value->bytes : "");
}

/* argument - the i-th positional one or the one of this keyword, or NULL. */
static const struct jinja_value *argument(const struct jinja_args *args, int i, const char *keyword) {
    for (int k = 0; k < args->count; k++)
        if (args->keywords[k] ? strcmp(args->keywords[k], keyword) == 0 : k == i)
            return &args->values[k];
    return NULL;
}

static const struct jinja_value *text_argument(const struct jinja_args *args, int i) {
    const struct jinja_value *value = argument(args, i, "");
    return value && value->kind == JINJA_STRING ? value : NULL;
}

/* text_at - where part is found in text at or after from, or -1. */
static int64_t text_at(const struct jinja_value *text, const struct jinja_value *part, size_t from) {
    if (part->count == 0)
        return (int64_t)from;
    const char *found =
        from < text->count ? memmem(text->bytes + from, text->count - from, part->bytes, part->count) : NULL;
    return found ? found - text->bytes : -1;
}

/* --- tests --- */

int jinja_test(struct jinja_run *run, const char *name, const struct jinja_value *value,
               const struct jinja_args *args, bool *result) {
    static const struct {
        const char *name;
        unsigned kinds; /* 1 << kind of the values for which it holds */
    } kinds[] = {
        {"defined", ~(1u << JINJA_UNDEFINED)},
        {"undefined", 1u << JINJA_UNDEFINED},
        {"none", 1u << JINJA_NONE},
        {"string", 1u << JINJA_STRING},
        {"boolean", 1u << JINJA_BOOL},
        {"number", 1u << JINJA_INT | 1u << JINJA_BOOL},
        {"integer", 1u << JINJA_INT},
        {"mapping", 1u << JINJA_DICT},
        {"sequence", 1u << JINJA_STRING | 1u << JINJA_LIST | 1u << JINJA_DICT | 1u << JINJA_UNDEFINED},
        {"iterable", 1u << JINJA_STRING | 1u << JINJA_LIST | 1u << JINJA_DICT | 1u << JINJA_UNDEFINED},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(name, kinds[i].name) == 0) {
            *result = kinds[i].kinds >> value->kind & 1;
            return 0;
        }
    const struct jinja_value *other = argument(args, 0, "");
    if (other && (strcmp(name, "equalto") == 0 || strcmp(name, "eq") == 0 || strcmp(name, "==") == 0)) {
        *result = value_equal(value, other);
        return 0;
    }
    if (other && (strcmp(name, "ne") == 0 || strcmp(name, "!=") == 0)) {
        *result = !value_equal(value, other);
        return 0;
    }
    if (other && other->kind == JINJA_LIST && strcmp(name, "in") == 0) {
        *result = false;
        for (size_t i = 0; i < other->count; i++)
            *result = *result || value_equal(value, &other->list[i]);
        return 0;
    }
    if (strcmp(name, "true") == 0 || strcmp(name, "false") == 0) {
        *result = value->kind == JINJA_BOOL && value->number == (name[0] == 't');
        return 0;
    }
    if (value->kind == JINJA_INT && (strcmp(name, "odd") == 0 || strcmp(name, "even") == 0)) {
        *result = (value->number & 1) == (name[0] == 'o');
        return 0;
    }
    return wrong(run, "the test", name, value);
}

/* --- filters --- */

/* select_items - selectattr, rejectattr: items whose attribute passes a test, or is true without one. */
static int select_items(struct jinja_run *run, const struct jinja_value *list, const struct jinja_args *args,
                        bool wanted, struct jinja_value *result) {
    const struct jinja_value *attribute = text_argument(args, 0), *test = text_argument(args, 1);
    if (list->kind != JINJA_LIST || !attribute || (args->count > 1 && !test))
        return wrong(run, "the filter", wanted ? "selectattr" : "rejectattr", list);
    char *name = pool_take(&run->pool, attribute->count + 1), *test_name = NULL;
    memcpy(name, attribute->bytes, attribute->count);
    if (test) {
        test_name = pool_take(&run->pool, test->count + 1);
        memcpy(test_name, test->bytes, test->count);
    }
    *result = value_list(run, list->count);
    for (size_t i = 0; i < list->count; i++) {
        const struct jinja_value *item = &list->list[i], missing = {.kind = JINJA_UNDEFINED, .bytes = name};
        const struct jinja_value *value = item->kind == JINJA_DICT ? dict_find(item->dict, name) : NULL;
        bool passes = value_is_true(value ? value : &missing);
        struct jinja_args rest = {.values = {args->values[2]}, .count = args->count - 2};
        if (test_name && jinja_test(run, test_name, value ? value : &missing, &rest, &passes) != 0)
            return -1;
        if (passes == wanted)
            result->list[result->count++] = *item;
    }
    return 0;
}

/* is_ascii - upper and lower case are only known for these. */
static bool is_ascii(const struct jinja_value *text) {
    for (size_t i = 0; i < text->count; i++)
        if ((unsigned char)text->bytes[i] >= 0x80)
            return false;
    return true;
}

/* change_case - upper, lower, capitalize, title. */
static int change_case(struct jinja_run *run, const char *name, const struct jinja_value *text,
                       struct jinja_value *result) {
    if (!is_ascii(text))
        return err_set(run->err, "'%.40s' of text beyond ASCII is not supported", name);
    char *bytes = pool_take(&run->pool, text->count + 1);
    bool up = strcmp(name, "upper") == 0,
         starts = strcmp(name, "capitalize") == 0 || strcmp(name, "title") == 0;
    bool at_start = true;
    for (size_t i = 0; i < text->count; i++) {
        char c = text->bytes[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool raise = up || (starts && at_start);
        if (is_letter)
            c = (char)(raise ? c & ~0x20 : c | 0x20);
        bytes[i] = c;
        at_start = strcmp(name, "title") == 0 ? !is_letter : false;
    }
    *result = *text;
    result->bytes = bytes;
    return 0;
}

/* replace_text - every occurrence. */
static int replace_text(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *old,
                        const struct jinja_value *with, struct jinja_value *result) {
    if (old->count == 0)
        return err_set(run->err, "'replace' of an empty text is not supported");
    struct jinja_value done = value_part(text, 0, 0);
    size_t from = 0;
    for (int64_t at; (at = text_at(text, old, from)) >= 0; from = (size_t)at + old->count) {
        struct jinja_value gap = value_part(text, from, (size_t)at);
        done = value_join(run, &done, &gap);
        done = value_join(run, &done, with);
    }
    struct jinja_value rest = value_part(text, from, text->count);
    *result = value_join(run, &done, &rest);
    return 0;
}

static int join_items(struct jinja_run *run, const struct jinja_value *list, const struct jinja_args *args,
                      struct jinja_value *result) {
    const struct jinja_value *between = text_argument(args, 0), empty = value_string("");
    *result = empty;
    for (size_t i = 0; i < list->count; i++) {
        struct jinja_value text;
        if (value_to_string(run, &list->list[i], &text) != 0)
            return -1;
        if (i > 0)
            *result = value_join(run, result, between ? between : &empty);
        *result = value_join(run, result, &text);
    }
    return 0;
}

static int64_t num_characters(const struct jinja_value *text) {
    int64_t count = 0;
    for (size_t i = 0; i < text->count; i++)
        count += ((unsigned char)text->bytes[i] & 0xC0) != 0x80;
    return count;
}

/* filter_list - what works on lists. */
static int filter_list(struct jinja_run *run, const char *name, const struct jinja_value *value,
                       const struct jinja_args *args, struct jinja_value *result) {
    static const struct jinja_value missing = {.kind = JINJA_UNDEFINED, .bytes = "an item of an empty list"};
    if (strcmp(name, "list") == 0) {
        *result = *value;
        return 0;
    }
    if (strcmp(name, "first") == 0 || strcmp(name, "last") == 0) {
        *result = value->count == 0 ? missing : value->list[name[0] == 'f' ? 0 : value->count - 1];
        return 0;
    }
    if (strcmp(name, "join") == 0)
        return join_items(run, value, args, result);
    if (strcmp(name, "selectattr") == 0 || strcmp(name, "rejectattr") == 0)
        return select_items(run, value, args, name[0] == 's', result);
    return wrong(run, "the filter", name, value);
}

static int filter_text(struct jinja_run *run, const char *name, const struct jinja_value *value,
                       const struct jinja_args *args, struct jinja_value *result) {
    const struct jinja_value *first = text_argument(args, 0), *second = text_argument(args, 1);
    if (strcmp(name, "trim") == 0 && args->count == (first != NULL)) {
        *result = value_strip(value, first, true, true);
        return 0;
    }
    if (strcmp(name, "upper") == 0 || strcmp(name, "lower") == 0 || strcmp(name, "capitalize") == 0 ||
        strcmp(name, "title") == 0)
        return change_case(run, name, value, result);
    if (strcmp(name, "replace") == 0 && first && second && args->count == 2)
        return replace_text(run, value, first, second, result);
    return wrong(run, "the filter", name, value);
}

int jinja_filter(struct jinja_run *run, const char *name, const struct jinja_value *value,
                 const struct jinja_args *args, struct jinja_value *result) {
    if (strcmp(name, "default") == 0 || strcmp(name, "d") == 0) {
        const struct jinja_value *other = argument(args, 0, "default_value"),
                                 *loose = argument(args, 1, "boolean");
        bool is_missing =
            value->kind == JINJA_UNDEFINED || (loose && value_is_true(loose) && !value_is_true(value));
        *result = !is_missing ? *value : other ? *other : value_string("");
        return 0;
    }
    if (strcmp(name, "string") == 0 || strcmp(name, "safe") == 0)
        return value_to_string(run, value, result);
    if (strcmp(name, "length") == 0 || strcmp(name, "count") == 0) {
        if (value->kind != JINJA_STRING && value->kind != JINJA_LIST)
            return wrong(run, "the filter", name, value);
        *result = value_int(value->kind == JINJA_STRING ? num_characters(value) : (int64_t)value->count);
        return 0;
    }
    if (value->kind == JINJA_LIST)
        return filter_list(run, name, value, args, result);
    if (value->kind == JINJA_STRING)
        return filter_text(run, name, value, args, result);
    return wrong(run, "the filter", name, value);
}

/* --- methods --- */

/* split_text - by a separator, or by white space without one. */
static int split_text(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *by,
                      struct jinja_value *result) {
    if (!by || by->count == 0)
        return err_set(run->err, "'split' without a separator is not supported");
    *result = value_list(run, text->count / by->count + 1);
    size_t from = 0;
    for (int64_t at; (at = text_at(text, by, from)) >= 0; from = (size_t)at + by->count)
        result->list[result->count++] = value_part(text, from, (size_t)at);
    result->list[result->count++] = value_part(text, from, text->count);
    return 0;
}

int jinja_method(struct jinja_run *run, const struct jinja_value *object, const char *name,
                 const struct jinja_args *args, struct jinja_value *result) {
    const struct jinja_value *first = text_argument(args, 0), *second = text_argument(args, 1);
    if (object->kind == JINJA_DICT && strcmp(name, "get") == 0 && first) {
        char *key = pool_take(&run->pool, first->count + 1);
        memcpy(key, first->bytes, first->count);
        const struct jinja_value *found = dict_find(object->dict, key), *other = argument(args, 1, "");
        *result = found ? *found : other ? *other : (struct jinja_value){.kind = JINJA_NONE};
        return 0;
    }
    if (object->kind != JINJA_STRING)
        return wrong(run, "the method", name, object);
    if (strcmp(name, "strip") == 0 || strcmp(name, "lstrip") == 0 || strcmp(name, "rstrip") == 0) {
        if (args->count != (first != NULL))
            return wrong(run, "the method", name, object);
        *result = value_strip(object, first, name[0] != 'r', name[0] != 'l');
        return 0;
    }
    if (strcmp(name, "split") == 0 && args->count <= 1)
        return split_text(run, object, first, result);
    if (first && args->count == 1 && strcmp(name, "startswith") == 0) {
        *result = value_bool(object->count >= first->count &&
                             memcmp(object->bytes, first->bytes, first->count) == 0);
        return 0;
    }
    if (first && args->count == 1 && strcmp(name, "endswith") == 0) {
        size_t from = object->count - first->count;
        *result = value_bool(object->count >= first->count &&
                             memcmp(object->bytes + from, first->bytes, first->count) == 0);
        return 0;
    }
    if (strcmp(name, "replace") == 0 && first && second && args->count == 2)
        return replace_text(run, object, first, second, result);
    if (args->count == 0 && (strcmp(name, "upper") == 0 || strcmp(name, "lower") == 0 ||
                             strcmp(name, "capitalize") == 0 || strcmp(name, "title") == 0))
        return change_case(run, name, object, result);
    return wrong(run, "the method", name, object);
}

/* --- functions --- */

static int make_range(struct jinja_run *run, const struct jinja_args *args, struct jinja_value *result) {
    int64_t part[3] = {0, 0, 1};
    for (int i = 0; i < args->count; i++) {
        if (i > 2 || args->values[i].kind != JINJA_INT)
            return err_set(run->err, "'range' takes numbers");
        part[i] = args->values[i].number;
    }
    if (args->count == 1) {
        part[1] = part[0];
        part[0] = 0;
    }
    int64_t away = part[1] - part[0], count = part[2] == 1 && away > 0 ? away : 0;
    if (args->count == 0 || (part[2] != 1 && part[2] != -1) || away > 100000 || away < -100000)
        return err_set(run->err, "'range' in steps other than one is not supported");
    if (part[2] == -1)
        count = away < 0 ? -away : 0;
    *result = value_list(run, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        result->list[result->count++] = value_int(part[0] + i * part[2]);
    return 0;
}

int jinja_function(struct jinja_run *run, const char *name, const struct jinja_args *args,
                   struct jinja_value *result) {
    if (strcmp(name, "raise_exception") == 0) {
        const struct jinja_value *text = text_argument(args, 0);
        run->has_raised = true;
        return err_set(run->err, "%.*s", text ? (int)(text->count < 300 ? text->count : 300) : 0,
                       text ? text->bytes : "");
    }
    if (strcmp(name, "namespace") == 0) {
        struct jinja_dict *dict = pool_take(&run->pool, sizeof *dict);
        for (int i = 0; i < args->count; i++) {
            if (!args->keywords[i])
                return err_set(run->err, "'namespace' takes names and values");
            dict_set(&run->pool, dict, args->keywords[i], args->values[i]);
        }
        *result = (struct jinja_value){.kind = JINJA_DICT, .dict = dict};
        return 0;
    }
    if (strcmp(name, "range") == 0)
        return make_range(run, args, result);
    if (strcmp(name, "strftime_now") == 0)
        return err_set(run->err, "it writes the present date, which would differ from day to day");
    return err_set(run->err, "the function '%.40s' is not supported", name);
}
