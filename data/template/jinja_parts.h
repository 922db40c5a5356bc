/* jinja_parts.h - what a template is made of.  Private to the jinja_*.c files. */
#pragma once

#include "data/template/jinja.h"

/* --- memory that is freed as a whole (jinja_value.c) --- */
struct jinja_pool {
    struct jinja_chunk *chunks;
    size_t total_bytes;
};
void *pool_take(struct jinja_pool *pool, size_t bytes); /* zeroed */
void pool_release(struct jinja_pool *pool);

/* --- values --- */
enum jinja_kind {
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST,
    JINJA_DICT,
    JINJA_NAMESPACE, /* what namespace() gives: the one thing whose attributes are set */
    JINJA_LOOP,      /* the variable 'loop' */
    JINJA_MACRO,     /* a macro of the template */
    JINJA_STREAM, /* what selectattr gives: Python's generator, which is read once and is always true.  Only a
                      * loop or a filter that stands right after it may have it. */
};

enum jinja_sequence { SEQUENCE_LIST, SEQUENCE_RANGE, SEQUENCE_TUPLE };

struct jinja_value {
    enum jinja_kind kind;
    union {
        int64_t number; /* BOOL, INT */
        double real;    /* FLOAT */
    };
    const char *bytes;       /* STRING; UNDEFINED: what was not there, for messages */
    const uint16_t *origins; /* STRING: of each byte, as in struct jinja_stretch; NULL: all are origin */
    uint16_t origin;
    bool
        is_safe; /* STRING, not a rope: marked by the filter 'safe', so that '+' writes the other side for HTML */
    struct jinja_rope *rope; /* STRING: a long one that is still in two parts, without bytes and origins */
    size_t count;            /* bytes of a STRING, items of a LIST or STREAM */
    union {
        struct jinja_value *list;   /* LIST, STREAM */
        struct jinja_scope *around; /* MACRO: the scope that it was written in */
    };
    enum jinja_sequence sequence; /* LIST: those of other kinds are never equal, and only lists are added */
    struct jinja_dict *dict;      /* DICT, NAMESPACE, LOOP */
    const struct node *macro;     /* MACRO */
};

/* Two strings, one after the other, that nobody has looked at as one: a conversation of megabytes is joined,
 * kept in variables and printed without a copy of it for each step. */
struct jinja_rope {
    struct jinja_value parts[2];
    int depth;                /* of ropes in ropes */
    struct jinja_value whole; /* once somebody has: value_flatten keeps it */
};

/* Names and values; few, so a list does. */
struct jinja_entry {
    const char *name;
    struct jinja_value value;
    struct jinja_entry *next;
};
struct jinja_dict {
    struct jinja_entry *first, *last; /* in the order in which they came */
    size_t count;
    bool has_order;  /* of a DICT; a namespace and 'loop' have fields, but nothing goes through their items */
    uint16_t origin; /* of its names, as of a string's bytes */
};

/* --- the tree --- */
enum node_kind {
    NODE_LITERAL,   /* value */
    NODE_NAME,      /* name */
    NODE_LIST,      /* args */
    NODE_TUPLE,     /* args */
    NODE_DICT,      /* args: keys and values in turn */
    NODE_ATTRIBUTE, /* a . name */
    NODE_INDEX,     /* a [ b ] */
    NODE_SLICE,     /* a [ b : c : d ] */
    NODE_CALL,      /* a ( args ) */
    NODE_FILTER,    /* a | name ( args ) */
    NODE_TEST,      /* a is name ( args ) */
    NODE_NOT,
    NODE_NEGATE,
    NODE_AND,
    NODE_OR,
    NODE_BINARY, /* a name b */
    NODE_CHAIN,  /* a, then args: name a */
    NODE_CHOICE, /* a if b else c */
    /* statements */
    NODE_TEXT,  /* value */
    NODE_PRINT, /* a */
    NODE_IF,    /* a: body, otherwise: other */
    NODE_FOR,   /* name (or args: several names) in a if b: body, otherwise: other */
    NODE_SET,   /* name = a; with target: target . name = a; args: several names; without a: name = body */
    NODE_MACRO, /* name ( args: literals with their keyword, a: what stands for a missing one ): body */
    NODE_CALL_BLOCK,   /* a: the call, b: a macro, which is its 'caller' */
    NODE_FILTER_BLOCK, /* a: filters of JINJA_BODY, which stands for the text of body */
    NODE_WITH,         /* args: literals with their keyword and value in a; body */
    NODE_GENERATION,   /* body, which the assistant is to learn */
    NODE_BREAK,
    NODE_CONTINUE,
};

struct node {
    enum node_kind kind;
    const char *name;
    struct jinja_value value;
    struct node *a, *b, *c, *d;
    struct node *args; /* a list by next; name: that of a keyword */
    struct node *body, *other;
    const char *target;
    const char *keyword; /* of an argument */
    int line;            /* of the template, from 1 */
    struct node *next;
};

struct jinja {
    struct jinja_pool pool;
    struct node *body;
};

/* --- one rendering --- */
enum {
    JINJA_MAX_STEPS = 5000000,
    JINJA_MAX_BYTES = 1 << 28, /* that a rendering may take, beside LARGER times what it is given */
    JINJA_LARGER = 64,
    JINJA_MAX_NESTED = 1000,
    JINJA_MAX_CALLS = 50,
    JINJA_STEP_BYTES = 256, /* of a text that is searched or compared: a step */
    JINJA_PLACE_BYTES =
        16, /* what it costs to look at one place of a text, beside the bytes that are compared there */
    JINJA_STEP_ENTRIES = 16, /* of a dictionary that is searched: a step */
    JINJA_REAL_BYTES = 72
};
#define JINJA_BODY " body"
/* The origin of a byte, and whether a {% generation %} block wrote it. */
#define JINJA_GENERATED ((uint16_t)0x8000)

struct jinja_scope {
    struct jinja_dict names;
    struct jinja_scope *outer;
};

struct jinja_args;

struct jinja_run {
    int64_t max_steps;
    const char *date; /* of strftime_now, or NULL */
    struct jinja_pool pool;
    struct jinja_scope *scope;
    struct jinja_text *out;
    int64_t num_steps;
    int depth;                        /* of expressions inside each other */
    int num_calls;                    /* of macros inside each other */
    size_t max_bytes;                 /* of the pool, and of the text */
    const struct jinja_value *caller; /* the body of the call block whose call is next, or NULL */
    bool has_raised, breaks, continues;
    bool has_line; /* err names the line of the template already */
    /* jinja_run.c: the text of a body in a scope of its own, as a value */
    int (*run_apart)(struct jinja_run *run, const struct node *body, struct jinja_value *value);
    /* jinja_eval and jinja_filter, for what they themselves call: a macro's defaults, the filter 'map' */
    int (*eval)(struct jinja_run *run, const struct node *node, struct jinja_value *value);
    int (*filter)(struct jinja_run *run, const char *name, const struct jinja_value *value,
                  const struct jinja_args *args, struct jinja_value *result);
    struct err *err;
};

/* jinja_set_input - the names of a conversation and the bounds of its rendering (jinja_input.c). */
void jinja_set_input(struct jinja_run *run, const struct jinja_input *input);
/* jinja_name_line - put the line of a node that failed before the reason, where no inner one did. */
void jinja_name_line(struct jinja_run *run, const struct node *node);
/* jinja_find - the value of a name, or NULL; jinja_count_step - -1 with err set after too many.  jinja_count_bytes - the steps
 * of a walk through so many bytes: the next jinja_count_step ends what has walked too far. */
const struct jinja_value *jinja_find(const struct jinja_run *run, const char *name);
int jinja_count_step(struct jinja_run *run);
void jinja_count_bytes(struct jinja_run *run, size_t count);
/* jinja_count_entries - the same of a name that is looked for in a dictionary. */
void jinja_count_entries(struct jinja_run *run, const struct jinja_dict *dict);
/* jinja_eval - the value of an expression (jinja_eval.c).  Returns 0, or -1 with run->err set; so do the rest.
 * jinja_eval_rope - the same where a STRING may still be a rope.  jinja_eval_any - where it may be a STREAM too,
 * which the others refuse. */
int jinja_eval(struct jinja_run *run, const struct node *node, struct jinja_value *value);
int jinja_eval_rope(struct jinja_run *run, const struct node *node, struct jinja_value *value);
int jinja_eval_any(struct jinja_run *run, const struct node *node, struct jinja_value *value);

/* --- values (jinja_value.c) --- */
/* value_string - borrows its bytes.  value_is_true - as Jinja takes a value in a condition: not none, not 0, not empty.
 * value_equal - by contents, lists and dictionaries element by element; true equals 1.  Its steps are counted in run.  value_kind_name - for messages.
 * value_list - an empty one with room.  dict_set - replaces what has that name.  dict_find - NULL: absent. */
struct jinja_value value_string(const char *bytes);
struct jinja_value value_int(int64_t number);
struct jinja_value value_bool(bool is);
bool value_is_true(const struct jinja_value *value);
bool value_equal(struct jinja_run *run, const struct jinja_value *a, const struct jinja_value *b);
bool value_is_text(const struct jinja_value *value, const char *text);
const char *value_kind_name(const struct jinja_value *value);
/* value_is_number - a whole one, true or false, or one with a point.  value_real - as one with a point. */
bool value_is_number(const struct jinja_value *value);
double value_real(const struct jinja_value *value);
/* value_to_string - what Jinja prints: Python's str(value); namespaces, macros and the like are refused. */
int value_to_string(struct jinja_run *run, const struct jinja_value *value, struct jinja_value *text);
/* value_part - bytes [from, to) of a string, borrowed. */
struct jinja_value value_part(const struct jinja_value *text, size_t from, size_t to);
/* value_join - two strings, one after the other; a rope where they are long.  value_flatten - a rope becomes a
 * string like others; anything else stays what it is. */
struct jinja_value value_join(struct jinja_run *run, const struct jinja_value *a,
                              const struct jinja_value *b);
void value_flatten(struct jinja_run *run, struct jinja_value *value);
/* value_append - to = to and text; -1 with err set where the text grows, or the template runs, beyond its bound. */
int value_append(struct jinja_run *run, struct jinja_value *to, const struct jinja_value *text);
/* value_copy_origins - those of a string that is not a rope, one for each byte. */
void value_copy_origins(uint16_t *origins, const struct jinja_value *text);
/* value_strip - without the characters of set at its sides; set NULL: white space. */
struct jinja_value value_strip(const struct jinja_value *text, const struct jinja_value *set, bool left,
                               bool right);
struct jinja_value value_list(struct jinja_run *run, size_t room);
/* value_pairs - names and values of a dictionary; value_names - the names alone. */
struct jinja_value value_pairs(struct jinja_run *run, const struct jinja_dict *dict);
struct jinja_value value_names(struct jinja_run *run, const struct jinja_dict *dict);
void dict_set(struct jinja_pool *pool, struct jinja_dict *dict, const char *name, struct jinja_value value);
/* dict_add - one that is known not to be there. */
void dict_add(struct jinja_pool *pool, struct jinja_dict *dict, const char *name, struct jinja_value value);
const struct jinja_value *dict_find(const struct jinja_dict *dict, const char *name);
/* dict_find_text - the same for a STRING, which may hold NUL. */
const struct jinja_value *dict_find_text(const struct jinja_dict *dict, const struct jinja_value *name);

/* --- what has a name in Jinja; args: evaluated, with their keywords --- */
enum { JINJA_MAX_ARGS = 12, JINJA_MAX_PARAMS = 4 };
struct jinja_args {
    struct jinja_value values[JINJA_MAX_ARGS];
    const char *keywords[JINJA_MAX_ARGS];
    int count;
};

/* jinja_call - NODE_CALL; jinja_eval_args - what stands between the brackets of a call, a filter or a test
 * (jinja_call.c). */
int jinja_call(struct jinja_run *run, const struct node *node, struct jinja_value *value);
int jinja_eval_args(struct jinja_run *run, const struct node *list, struct jinja_args *args);
/* jinja_calculate - '-', '*' and so on.  jinja_concat - '~', and '+' of whatever has a sum; sides may be ropes. */
int jinja_calculate(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                    const struct jinja_value *b, struct jinja_value *value);
int jinja_concat(struct jinja_run *run, const char *sign, const struct jinja_value sides[2],
                 struct jinja_value *value);
/* jinja_compare - by "==", "<", "in" and so on.  jinja_is_in - 'a in b'. */
int jinja_compare(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                  const struct jinja_value *b, bool *is);
int jinja_is_in(struct jinja_run *run, const struct jinja_value *a, const struct jinja_value *b, bool *is_in);

/* Parameters as Python has them: what is called with others is refused. */
struct jinja_signature {
    const char *name;
    int min;                                  /* so many must be given */
    const char *params[JINJA_MAX_PARAMS + 1]; /* their names; "": by place alone */
};
/* args_bind - given[i]: the argument for params[i], or NULL.  Returns 0, or -1 with err set. */
int args_bind(struct jinja_run *run, const struct jinja_signature *signature, const struct jinja_args *args,
              const struct jinja_value *given[JINJA_MAX_PARAMS]);

/* jinja_json.c: the filter 'tojson'; given: its four parameters, as transformers has them. */
int jinja_to_json(struct jinja_run *run, const struct jinja_value *value,
                  const struct jinja_value *const *given, struct jinja_value *result);
/* jinja_json_read.c: a value of JSON, borrowed, whose texts and names all have this origin. */
struct json_t;
struct jinja_value value_from_json(struct jinja_run *run, const struct json_t *json, uint16_t origin);
/* jinja_repr.c: Python's repr() of a number with a point. */
void jinja_write_real(double real, char out[JINJA_REAL_BYTES]);
/* jinja_compare.c: which of two numbers or two strings comes first: *order below, at or above 0; sign is for the
 * message. */
int value_order(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                const struct jinja_value *b, int *order);
/* jinja_get_attribute - 'object.name'.  jinja_get_item - 'object[index]'.  jinja_slice - 'object[a:b:c]', NONE for what
 * is not given (jinja_part.c). */
int jinja_get_attribute(struct jinja_run *run, const struct jinja_value *object, const char *name,
                        struct jinja_value *value);
int jinja_slice(struct jinja_run *run, const struct jinja_value *object, const struct jinja_value by[3],
                struct jinja_value *value);
int jinja_get_item(struct jinja_run *run, const struct jinja_value *object, const struct jinja_value *index,
                   struct jinja_value *value);

/* jinja_names.c */
int jinja_test(struct jinja_run *run, const char *name, const struct jinja_value *value,
               const struct jinja_args *args, bool *result);
int jinja_function(struct jinja_run *run, const char *name, const struct jinja_args *args,
                   struct jinja_value *result);
/* jinja_is_function - a name that transformers gives every template; 'is defined' is true of it. */
bool jinja_is_function(const char *name);
/* jinja_has_method - whether Python's value has an attribute of this name that we have no value for. */
bool jinja_has_method(const struct jinja_value *object, const char *name);
/* jinja_filter.c */
int jinja_filter(struct jinja_run *run, const char *name, const struct jinja_value *value,
                 const struct jinja_args *args, struct jinja_value *result);
/* jinja_items - what a filter goes over, as a list: the characters of a string, the names of a dictionary; filter ""
 * for a loop.  jinja_no_item - what stands for the first of none. */
int jinja_items(struct jinja_run *run, const char *filter, const struct jinja_value *value,
                struct jinja_value *list);
struct jinja_value jinja_no_item(void);
/* jinja_select.c: the filters that look at each item.  jinja_goes_through - whether this is one of them. */
bool jinja_goes_through(const char *name);
int jinja_go_through(struct jinja_run *run, const char *name, const struct jinja_value *list,
                     const struct jinja_args *args, struct jinja_value *result);
int jinja_dict_sort(struct jinja_run *run, const struct jinja_value *dict,
                    const struct jinja_value *const *given, struct jinja_value *result);
/* jinja_number.c: filters; given: their parameters. */
int jinja_to_int(struct jinja_run *run, const struct jinja_value *value,
                 const struct jinja_value *const *given, struct jinja_value *result);
int jinja_to_float(struct jinja_run *run, const struct jinja_value *value,
                   const struct jinja_value *const *given, struct jinja_value *result);
int jinja_abs(struct jinja_run *run, const struct jinja_value *value, const struct jinja_value *const *given,
              struct jinja_value *result);
int jinja_round(struct jinja_run *run, const struct jinja_value *value,
                const struct jinja_value *const *given, struct jinja_value *result);
/* jinja_method.c */
int jinja_method(struct jinja_run *run, const struct jinja_value *object, const char *name,
                 const struct jinja_args *args, struct jinja_value *result);
/* jinja_wrong - "the filter 'x' of a list is not supported".  Returns -1. */
int jinja_wrong(struct jinja_run *run, const char *what, const char *name, const struct jinja_value *value);

/* --- text (jinja_text.c) --- */
enum letter_case { CASE_UPPER, CASE_LOWER, CASE_CAPITALIZE, CASE_TITLE_FILTER, CASE_TITLE_METHOD };
/* text_change_case - of letters that have one other case alone; others are refused. */
int text_change_case(struct jinja_run *run, enum letter_case wanted, const struct jinja_value *text,
                     struct jinja_value *result);
/* text_at - where part is found in text at or after from, or -1.  text_last_at - where the last one before end is. */
int64_t text_at(const struct jinja_value *text, const struct jinja_value *part, size_t from);
int64_t text_last_at(const struct jinja_value *text, const struct jinja_value *part, size_t end);
/* text_replace - the first occurrences, at most so many; most below 0: all. */
int text_replace(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *old,
                 const struct jinja_value *with, int64_t most, struct jinja_value *result);
/* text_split - by a separator, at most so many times.  text_words - by white space.  text_lines - by ends of lines. */
int text_split(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *by,
               int64_t most, bool from_right, struct jinja_value *result);
int text_words(struct jinja_run *run, const struct jinja_value *text, int64_t most,
               struct jinja_value *result);
int text_lines(struct jinja_run *run, const struct jinja_value *text, bool keep_ends,
               struct jinja_value *result);
/* text_html - with the five characters of HTML written as their names. */
int text_html(struct jinja_run *run, struct jinja_value *text);
/* jinja_format.c: 'text %s' % values; 'text {}'.format(...). */
int text_percent(struct jinja_run *run, const struct jinja_value *format, const struct jinja_value *values,
                 struct jinja_value *result);
int text_format(struct jinja_run *run, const struct jinja_value *format, const struct jinja_args *args,
                struct jinja_value *result);
/* text_num_characters - code points of a STRING.  text_character_at - the byte where the i-th starts. */
int64_t text_num_characters(const struct jinja_value *text);
size_t text_character_at(const struct jinja_value *text, int64_t i);
