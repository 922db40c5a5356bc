/* jinja_operator.c - operators of two sides.  See jinja_parts.h. */
#include "data/template/jinja_parts.h"

static int eval_in(struct jinja_run *run, const struct jinja_value *a, const struct jinja_value *b,
                   bool *is_in) {
    *is_in = false;
    if (b->kind == JINJA_STRING && a->kind == JINJA_STRING) {
        *is_in = a->count == 0 || memmem(b->bytes, b->count, a->bytes, a->count) != NULL;
        return 0;
    }
    if (b->kind == JINJA_DICT && a->kind == JINJA_STRING) {
        *is_in = dict_find_text(b->dict, a) != NULL;
        return 0;
    }
    if (b->kind != JINJA_LIST && b->kind != JINJA_UNDEFINED)
        return err_set(run->err, "'in' with %s is not supported", value_kind_name(b));
    for (size_t i = 0; b->kind == JINJA_LIST && i < b->count; i++)
        *is_in = *is_in || value_equal(a, &b->list[i]);
    return 0;
}

static int eval_sum(struct jinja_run *run, const char *sign, const struct jinja_value *a,
                    const struct jinja_value *b, struct jinja_value *value) {
    if (a->kind == JINJA_LIST && b->kind == JINJA_LIST && sign[0] == '+' && a->sequence == SEQUENCE_LIST &&
        b->sequence == SEQUENCE_LIST) {
        *value = value_list(run, a->count + b->count);
        memcpy(value->list, a->list, a->count * sizeof *a->list);
        memcpy(value->list + a->count, b->list, b->count * sizeof *b->list);
        value->count = a->count + b->count;
        return 0;
    }
    bool are_numbers =
        (a->kind == JINJA_INT || a->kind == JINJA_BOOL) && (b->kind == JINJA_INT || b->kind == JINJA_BOOL);
    bool divides = sign[0] == '%' || strcmp(sign, "//") == 0;
    int64_t x = a->number, y = b->number, result = 0;
    if (!are_numbers || strcmp(sign, "/") == 0 || (divides && y <= 0) || (divides && x < 0) ||
        (sign[0] == '+' && __builtin_add_overflow(x, y, &result)) ||
        (sign[0] == '-' && __builtin_sub_overflow(x, y, &result)) ||
        (sign[0] == '*' && __builtin_mul_overflow(x, y, &result))) {
        bool is_missing = a->kind == JINJA_UNDEFINED;
        const struct jinja_value *odd = is_missing ? a : b;
        return err_set(run->err, "'%s' of %s and %s%s%.60s is not supported", sign, value_kind_name(a),
                       value_kind_name(b), odd->kind == JINJA_UNDEFINED && odd->bytes ? ": " : "",
                       odd->kind == JINJA_UNDEFINED && odd->bytes ? odd->bytes : "");
    }
    *value = value_int(!divides ? result : sign[0] == '%' ? x % y : x / y);
    return 0;
}

/* eval_join - '~', and '+' of whatever has a sum. */
static int eval_join(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    struct jinja_value a, b;
    if (jinja_eval_rope(run, node->a, &a) != 0 || jinja_eval_rope(run, node->b, &b) != 0)
        return -1;
    if (node->name[0] == '+' && (a.kind != JINJA_STRING || b.kind != JINJA_STRING))
        return eval_sum(run, node->name, &a, &b, value);
    if (value_to_string(run, &a, &a) != 0 || value_to_string(run, &b, &b) != 0)
        return -1;
    if (a.count + b.count > run->max_bytes)
        return err_set(run->err, "the template takes too much memory");
    *value = value_join(run, &a, &b);
    return 0;
}

int jinja_binary(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    const char *sign = node->name;
    struct jinja_value a, b;
    bool is = false;
    if (sign[0] == '~' || sign[0] == '+')
        return eval_join(run, node, value);
    if (jinja_eval(run, node->a, &a) != 0 || jinja_eval(run, node->b, &b) != 0)
        return -1;
    if (strcmp(sign, "==") == 0 || strcmp(sign, "!=") == 0) {
        *value = value_bool(value_equal(&a, &b) == (sign[0] == '='));
        return 0;
    }
    if (strcmp(sign, "in") == 0 || strcmp(sign, "not in") == 0) {
        if (eval_in(run, &a, &b, &is) != 0)
            return -1;
        *value = value_bool(is == (sign[0] == 'i'));
        return 0;
    }
    if (sign[0] != '<' && sign[0] != '>')
        return eval_sum(run, sign, &a, &b, value);
    if ((a.kind != JINJA_INT && a.kind != JINJA_BOOL) || (b.kind != JINJA_INT && b.kind != JINJA_BOOL))
        return err_set(run->err, "'%s' of %s and %s is not supported", sign, value_kind_name(&a),
                       value_kind_name(&b));
    bool is_less = sign[0] == '<' ? a.number < b.number : a.number > b.number;
    *value = value_bool(is_less || (sign[1] == '=' && a.number == b.number));
    return 0;
}
