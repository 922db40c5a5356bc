/* jinja_call.c - functions, macros and methods that an expression calls.  See jinja_parts.h. */
#include "data/template/jinja_parts.h"

int jinja_eval_args(struct jinja_run *run, const struct node *list, struct jinja_args *args) {
    *args = (struct jinja_args){.count = 0};
    for (const struct node *arg = list; arg; arg = arg->next) {
        if (args->count == JINJA_MAX_ARGS)
            return err_set(run->err, "more than %d arguments are not supported", JINJA_MAX_ARGS);
        args->keywords[args->count] = arg->keyword;
        if (jinja_eval(run, arg, &args->values[args->count++]) != 0)
            return -1;
    }
    return 0;
}

/* give_args - the arguments of a macro become names in its scope. */
static int give_args(struct jinja_run *run, const struct node *macro, const struct jinja_args *args) {
    int num_given = 0, place = 0;
    for (const struct node *param = macro->args; param; param = param->next, place++) {
        struct jinja_value value = {.kind = JINJA_UNDEFINED, .bytes = param->keyword};
        bool is_given = false;
        for (int i = 0; i < args->count; i++) {
            if (args->keywords[i] ? strcmp(args->keywords[i], param->keyword) != 0 : i != place)
                continue;
            if (is_given)
                return err_set(run->err, "the macro '%.40s' with two values of '%.40s'", macro->name,
                               param->keyword);
            value = args->values[i];
            is_given = true;
            num_given++;
        }
        if (!is_given && param->a && jinja_eval(run, param->a, &value) != 0)
            return -1;
        dict_set(&run->pool, &run->scope->names, param->keyword, value);
    }
    return num_given == args->count
               ? 0
               : err_set(run->err, "the macro '%.40s' with other arguments than it takes", macro->name);
}

/* call_macro - its text; it sees what the template has, not what its caller has. */
static int call_macro(struct jinja_run *run, const struct node *macro, const struct jinja_args *args,
                      struct jinja_value *result) {
    struct jinja_scope *caller = run->scope, *root = caller;
    if (++run->num_calls > JINJA_MAX_CALLS)
        return err_set(run->err, "more than %d macros inside each other are not supported", JINJA_MAX_CALLS);
    while (root->outer)
        root = root->outer;
    struct jinja_scope scope = {.outer = root};
    run->scope = &scope;
    int status = give_args(run, macro, args);
    if (status == 0)
        status = run->run_apart(run, macro->body, result);
    run->scope = caller;
    run->num_calls--;
    return status;
}

/* eval_call - of a function or of a method.  A field of a namespace is not a method. */
int jinja_call(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    const struct node *callee = node->a;
    struct jinja_args args;
    struct jinja_value object;
    if (jinja_eval_args(run, node->args, &args) != 0)
        return -1;
    if (callee->kind == NODE_NAME && !jinja_find(run, callee->name))
        return jinja_function(run, callee->name, &args, value);
    const struct jinja_value *named = callee->kind == NODE_NAME ? jinja_find(run, callee->name) : NULL;
    if (named && named->kind == JINJA_MACRO)
        return call_macro(run, named->macro, &args, value);
    if (callee->kind != NODE_ATTRIBUTE)
        return err_set(run->err, "this call is not supported");
    if (jinja_eval(run, callee->a, &object) != 0)
        return -1;
    if (object.kind == JINJA_UNDEFINED)
        return err_set(run->err, "'%.60s' is undefined", object.bytes ? object.bytes : "a value");
    return jinja_method(run, &object, callee->name, &args, value);
}
