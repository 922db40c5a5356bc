/* jinja_names.c - the tests and functions that chat templates use, and how arguments are given to whatever has
 * a name.  What is not here is refused by its name.  See jinja_parts.h. */
#include <time.h>

#include "data/template/jinja_parts.h"

int jinja_wrong(struct jinja_run *run, const char *what, const char *name, const struct jinja_value *value) {
    return err_set(run->err, "%s '%.40s' of %s%s%.60s is not supported", what, name, value_kind_name(value),
                   value->kind == JINJA_UNDEFINED && value->bytes ? " " : "",
                   value->kind == JINJA_UNDEFINED && value->bytes ? value->bytes : "");
}

/* --- arguments --- */

/* place_of - the parameter that an argument is for, or -1: Python knows none. */
static int place_of(const struct jinja_signature *signature, const char *keyword, int position) {
    for (int i = 0; i < JINJA_MAX_PARAMS && signature->params[i]; i++)
        if (keyword ? strcmp(signature->params[i], keyword) == 0 : i == position)
            return i;
    return -1;
}

int args_bind(struct jinja_run *run, const struct jinja_signature *signature, const struct jinja_args *args,
              const struct jinja_value *given[JINJA_MAX_PARAMS]) {
    for (int i = 0; i < JINJA_MAX_PARAMS; i++)
        given[i] = NULL;
    for (int i = 0; i < args->count; i++) {
        int place = place_of(signature, args->keywords[i], i);
        if (place < 0 || given[place])
            return err_set(run->err, "'%s' with the argument %s%.40s is not supported", signature->name,
                           args->keywords[i] ? "" : "number ",
                           args->keywords[i] ? args->keywords[i]
                                             : (const char[2]){(char)('1' + (i < 9 ? i : 8)), '\0'});
        given[place] = &args->values[i];
    }
    for (int i = 0; i < signature->min; i++)
        if (!given[i])
            return err_set(run->err, "'%s' with %d arguments is not supported", signature->name, args->count);
    return 0;
}

/* --- tests --- */

/* Tests that ask for the kind alone, as a set of kinds: "sequence" holds of what has __len__ and __getitem__ in
 * Python, "iterable" of what has __iter__, "callable" of what has __call__.  Jinja2's Undefined has all of
 * those. */
enum { BIT_STRING = 1u << JINJA_STRING, BIT_LIST = 1u << JINJA_LIST, BIT_DICT = 1u << JINJA_DICT };
enum { BIT_UNDEFINED = 1u << JINJA_UNDEFINED };

static const struct {
    const char *name;
    unsigned kinds; /* 1 << kind of the values for which it holds */
} KINDS[] = {
    {"defined", ~(unsigned)BIT_UNDEFINED},
    {"undefined", BIT_UNDEFINED},
    {"none", 1u << JINJA_NONE},
    {"string", BIT_STRING},
    {"boolean", 1u << JINJA_BOOL},
    {"number", 1u << JINJA_INT | 1u << JINJA_BOOL | 1u << JINJA_FLOAT},
    {"float", 1u << JINJA_FLOAT},
    {"callable", 1u << JINJA_MACRO | 1u << JINJA_LOOP | BIT_UNDEFINED},
    {"integer", 1u << JINJA_INT},
    {"mapping", BIT_DICT},
    {"sequence", BIT_STRING | BIT_LIST | BIT_DICT | BIT_UNDEFINED},
    {"iterable", BIT_STRING | BIT_LIST | BIT_DICT | BIT_UNDEFINED | 1u << JINJA_LOOP},
};

/* test_other - the tests of one argument; 1: it is not one of them. */
static int test_other(struct jinja_run *run, const char *name, const struct jinja_value *value,
                      const struct jinja_value *other, bool *result) {
    static const char *const names[][2] = {
        {"equalto", "=="}, {"eq", "=="}, {"==", "=="},         {"ne", "!="}, {"!=", "!="},
        {"gt", ">"},       {">", ">"},   {"greaterthan", ">"}, {"ge", ">="}, {">=", ">="},
        {"lt", "<"},       {"<", "<"},   {"lessthan", "<"},    {"le", "<="}, {"<=", "<="},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i][0]) == 0)
            return jinja_compare(run, names[i][1], value, other, result);
    if (strcmp(name, "in") == 0)
        return jinja_is_in(run, value, other, result);
    if (strcmp(name, "divisibleby") == 0 && value->kind == JINJA_INT && other->kind == JINJA_INT &&
        other->number > 0) {
        *result = value->number % other->number == 0;
        return 0;
    }
    bool is_single = value->kind == JINJA_NONE || value->kind == JINJA_BOOL || other->kind == JINJA_NONE ||
                     other->kind == JINJA_BOOL; /* of others Python's identity is nobody's business */
    if (strcmp(name, "sameas") != 0 || !is_single)
        return 1;
    *result = value->kind == other->kind && value_equal(run, value, other);
    return 0;
}

/* Tests of one argument come first; those of none are kinds, then values. */
int jinja_test(struct jinja_run *run, const char *name, const struct jinja_value *value,
               const struct jinja_args *args, bool *result) {
    if (args->count == 1 && !args->keywords[0]) {
        int status = test_other(run, name, value, &args->values[0], result);
        if (status <= 0)
            return status;
    }
    if (args->count > 0)
        return jinja_wrong(run, "with such arguments the test", name, value);
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++)
        if (strcmp(name, KINDS[i].name) == 0) {
            *result = KINDS[i].kinds >> value->kind & 1;
            return 0;
        }
    if (strcmp(name, "true") == 0 || strcmp(name, "false") == 0) {
        *result = value->kind == JINJA_BOOL && value->number == (name[0] == 't');
        return 0;
    }
    bool is_whole = value->kind == JINJA_INT || value->kind == JINJA_BOOL;
    if (is_whole && (strcmp(name, "odd") == 0 || strcmp(name, "even") == 0)) {
        *result = (value->number & 1) == (name[0] == 'o');
        return 0;
    }
    return jinja_wrong(run, "the test", name, value);
}

/* --- attributes that Python's values have beside what a template gave them --- */

/* Names from dir() of Python's dict, list and range, int, LoopContext, str.  'x.items' without brackets would be a
 * bound method there, which a template can only print as an address or pass on. */
static const char *const DICT_METHODS[] = {"clear", "copy",    "fromkeys",   "get",    "items",  "keys",
                                           "pop",   "popitem", "setdefault", "update", "values", NULL};
static const char *const LIST_METHODS[] = {"append", "clear",  "copy", "count",  "extend",
                                           "index",  "insert", "pop",  "remove", "reverse",
                                           "sort",   "start",  "stop", "step",   NULL};
static const char *const INT_METHODS[] = {"as_integer_ratio", "bit_count",  "bit_length", "conjugate",
                                          "denominator",      "from_bytes", "imag",       "is_integer",
                                          "numerator",        "real",       "to_bytes",   NULL};
static const char *const LOOP_METHODS[] = {"changed", "cycle", NULL};
static const char *const STRING_METHODS[] = {
    "capitalize", "casefold",     "center",       "count",   "encode",     "endswith",    "expandtabs",
    "find",       "format",       "format_map",   "index",   "isalnum",    "isalpha",     "isascii",
    "isdecimal",  "isdigit",      "isidentifier", "islower", "isnumeric",  "isprintable", "isspace",
    "istitle",    "isupper",      "join",         "ljust",   "lower",      "lstrip",      "maketrans",
    "partition",  "removeprefix", "removesuffix", "replace", "rfind",      "rindex",      "rjust",
    "rpartition", "rsplit",       "rstrip",       "split",   "splitlines", "startswith",  "strip",
    "swapcase",   "title",        "translate",    "upper",   "zfill",      NULL};

bool jinja_has_method(const struct jinja_value *object, const char *name) {
    static const char *const none[] = {NULL};
    const char *const *names = object->kind == JINJA_DICT                                ? DICT_METHODS
                               : object->kind == JINJA_LIST                              ? LIST_METHODS
                               : object->kind == JINJA_STRING                            ? STRING_METHODS
                               : object->kind == JINJA_LOOP                              ? LOOP_METHODS
                               : object->kind == JINJA_INT || object->kind == JINJA_BOOL ? INT_METHODS
                                                                                         : none;
    for (; *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

/* --- functions --- */

/* The globals of Jinja2's environment, and the two that transformers adds: raise_exception and strftime_now. */
bool jinja_is_function(const char *name) {
    static const char *const names[] = {"raise_exception", "strftime_now", "namespace", "range", "dict",
                                        "cycler",          "joiner",       "lipsum"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* make_range - the count is that of the steps from first towards end, end excluded; differences of 64-bit numbers
 * may overflow and are looked at first.  The items are made at once: there are at most 100000. */
static int make_range(struct jinja_run *run, const struct jinja_args *args, struct jinja_value *result) {
    enum { MOST = 100000 }; /* the limit of Jinja's sandbox */
    int64_t part[3] = {0, 0, 1}, away, count = 0;
    for (int i = 0; i < args->count; i++) {
        bool is_whole = args->values[i].kind == JINJA_INT || args->values[i].kind == JINJA_BOOL;
        if (i > 2 || !is_whole || args->keywords[i])
            return err_set(run->err, "'range' takes one to three whole numbers");
        part[i] = args->values[i].number;
    }
    if (args->count == 1) {
        part[1] = part[0];
        part[0] = 0;
    }
    if (args->count == 0 || part[2] == 0)
        return err_set(run->err, "'range' %s", args->count == 0 ? "without a number" : "in steps of 0");
    bool is_huge = __builtin_sub_overflow(part[1], part[0], &away);
    bool goes_there = !is_huge && (part[2] > 0 ? away > 0 : away < 0);
    if (goes_there && part[2] != INT64_MIN)
        count = (away - (part[2] > 0 ? 1 : -1)) / part[2] + 1;
    if (is_huge || count > MOST)
        return err_set(run->err, "'range' of more than %d items", MOST);
    *result = value_list(run, (size_t)count);
    result->sequence = SEQUENCE_RANGE;
    for (int64_t i = 0; i < count; i++)
        result->list[result->count++] = value_int(part[0] + i * part[2]);
    return 0;
}

/* copy_fields - of a dictionary that 'dict' or 'namespace' begins with, and then the names and values. */
static int copy_fields(struct jinja_run *run, const char *function, const struct jinja_args *args,
                       struct jinja_dict *dict) {
    for (int i = 0; i < args->count; i++) {
        const struct jinja_value *value = &args->values[i];
        if (args->keywords[i]) {
            dict_set(&run->pool, dict, args->keywords[i], *value);
            continue;
        }
        if (i > 0 || value->kind != JINJA_DICT || !value->dict->has_order)
            return err_set(run->err, "'%s' takes names and values", function);
        dict->origin = value->dict->origin;
        for (const struct jinja_entry *entry = value->dict->first; entry; entry = entry->next)
            dict_set(&run->pool, dict, entry->name, entry->value);
    }
    return 0;
}

static int make_dict(struct jinja_run *run, const struct jinja_args *args, struct jinja_value *result) {
    struct jinja_dict *dict = pool_take(&run->pool, sizeof *dict);
    dict->has_order = true;
    *result = (struct jinja_value){.kind = JINJA_DICT, .dict = dict};
    return copy_fields(run, "dict", args, dict);
}

/* write_date - Python's strftime of the day that the conversation is dated, at midnight.  transformers writes the
 * present moment: the same data prepared tomorrow would differ, so the run file says the day.  strftime gives 0 for
 * an empty result, too; the format is then empty. */
static int write_date(struct jinja_run *run, const struct jinja_args *args, struct jinja_value *result) {
    enum { ROOM = 256 };
    if (args->count != 1 || args->keywords[0] || args->values[0].kind != JINJA_STRING)
        return err_set(run->err, "'strftime_now' takes one text");
    if (!run->date)
        return err_set(run->err, "it writes the present date, which would differ from day to day: set "
                                 "prepare.date to the one to write, as 2026-01-31");
    const struct jinja_value *format = &args->values[0];
    struct tm day = {.tm_isdst = -1};
    char *end = strptime(run->date, "%Y-%m-%d", &day), *text = pool_take(&run->pool, ROOM);
    if (!end || *end || memchr(format->bytes, '\0', format->count))
        return err_set(run->err, "'strftime_now' of the date '%.40s' is not supported", run->date);
    char *copy = pool_take(&run->pool, format->count + 1);
    memcpy(copy, format->bytes, format->count);
    *result = value_string(text);
    if (format->count > 0 && strftime(text, ROOM, copy, &day) == 0)
        return err_set(run->err, "'strftime_now' of the format '%.40s' is not supported", copy);
    result->count = strlen(text);
    return 0;
}

static int make_namespace(struct jinja_run *run, const struct jinja_args *args, struct jinja_value *result) {
    struct jinja_dict *dict = pool_take(&run->pool, sizeof *dict);
    *result = (struct jinja_value){.kind = JINJA_NAMESPACE, .dict = dict};
    return copy_fields(run, "namespace", args, dict);
}

/* raise - the template's own words; they end the rendering.  Cut short: they may hold a message of megabytes. */
static int raise(struct jinja_run *run, const struct jinja_args *args) {
    enum { LONGEST = 300 };
    if (args->count != 1 || args->values[0].kind != JINJA_STRING)
        return err_set(run->err, "'raise_exception' takes one text");
    const struct jinja_value *text = &args->values[0];
    run->has_raised = true;
    return err_set(run->err, "%.*s", (int)(text->count < LONGEST ? text->count : LONGEST), text->bytes);
}

/* 'cycler', 'joiner' and 'lipsum' keep or make something between calls: refused by name like all others. */
int jinja_function(struct jinja_run *run, const char *name, const struct jinja_args *args,
                   struct jinja_value *result) {
    if (strcmp(name, "raise_exception") == 0)
        return raise(run, args);
    if (strcmp(name, "namespace") == 0)
        return make_namespace(run, args, result);
    if (strcmp(name, "range") == 0)
        return make_range(run, args, result);
    if (strcmp(name, "dict") == 0)
        return make_dict(run, args, result);
    if (strcmp(name, "strftime_now") == 0)
        return write_date(run, args, result);
    return err_set(run->err, "the function '%.40s' is not supported", name);
}
