/* jinja_eval.c - the values of expressions.  See jinja_parts.h. */
#include "data/template/jinja_parts.h"

/* undefined - what Jinja2 gives for a name or a field that is not there: no error until it is used as a value.
 * what: its name, borrowed, for the message then. */
static struct jinja_value undefined(const char *what) {
    return (struct jinja_value){.kind = JINJA_UNDEFINED, .bytes = what};
}

/* --- names --- */

/* is_token - transformers gives templates all special tokens, we three of them.  Another one's name would be
 * undefined and print nothing where transformers prints a token, so it is refused. */
static bool is_token(const char *name) {
    size_t length = strlen(name);
    if (strcmp(name, "additional_special_tokens") == 0 || strcmp(name, "extra_special_tokens") == 0)
        return true;
    return length > 6 && strcmp(name + length - 6, "_token") == 0 && strcmp(name, "bos_token") != 0 &&
           strcmp(name, "eos_token") != 0 && strcmp(name, "pad_token") != 0;
}

/* is_implied - names that Jinja2 itself gives a template or a macro. */
static bool is_implied(const char *name) {
    static const char *const names[] = {"self", "caller", "varargs", "kwargs"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* eval_name - the search costs what the scopes hold, found or not.  A function that is not called would be printed
 * by Python as an address: refused. */
static int eval_name(struct jinja_run *run, const char *name, struct jinja_value *value) {
    const struct jinja_value *found = jinja_find(run, name);
    for (const struct jinja_scope *scope = run->scope; scope; scope = scope->outer)
        jinja_count_entries(run, &scope->names);
    if (!found && is_token(name))
        return err_set(run->err, "it asks for the token '%.40s', which is not supported", name);
    if (!found && (jinja_is_function(name) || is_implied(name)))
        return err_set(run->err, "'%.40s' as a value is not supported", name);
    *value = found ? *found : undefined(name);
    return 0;
}

/* eval_slice - a[b:c:d]; NONE for what was left out, as in Python's slice objects. */
static int eval_slice(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    const struct node *parts[] = {node->b, node->c, node->d};
    struct jinja_value object, by[3];
    if (jinja_eval(run, node->a, &object) != 0)
        return -1;
    for (int i = 0; i < 3; i++) {
        by[i] = (struct jinja_value){.kind = JINJA_NONE};
        if (parts[i] && jinja_eval(run, parts[i], &by[i]) != 0)
            return -1;
    }
    return jinja_slice(run, &object, by, value);
}

/* --- operators --- */

/* eval_binary - the sides of '~' and '+' may stay ropes: they are only put together.  Words begin with 'i' or 'n'
 * ("in", "not in"), the other comparisons with one of "=!<>". */
static int eval_binary(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    const char *sign = node->name;
    struct jinja_value sides[2];
    bool is = false;
    if (sign[0] == '~' || sign[0] == '+')
        return jinja_eval_rope(run, node->a, &sides[0]) != 0 || jinja_eval_rope(run, node->b, &sides[1]) != 0
                   ? -1
                   : jinja_concat(run, sign, sides, value);
    if (jinja_eval(run, node->a, &sides[0]) != 0 || jinja_eval(run, node->b, &sides[1]) != 0)
        return -1;
    if (!strchr("=!<>in", sign[0]))
        return jinja_calculate(run, sign, &sides[0], &sides[1], value);
    int status = jinja_compare(run, sign, &sides[0], &sides[1], &is);
    *value = value_bool(is);
    return status;
}

/* eval_chain - 'a < b <= c': each side is looked at once, and none after the first comparison that does not hold. */
static int eval_chain(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    struct jinja_value left, right;
    bool is = true;
    if (jinja_eval(run, node->a, &left) != 0)
        return -1;
    for (const struct node *part = node->args; part && is; part = part->next) {
        if (jinja_eval(run, part->a, &right) != 0 || jinja_compare(run, part->name, &left, &right, &is) != 0)
            return -1;
        left = right;
    }
    *value = value_bool(is);
    return 0;
}

/* asks_for_function - 'raise_exception is defined': the one thing that is said of a function. */
static bool asks_for_function(const struct jinja_run *run, const struct node *node) {
    return node->kind == NODE_TEST && !node->args && node->a->kind == NODE_NAME &&
           (strcmp(node->name, "defined") == 0 || strcmp(node->name, "undefined") == 0) &&
           jinja_is_function(node->a->name) && !jinja_find(run, node->a->name);
}

/* eval_named - a filter or a test.  A filter alone may stand after a STREAM ('items | list'), so that its object is
 * evaluated by jinja_eval_any. */
static int eval_named(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    struct jinja_value object;
    struct jinja_args args;
    bool result = false;
    if (asks_for_function(run, node)) {
        *value = value_bool(node->name[0] == 'd');
        return 0;
    }
    if (node->kind == NODE_FILTER) {
        if (jinja_eval_any(run, node->a, &object) != 0 || jinja_eval_args(run, node->args, &args) != 0)
            return -1;
        value_flatten(run, &object);
        return jinja_filter(run, node->name, &object, &args, value);
    }
    if (jinja_eval(run, node->a, &object) != 0 || jinja_eval_args(run, node->args, &args) != 0)
        return -1;
    int status = jinja_test(run, node->name, &object, &args, &result);
    *value = value_bool(result);
    return status;
}

/* eval_dict - keys are strings; the last value of a key counts, in the place of the first.  A name is a C string,
 * so that a key with NUL would be taken for a shorter one: refused. */
static int eval_dict(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    struct jinja_dict *dict = pool_take(&run->pool, sizeof *dict);
    struct jinja_value key, item;
    dict->has_order = true;
    for (const struct node *at = node->args; at; at = at->next->next) {
        if (jinja_eval(run, at, &key) != 0 || jinja_eval(run, at->next, &item) != 0)
            return -1;
        if (key.kind != JINJA_STRING || memchr(key.bytes, '\0', key.count))
            return err_set(run->err, "a dictionary with a key that is %s is not supported",
                           value_kind_name(&key));
        char *name = pool_take(&run->pool, key.count + 1);
        memcpy(name, key.bytes, key.count);
        dict_set(&run->pool, dict, name, item);
        jinja_count_entries(run, dict);
        if (jinja_count_step(run) != 0)
            return -1;
    }
    *value = (struct jinja_value){.kind = JINJA_DICT, .dict = dict};
    return 0;
}

static int eval_list(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    size_t count = 0;
    for (const struct node *item = node->args; item; item = item->next)
        count++;
    *value = value_list(run, count);
    value->sequence = node->kind == NODE_TUPLE ? SEQUENCE_TUPLE : SEQUENCE_LIST;
    for (const struct node *item = node->args; item; item = item->next)
        if (jinja_eval(run, item, &value->list[value->count++]) != 0)
            return -1;
    return 0;
}

/* eval_choice - 'a if b else c': what is not needed is not looked at. */
static int eval_choice(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    if (jinja_eval(run, node->b, value) != 0)
        return -1;
    if (value_is_true(value))
        return jinja_eval_rope(run, node->a, value);
    *value = undefined("the other choice");
    return node->c ? jinja_eval_rope(run, node->c, value) : 0;
}

/* eval_logic - and, or, not.  As in Python 'and' and 'or' give one of their sides, not true or false, and look at
 * the second only where the first does not decide. */
static int eval_logic(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    if (jinja_eval(run, node->a, value) != 0)
        return -1;
    bool is = value_is_true(value);
    if (node->kind == NODE_NOT) {
        *value = value_bool(!is);
        return 0;
    }
    return is == (node->kind == NODE_AND) ? jinja_eval(run, node->b, value) : 0;
}

/* eval_negate - of numbers alone: minus true, which is -1 in Python, is refused. */
static int eval_negate(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    if (jinja_eval(run, node->a, value) != 0)
        return -1;
    if (value->kind == JINJA_FLOAT) {
        value->real = -value->real;
        return 0;
    }
    if (value->kind != JINJA_INT || __builtin_sub_overflow(0, value->number, &value->number))
        return err_set(run->err, "minus %s is not supported", value_kind_name(value));
    return 0;
}

/* eval_node - one node without the checks of its callers: the value may be a rope or a STREAM. */
static int eval_node(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    struct jinja_value object, index;
    if (jinja_count_step(run) != 0)
        return -1;
    switch (node->kind) {
    case NODE_LITERAL:
        *value = node->value;
        return 0;
    case NODE_NAME:
        return eval_name(run, node->name, value);
    case NODE_LIST:
    case NODE_TUPLE:
        return eval_list(run, node, value);
    case NODE_DICT:
        return eval_dict(run, node, value);
    case NODE_ATTRIBUTE:
        return jinja_eval(run, node->a, &object) != 0 ? -1
                                                      : jinja_get_attribute(run, &object, node->name, value);
    case NODE_INDEX:
        if (jinja_eval(run, node->a, &object) != 0 || jinja_eval(run, node->b, &index) != 0)
            return -1;
        return jinja_get_item(run, &object, &index, value);
    case NODE_SLICE:
        return eval_slice(run, node, value);
    case NODE_CALL:
        return jinja_call(run, node, value);
    case NODE_FILTER:
    case NODE_TEST:
        return eval_named(run, node, value);
    case NODE_NOT:
    case NODE_AND:
    case NODE_OR:
        return eval_logic(run, node, value);
    case NODE_CHOICE:
        return eval_choice(run, node, value);
    case NODE_NEGATE:
        return eval_negate(run, node, value);
    case NODE_BINARY:
        return eval_binary(run, node, value);
    case NODE_CHAIN:
        return eval_chain(run, node, value);
    default:
        die("a statement of kind %d as a value", (int)node->kind);
    }
}

void jinja_name_line(struct jinja_run *run, const struct node *node) {
    if (!run->has_line && !run->has_raised && node->line > 0)
        err_prefix(run->err, "line %d", node->line);
    run->has_line = true;
}

/* Each level takes some of the C stack.  The parser bounds brackets and blocks; chains like a.b.c or 'a' ~ 'b' ~
 * 'c' make trees that are deeper than those, and macros nest whole trees. */
int jinja_eval_any(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    if (++run->depth > JINJA_MAX_NESTED)
        return err_set(run->err, "an expression of more than %d parts", JINJA_MAX_NESTED);
    int status = eval_node(run, node, value);
    if (status != 0)
        jinja_name_line(run, node);
    run->depth--;
    return status;
}

int jinja_eval_rope(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    if (jinja_eval_any(run, node, value) != 0)
        return -1;
    if (value->kind == JINJA_STREAM)
        return err_set(run->err,
                       "items that a filter selected are supported in a loop and before the filters "
                       "'list', 'first' and 'join' alone");
    return 0;
}

/* A flat value is a copy in the pool, so the bound on memory is asked for here as well as at each step. */
int jinja_eval(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    if (jinja_eval_rope(run, node, value) != 0)
        return -1;
    value_flatten(run, value);
    return run->pool.total_bytes > run->max_bytes ? err_set(run->err, "the template takes too much memory")
                                                  : 0;
}
