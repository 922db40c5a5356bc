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
    int64_t number;          /* BOOL, INT */
    const char *bytes;       /* STRING; UNDEFINED: what was not there, for messages */
    const uint16_t *origins; /* STRING: of each byte, as in struct jinja_stretch; NULL: all are origin */
    uint16_t origin;
    struct jinja_rope *rope;  /* STRING: a long one that is still in two parts, without bytes and origins */
    size_t count;             /* bytes of a STRING, items of a LIST or STREAM */
    struct jinja_value *list; /* LIST, STREAM */
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
    bool has_order; /* which is known: not that of a message, which may have had other fields */
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
    NODE_CHOICE, /* a if b else c */
    /* statements */
    NODE_TEXT,  /* value */
    NODE_PRINT, /* a */
    NODE_IF,    /* a: body, otherwise: other */
    NODE_FOR,   /* name in a if b: body, otherwise: other */
    NODE_SET,   /* name = a; with target: target . name = a; without a: name = body */
    NODE_MACRO, /* name ( args: literals with their keyword, a: what stands for a missing one ): body */
    NODE_SCOPE, /* body */
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
    JINJA_MAX_CALLS = 50
};

struct jinja_scope {
    struct jinja_dict names;
    struct jinja_scope *outer;
};

struct jinja_run {
    struct jinja_pool pool;
    struct jinja_scope *scope;
    struct jinja_text *out;
    int64_t num_steps;
    int depth;        /* of expressions inside each other */
    int num_calls;    /* of macros inside each other */
    size_t max_bytes; /* of the pool, and of the text */
    bool has_raised, breaks, continues;
    /* jinja_run.c: the text of a body in a scope of its own, as a value */
    int (*run_apart)(struct jinja_run *run, const struct node *body, struct jinja_value *value);
    struct err *err;
};

/* jinja_find - the value of a name, or NULL; jinja_count_step - -1 with err set after too many. */
const struct jinja_value *jinja_find(const struct jinja_run *run, const char *name);
int jinja_count_step(struct jinja_run *run);
/* jinja_eval - the value of an expression (jinja_eval.c).  Returns 0, or -1 with run->err set; so do the rest.
 * jinja_eval_rope - the same where a STRING may still be a rope.  jinja_eval_any - where it may be a STREAM too,
 * which the others refuse. */
int jinja_eval(struct jinja_run *run, const struct node *node, struct jinja_value *value);
int jinja_eval_rope(struct jinja_run *run, const struct node *node, struct jinja_value *value);
int jinja_eval_any(struct jinja_run *run, const struct node *node, struct jinja_value *value);

/* --- values (jinja_value.c) --- */
/* value_string - borrows its bytes.  value_is_true - as Jinja takes a value in a condition: not none, not 0, not empty.
 * value_equal - by contents, lists and dictionaries element by element; true equals 1.  value_kind_name - for messages.
 * value_list - an empty one with room.  dict_set - replaces what has that name.  dict_find - NULL: absent. */
struct jinja_value value_string(const char *bytes);
struct jinja_value value_int(int64_t number);
struct jinja_value value_bool(bool is);
bool value_is_true(const struct jinja_value *value);
bool value_equal(const struct jinja_value *a, const struct jinja_value *b);
bool value_is_text(const struct jinja_value *value, const char *text);
const char *value_kind_name(const struct jinja_value *value);
/* value_to_string - what Jinja prints; lists and dictionaries are refused. */
int value_to_string(struct jinja_run *run, const struct jinja_value *value, struct jinja_value *text);
/* value_part - bytes [from, to) of a string, borrowed. */
struct jinja_value value_part(const struct jinja_value *text, size_t from, size_t to);
/* value_join - two strings, one after the other; a rope where they are long.  value_flatten - a rope becomes a
 * string like others; anything else stays what it is. */
struct jinja_value value_join(struct jinja_run *run, const struct jinja_value *a,
                              const struct jinja_value *b);
void value_flatten(struct jinja_run *run, struct jinja_value *value);
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

/* jinja_binary - NODE_BINARY (jinja_operator.c).  jinja_call - NODE_CALL; jinja_eval_args - what stands between the
 * brackets of a call, a filter or a test (jinja_call.c). */
int jinja_binary(struct jinja_run *run, const struct node *node, struct jinja_value *value);
int jinja_call(struct jinja_run *run, const struct node *node, struct jinja_value *value);
int jinja_eval_args(struct jinja_run *run, const struct node *list, struct jinja_args *args);

/* Parameters as Python has them: what is called with others is refused. */
struct jinja_signature {
    const char *name;
    int min;                                  /* so many must be given */
    const char *params[JINJA_MAX_PARAMS + 1]; /* their names; "": by place alone */
};
/* args_bind - given[i]: the argument for params[i], or NULL.  Returns 0, or -1 with err set. */
int args_bind(struct jinja_run *run, const struct jinja_signature *signature, const struct jinja_args *args,
              const struct jinja_value *given[JINJA_MAX_PARAMS]);

/* jinja_json.c: the filter 'tojson'. */
int jinja_to_json(struct jinja_run *run, const struct jinja_value *value, const struct jinja_value *indent,
                  struct jinja_value *result);

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
/* jinja_method.c */
int jinja_method(struct jinja_run *run, const struct jinja_value *object, const char *name,
                 const struct jinja_args *args, struct jinja_value *result);
/* jinja_wrong - "the filter 'x' of a list is not supported".  Returns -1. */
int jinja_wrong(struct jinja_run *run, const char *what, const char *name, const struct jinja_value *value);

/* --- text (jinja_text.c) --- */
enum letter_case { CASE_UPPER, CASE_LOWER, CASE_CAPITALIZE, CASE_TITLE_FILTER, CASE_TITLE_METHOD };
/* text_change_case - of ASCII; beyond it refused. */
int text_change_case(struct jinja_run *run, enum letter_case wanted, const struct jinja_value *text,
                     struct jinja_value *result);
/* text_replace - every occurrence.  text_split - by a separator. */
int text_replace(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *old,
                 const struct jinja_value *with, struct jinja_value *result);
int text_split(struct jinja_run *run, const struct jinja_value *text, const struct jinja_value *by,
               struct jinja_value *result);
/* text_num_characters - code points of a STRING.  text_character_at - the byte where the i-th starts. */
int64_t text_num_characters(const struct jinja_value *text);
size_t text_character_at(const struct jinja_value *text, int64_t i);
