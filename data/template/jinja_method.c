/* jinja_method.c - what is called after a point: 'text.strip()'.  See jinja_parts.h.  Source: the Python
 * Standard Library, "Text Sequence Type" and "Mapping Types".  What changes a list or a dictionary ('append',
 * 'pop') the sandbox of transformers refuses, and so do we. */
#include "data/template/jinja_parts.h"

/* dict_get - of messages and the like.  Keys are texts here, so a number or none is never found, which Python finds
 * no fault with; a list as a key it would. */
static int dict_get(struct jinja_run *run, const struct jinja_value *object, const struct jinja_args *args,
                    struct jinja_value *result) {
    static const struct jinja_signature get = {"get", 1, {"", ""}};
    const struct jinja_value *given[JINJA_MAX_PARAMS], none = {.kind = JINJA_NONE};
    if (args_bind(run, &get, args, given) != 0)
        return -1;
    bool is_other = given[0]->kind == JINJA_NONE || value_is_number(given[0]); /* never a key here */
    if (given[0]->kind != JINJA_STRING && !is_other)
        return err_set(run->err, "'get' of a key that is %s is not supported", value_kind_name(given[0]));
    jinja_count_entries(run, object->dict);
    const struct jinja_value *found = is_other ? NULL : dict_find_text(object->dict, given[0]);
    *result = found ? *found : given[1] ? *given[1] : none;
    return 0;
}

static struct jinja_value values_of(struct jinja_run *run, const struct jinja_dict *dict) {
    struct jinja_value pairs = value_pairs(run, dict);
    for (size_t i = 0; i < pairs.count; i++)
        pairs.list[i] = pairs.list[i].list[1];
    return pairs;
}

/* dict_method - 'get', and the three views.  Any other name is refused even where the dictionary has a field of it:
 * Jinja2 finds Python's attribute first. */
static int dict_method(struct jinja_run *run, const struct jinja_value *object, const char *name,
                       const struct jinja_args *args, struct jinja_value *result) {
    if (strcmp(name, "get") == 0)
        return dict_get(run, object, args, result);
    if (args->count > 0 || !object->dict->has_order)
        return jinja_wrong(run, "the method", name, object);
    if (strcmp(name, "items") == 0)
        *result = value_pairs(run, object->dict);
    else if (strcmp(name, "keys") == 0)
        *result = value_names(run, object->dict);
    else if (strcmp(name, "values") == 0)
        *result = values_of(run, object->dict);
    else
        return jinja_wrong(run, "the method", name, object);
    result->kind = JINJA_STREAM; /* Python's views are not lists */
    return 0;
}

/* list_method - 'count' and 'index' of an item. */
static int list_method(struct jinja_run *run, const struct jinja_value *object, const char *name,
                       const struct jinja_args *args, struct jinja_value *result) {
    int64_t count = 0, first = -1;
    bool counts = strcmp(name, "count") == 0;
    if ((!counts && strcmp(name, "index") != 0) || args->count != 1 || args->keywords[0])
        return jinja_wrong(run, "the method", name, object);
    for (size_t i = 0; i < object->count; i++)
        if (value_equal(run, &object->list[i], &args->values[0])) {
            first = count++ == 0 ? (int64_t)i : first;
        }
    if (!counts && first < 0)
        return jinja_wrong(run, "with an item that is not there the method", name, object);
    *result = value_int(counts ? count : first);
    return 0;
}

/* --- strings --- */

/* strip - 'strip', 'lstrip', 'rstrip', told apart by their first letter.  set: the characters to take, NULL or
 * none: white space. */
static int strip(struct jinja_run *run, const char *name, const struct jinja_value *object,
                 const struct jinja_value *set, struct jinja_value *result) {
    if (set && set->kind == JINJA_NONE)
        set = NULL;
    if (set && set->kind != JINJA_STRING)
        return jinja_wrong(run, "the method with this argument", name, object);
    jinja_count_bytes(run, set ? JINJA_PLACE_BYTES * object->count : 0);
    *result = value_strip(object, set, name[0] != 'r', name[0] != 'l');
    return 0;
}

/* begins - 'startswith', or 'endswith': with one text, or one of a tuple. */
static int begins(struct jinja_run *run, const char *name, const struct jinja_value *text,
                  const struct jinja_value *what, struct jinja_value *result) {
    bool is_tuple = what->kind == JINJA_LIST && what->sequence == SEQUENCE_TUPLE, is = false;
    for (size_t i = 0; i < (is_tuple ? what->count : 1); i++) {
        struct jinja_value part = is_tuple ? what->list[i] : *what;
        if (part.kind != JINJA_STRING)
            return jinja_wrong(run, "the method with such an argument", name, text);
        value_flatten(run, &part);
        if (is || text->count < part.count)
            continue;
        const char *at = name[0] == 's' ? text->bytes : text->bytes + text->count - part.count;
        is = memcmp(at, part.bytes, part.count) == 0;
    }
    *result = value_bool(is);
    return 0;
}

/* split - by a text, or by white space without one; at most so many times. */
static int split(struct jinja_run *run, const char *name, const struct jinja_value *text,
                 const struct jinja_value *const *given, struct jinja_value *result) {
    bool by_space = !given[0] || given[0]->kind == JINJA_NONE;
    int64_t most = given[1] ? given[1]->number : -1;
    if ((!by_space && given[0]->kind != JINJA_STRING) || (given[1] && given[1]->kind != JINJA_INT) ||
        (by_space && name[0] == 'r' && most >= 0))
        return jinja_wrong(run, "the method with such arguments", name, text);
    return by_space ? text_words(run, text, most, result)
                    : text_split(run, text, given[0], most, name[0] == 'r', result);
}

/* find_part - where it stands first or last: *at, -1 for nowhere.  The last one is looked for place by place, which is counted
 * before it is done. */
static int find_part(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *part,
                     bool from_right, int64_t *at) {
    if (from_right)
        jinja_count_bytes(run, text->count * (part->count + JINJA_PLACE_BYTES));
    if (jinja_count_step(run) != 0)
        return -1;
    *at = from_right ? text_last_at(text, part, text->count) : text_at(text, part, 0);
    return 0;
}

/* cut - 'partition' and 'rpartition': before, the text itself, after.  Where it is not found the whole text comes
 * first, of 'rpartition' last. */
static int cut(struct jinja_run *run, const char *name, const struct jinja_value *text,
               const struct jinja_value *const *given, struct jinja_value *result) {
    bool from_right = name[0] == 'r';
    int64_t at;
    if (given[0]->kind != JINJA_STRING || given[0]->count == 0)
        return jinja_wrong(run, "the method with this argument", name, text);
    if (find_part(run, text, given[0], from_right, &at) != 0)
        return -1;
    *result = value_list(run, 3);
    result->sequence = SEQUENCE_TUPLE;
    result->count = 3;
    result->list[0] = result->list[1] = result->list[2] = value_string("");
    if (at < 0) {
        result->list[from_right ? 2 : 0] = *text;
        return 0;
    }
    result->list[0] = value_part(text, 0, (size_t)at);
    result->list[1] = *given[0];
    result->list[2] = value_part(text, (size_t)at + given[0]->count, text->count);
    return 0;
}

/* look_for - 'find', 'rfind', 'index', 'rindex': where, in characters. */
static int look_for(struct jinja_run *run, const char *name, const struct jinja_value *text,
                    const struct jinja_value *const *given, struct jinja_value *result) {
    int64_t at;
    if (given[0]->kind != JINJA_STRING)
        return jinja_wrong(run, "the method with this argument", name, text);
    if (find_part(run, text, given[0], name[0] == 'r', &at) != 0)
        return -1;
    if (at < 0 && strstr(name, "index"))
        return jinja_wrong(run, "for what is not there the method", name, text);
    struct jinja_value before = value_part(text, 0, at < 0 ? 0 : (size_t)at);
    *result = value_int(at < 0 ? -1 : text_num_characters(&before));
    return 0;
}

/* count - occurrences that do not overlap, as Python counts them. */
static int count(struct jinja_run *run, const char *name, const struct jinja_value *text,
                 const struct jinja_value *const *given, struct jinja_value *result) {
    int64_t found = 0;
    if (given[0]->kind != JINJA_STRING || given[0]->count == 0)
        return jinja_wrong(run, "the method with this argument", name, text);
    for (int64_t at, from = 0; (at = text_at(text, given[0], (size_t)from)) >= 0;
         from = at + (int64_t)given[0]->count)
        found++;
    *result = value_int(found);
    return 0;
}

/* remove_part - 'removeprefix' and 'removesuffix'. */
static int remove_part(struct jinja_run *run, const char *name, const struct jinja_value *text,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    bool is_prefix = strcmp(name, "removeprefix") == 0;
    struct jinja_value is_there;
    if (given[0]->kind != JINJA_STRING ||
        begins(run, is_prefix ? "startswith" : "endswith", text, given[0], &is_there) != 0)
        return jinja_wrong(run, "the method with this argument", name, text);
    size_t less = is_there.number ? given[0]->count : 0;
    *result = is_prefix ? value_part(text, less, text->count) : value_part(text, 0, text->count - less);
    return 0;
}

/* is_all - 'isdigit' and the like, of ASCII: beyond it Python's answers follow Unicode's tables, which are not
 * here. 'isupper' and 'islower' want one letter at least and leave what has no case aside; an empty text is never
 * true. */
static int is_all(struct jinja_run *run, const char *name, const struct jinja_value *text,
                  const struct jinja_value *const *given, struct jinja_value *result) {
    size_t num_low = 0, num_high = 0, num_digits = 0, num_spaces = 0;
    (void)given;
    jinja_count_bytes(run, JINJA_PLACE_BYTES * text->count);
    for (size_t i = 0; i < text->count; i++) {
        unsigned char c = (unsigned char)text->bytes[i];
        if (c >= 0x80)
            return err_set(run->err, "'%s' of text beyond ASCII is not supported", name);
        num_low += c >= 'a' && c <= 'z';
        num_high += c >= 'A' && c <= 'Z';
        num_digits += c >= '0' && c <= '9';
        num_spaces += text_is_space(c);
    }
    size_t num_letters = num_low + num_high;
    bool is = strcmp(name, "isalpha") == 0   ? num_letters == text->count
              : strcmp(name, "isalnum") == 0 ? num_letters + num_digits == text->count
              : strcmp(name, "isspace") == 0 ? num_spaces == text->count
              : strcmp(name, "isupper") == 0 ? num_low == 0 && num_high > 0
              : strcmp(name, "islower") == 0 ? num_high == 0 && num_low > 0
                                             : num_digits == text->count;
    *result = value_bool(is && text->count > 0);
    return 0;
}

/* join - ', '.join(list): the text is what stands between.  The filter prints its items; the method takes texts
 * only, so the items are looked at first. */
static int join(struct jinja_run *run, const char *name, const struct jinja_value *text,
                const struct jinja_value *const *given, struct jinja_value *result) {
    for (size_t i = 0; given[0]->kind == JINJA_LIST && i < given[0]->count; i++)
        if (given[0]->list[i].kind != JINJA_STRING)
            return jinja_wrong(run, "with such items the method", name, text);
    struct jinja_args args = {.values = {*text}, .count = 1};
    return jinja_filter(run, "join", given[0], &args, result);
}

static int lines(struct jinja_run *run, const char *name, const struct jinja_value *text,
                 const struct jinja_value *const *given, struct jinja_value *result) {
    if (given[0] && !value_is_number(given[0]))
        return jinja_wrong(run, "the method with this argument", name, text);
    return text_lines(run, text, given[0] && value_is_true(given[0]), result);
}

static int strip_method(struct jinja_run *run, const char *name, const struct jinja_value *text,
                        const struct jinja_value *const *given, struct jinja_value *result) {
    return strip(run, name, text, given[0], result);
}

static int begins_method(struct jinja_run *run, const char *name, const struct jinja_value *text,
                         const struct jinja_value *const *given, struct jinja_value *result) {
    return begins(run, name, text, given[0], result);
}

static int replace(struct jinja_run *run, const char *name, const struct jinja_value *text,
                   const struct jinja_value *const *given, struct jinja_value *result) {
    if (given[0]->kind != JINJA_STRING || given[1]->kind != JINJA_STRING ||
        (given[2] && given[2]->kind != JINJA_INT))
        return jinja_wrong(run, "the method with such an argument", name, text);
    return text_replace(run, text, given[0], given[1], given[2] ? given[2]->number : -1, result);
}

/* change_case - by the first letter of the method's name; str.title cuts words otherwise than the filter. */
static int change_case(struct jinja_run *run, const char *name, const struct jinja_value *text,
                       const struct jinja_value *const *given, struct jinja_value *result) {
    (void)given;
    return text_change_case(run,
                            name[0] == 'u'   ? CASE_UPPER
                            : name[0] == 'l' ? CASE_LOWER
                            : name[0] == 'c' ? CASE_CAPITALIZE
                                             : CASE_TITLE_METHOD,
                            text, result);
}

/* Methods of texts with their parameters; "" for those that Python takes by place alone.  The functions get the
 * method's name, since several share one. */
static const struct {
    struct jinja_signature signature;
    int (*run)(struct jinja_run *run, const char *name, const struct jinja_value *text,
               const struct jinja_value *const *given, struct jinja_value *result);
} METHODS[] = {
    {{"strip", 0, {""}}, strip_method},
    {{"lstrip", 0, {""}}, strip_method},
    {{"rstrip", 0, {""}}, strip_method},
    {{"split", 0, {"sep", "maxsplit"}}, split},
    {{"rsplit", 0, {"sep", "maxsplit"}}, split},
    {{"splitlines", 0, {"keepends"}}, lines},
    {{"partition", 1, {""}}, cut},
    {{"rpartition", 1, {""}}, cut},
    {{"startswith", 1, {""}}, begins_method},
    {{"endswith", 1, {""}}, begins_method},
    {{"removeprefix", 1, {""}}, remove_part},
    {{"removesuffix", 1, {""}}, remove_part},
    {{"replace", 2, {"", "", ""}}, replace},
    {{"find", 1, {""}}, look_for},
    {{"rfind", 1, {""}}, look_for},
    {{"index", 1, {""}}, look_for},
    {{"rindex", 1, {""}}, look_for},
    {{"count", 1, {""}}, count},
    {{"join", 1, {""}}, join},
    {{"upper", 0, {NULL}}, change_case},
    {{"lower", 0, {NULL}}, change_case},
    {{"capitalize", 0, {NULL}}, change_case},
    {{"title", 0, {NULL}}, change_case},
    {{"isdigit", 0, {NULL}}, is_all},
    {{"isdecimal", 0, {NULL}}, is_all},
    {{"isnumeric", 0, {NULL}}, is_all},
    {{"isalpha", 0, {NULL}}, is_all},
    {{"isalnum", 0, {NULL}}, is_all},
    {{"isspace", 0, {NULL}}, is_all},
    {{"isupper", 0, {NULL}}, is_all},
    {{"islower", 0, {NULL}}, is_all},
};

int jinja_method(struct jinja_run *run, const struct jinja_value *object, const char *name,
                 const struct jinja_args *args, struct jinja_value *result) {
    const struct jinja_value *given[JINJA_MAX_PARAMS];
    size_t i = 0, num_methods = sizeof METHODS / sizeof METHODS[0];
    if (object->kind == JINJA_DICT)
        return dict_method(run, object, name, args, result);
    if (object->kind == JINJA_LIST)
        return list_method(run, object, name, args, result);
    if (object->is_safe)
        return err_set(run->err, "the method '%.40s' of a text marked 'safe' is not supported", name);
    if (object->kind == JINJA_STRING)
        jinja_count_bytes(run, object->count);
    if (object->kind == JINJA_STRING && strcmp(name, "format") == 0)
        return text_format(run, object, args, result);
    while (i < num_methods && strcmp(name, METHODS[i].signature.name) != 0)
        i++;
    if (object->kind != JINJA_STRING || i == num_methods)
        return jinja_wrong(run, "the method", name, object);
    if (args_bind(run, &METHODS[i].signature, args, given) != 0)
        return -1;
    return METHODS[i].run(run, name, object, given, result);
}
