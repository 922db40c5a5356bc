/* jinja_eval.c - the values of expressions.  See jinja_parts.h. */
#include "data/template/jinja_parts.h"

static struct jinja_value undefined(const char *what) {
    return (struct jinja_value){.kind = JINJA_UNDEFINED, .bytes = what};
}

/* --- names --- */

const struct jinja_value *jinja_find(const struct jinja_run *run, const char *name) {
    for (const struct jinja_scope *scope = run->scope; scope; scope = scope->outer) {
        const struct jinja_value *found = dict_find(&scope->names, name);
        if (found)
            return found;
    }
    return NULL;
}

/* is_token - transformers gives templates all special tokens, we two of them. */
static bool is_token(const char *name) {
    size_t length = strlen(name);
    if (strcmp(name, "additional_special_tokens") == 0 || strcmp(name, "extra_special_tokens") == 0)
        return true;
    return length > 6 && strcmp(name + length - 6, "_token") == 0 && strcmp(name, "bos_token") != 0 &&
           strcmp(name, "eos_token") != 0;
}

/* is_implied - names that Jinja2 itself gives a template or a macro. */
static bool is_implied(const char *name) {
    static const char *const names[] = {"self", "caller", "varargs", "kwargs"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int eval_name(struct jinja_run *run, const char *name, struct jinja_value *value) {
    const struct jinja_value *found = jinja_find(run, name);
    if (!found && is_token(name))
        return err_set(run->err, "it asks for the token '%.40s', which is not supported", name);
    if (!found && (jinja_is_function(name) || is_implied(name)))
        return err_set(run->err, "'%.40s' as a value is not supported", name);
    *value = found ? *found : undefined(name);
    return 0;
}

/* --- parts of a value --- */

static bool has_fields(const struct jinja_value *object) {
    return object->kind == JINJA_DICT || object->kind == JINJA_NAMESPACE || object->kind == JINJA_LOOP;
}

/* get_attribute - 'a.name'.  As in Jinja2 Python's own attributes come first: they are refused. */
static int get_attribute(struct jinja_run *run, const struct jinja_value *object, const char *name,
                         struct jinja_value *value) {
    if (object->kind == JINJA_UNDEFINED)
        return err_set(run->err, "'%.60s' is undefined", object->bytes ? object->bytes : name);
    if (jinja_has_method(object, name))
        return err_set(run->err, "the method '%.40s' as a value is not supported", name);
    const struct jinja_value *found = has_fields(object) ? dict_find(object->dict, name) : NULL;
    *value = found ? *found : undefined(name);
    return 0;
}

/* get_field - "a['name']": here a field comes first. */
static int get_field(struct jinja_run *run, const struct jinja_value *object, const struct jinja_value *name,
                     struct jinja_value *value) {
    const struct jinja_value *found = has_fields(object) ? dict_find_text(object->dict, name) : NULL;
    if (found) {
        *value = *found;
        return 0;
    }
    char *text = pool_take(&run->pool, name->count + 1);
    memcpy(text, name->bytes, name->count);
    return get_attribute(run, object, text, value);
}

static int64_t length_of(const struct jinja_value *value) {
    return value->kind == JINJA_STRING ? text_num_characters(value) : (int64_t)value->count;
}

static int get_item(struct jinja_run *run, const struct jinja_value *object, const struct jinja_value *index,
                    struct jinja_value *value) {
    if (object->kind == JINJA_UNDEFINED)
        return err_set(run->err, "'%.60s' is undefined", object->bytes ? object->bytes : "a value");
    if (index->kind == JINJA_STRING)
        return get_field(run, object, index, value);
    if (index->kind != JINJA_INT)
        return err_set(run->err, "an index that is %s is not supported", value_kind_name(index));
    *value = undefined("an item beyond the end");
    if (object->kind != JINJA_LIST && object->kind != JINJA_STRING)
        return 0;
    int64_t length = length_of(object), at = index->number < 0 ? length + index->number : index->number;
    if (at < 0 || at >= length)
        return 0;
    *value = object->kind == JINJA_LIST
                 ? object->list[at]
                 : value_part(object, text_character_at(object, at), text_character_at(object, at + 1));
    return 0;
}

/* slice_part - one of the three numbers of a slice; missing: the fallback. */
static int slice_part(struct jinja_run *run, const struct node *node, int64_t fallback, int64_t *number) {
    struct jinja_value value = value_int(fallback);
    if (node && jinja_eval(run, node, &value) != 0)
        return -1;
    if (value.kind != JINJA_INT && value.kind != JINJA_NONE)
        return err_set(run->err, "a slice by %s is not supported", value_kind_name(&value));
    *number = value.kind == JINJA_NONE ? fallback : value.number;
    return 0;
}

static int64_t clamp(int64_t at, int64_t length) {
    at = at < 0 ? at + length : at;
    return at < 0 ? 0 : at > length ? length : at;
}

static int eval_slice(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    struct jinja_value object;
    int64_t step = 1, first = 0, end = 0;
    if (jinja_eval(run, node->a, &object) != 0 || slice_part(run, node->d, 1, &step) != 0)
        return -1;
    int64_t length = length_of(&object);
    if (step == -1 && !node->b && !node->c && object.kind == JINJA_LIST) {
        *value = value_list(run, object.count);
        value->sequence = object.sequence;
        for (size_t i = object.count; i-- > 0;)
            value->list[value->count++] = object.list[i];
        return 0;
    }
    if (step != 1 || (object.kind != JINJA_LIST && object.kind != JINJA_STRING))
        return err_set(run->err, "this slice of %s is not supported", value_kind_name(&object));
    if (slice_part(run, node->b, 0, &first) != 0 || slice_part(run, node->c, length, &end) != 0)
        return -1;
    first = clamp(first, length);
    end = clamp(end, length);
    end = end < first ? first : end;
    if (object.kind == JINJA_STRING) {
        *value = value_part(&object, text_character_at(&object, first), text_character_at(&object, end));
        return 0;
    }
    *value = object;
    value->list += first;
    value->count = (size_t)(end - first);
    return 0;
}

/* asks_for_function - 'raise_exception is defined': the one thing that is said of a function. */
static bool asks_for_function(const struct jinja_run *run, const struct node *node) {
    return node->kind == NODE_TEST && !node->args && node->a->kind == NODE_NAME &&
           (strcmp(node->name, "defined") == 0 || strcmp(node->name, "undefined") == 0) &&
           jinja_is_function(node->a->name) && !jinja_find(run, node->a->name);
}

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

/* eval_dict - keys are strings; the last value of a key counts, in the place of the first. */
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

/* eval_logic - and, or, not. */
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

static int eval_negate(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    if (jinja_eval(run, node->a, value) != 0)
        return -1;
    if (value->kind != JINJA_INT || __builtin_sub_overflow(0, value->number, &value->number))
        return err_set(run->err, "minus %s is not supported", value_kind_name(value));
    return 0;
}

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
        return jinja_eval(run, node->a, &object) != 0 ? -1 : get_attribute(run, &object, node->name, value);
    case NODE_INDEX:
        if (jinja_eval(run, node->a, &object) != 0 || jinja_eval(run, node->b, &index) != 0)
            return -1;
        return get_item(run, &object, &index, value);
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
        return jinja_binary(run, node, value);
    default:
        die("a statement of kind %d as a value", (int)node->kind);
    }
}

int jinja_eval_any(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    if (++run->depth > JINJA_MAX_NESTED)
        return err_set(run->err, "an expression of more than %d parts", JINJA_MAX_NESTED);
    int status = eval_node(run, node, value);
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

int jinja_eval(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    if (jinja_eval_rope(run, node, value) != 0)
        return -1;
    value_flatten(run, value);
    return run->pool.total_bytes > run->max_bytes ? err_set(run->err, "the template takes too much memory")
                                                  : 0;
}
