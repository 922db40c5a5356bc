/* jinja_call.c - functions, macros and methods that an expression calls.  See jinja_parts.h. */
#include "data/template/jinja_parts.h"

/* From the innermost scope outwards; inner names hide outer ones. */
const struct jinja_value *jinja_find(const struct jinja_run *run, const char *name) {
    for (const struct jinja_scope *scope = run->scope; scope; scope = scope->outer) {
        const struct jinja_value *found = dict_find(&scope->names, name);
        if (found)
            return found;
    }
    return NULL;
}

int jinja_eval_args(struct jinja_run *run, const struct node *list, struct jinja_args *args) {
    *args = (struct jinja_args){.count = 0};
    for (const struct node *arg = list; arg; arg = arg->next) {
        if (args->count == JINJA_MAX_ARGS)
            return err_set(run->err, "more than %d arguments are not supported", JINJA_MAX_ARGS);
        args->keywords[args->count] = arg->keyword;
        if (run->eval(run, arg, &args->values[args->count++]) != 0)
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
        if (!is_given && param->a && run->eval(run, param->a, &value) != 0)
            return -1;
        dict_set(&run->pool, &run->scope->names, param->keyword, value);
    }
    return num_given == args->count
               ? 0
               : err_set(run->err, "the macro '%.40s' with other arguments than it takes", macro->name);
}

/* call_macro - its text; it sees what stood around it, not what the one that calls it has.  body: its 'caller'. */
static int call_macro(struct jinja_run *run, const struct jinja_value *macro, const struct jinja_args *args,
                      const struct jinja_value *body, struct jinja_value *result) {
    static const struct jinja_value nobody = {.kind = JINJA_UNDEFINED, .bytes = "caller"};
    struct jinja_scope *before = run->scope, *scope = pool_take(&run->pool, sizeof *scope);
    if (++run->num_calls > JINJA_MAX_CALLS)
        return err_set(run->err, "more than %d macros inside each other are not supported", JINJA_MAX_CALLS);
    scope->outer = macro->around;
    run->scope = scope;
    dict_set(&run->pool, &scope->names, "caller", body ? *body : nobody);
    int status = give_args(run, macro->macro, args);
    if (status == 0)
        status = run->run_apart(run, macro->macro->body, result);
    run->scope = before;
    run->num_calls--;
    return status;
}

/* cycle - 'loop.cycle': its arguments in turn. */
static int cycle(struct jinja_run *run, const struct jinja_value *loop, const struct jinja_args *args,
                 struct jinja_value *value) {
    const struct jinja_value *at = dict_find(loop->dict, "index0");
    if (args->count == 0 || args->keywords[0])
        return err_set(run->err, "'loop.cycle' takes values");
    *value = args->values[at->number % args->count];
    return 0;
}

/* jinja_call - of a function, a macro or a method.  A value of the template hides a function of its name.  A field of a
 * namespace is not a method, but may hold a macro. */
int jinja_call(struct jinja_run *run, const struct node *node, struct jinja_value *value) {
    const struct node *callee = node->a;
    struct jinja_args args;
    struct jinja_value object;
    const struct jinja_value *body =
        run->caller; /* of a call block: for this call, not for those in its arguments */
    run->caller = NULL;
    if (jinja_eval_args(run, node->args, &args) != 0)
        return -1;
    if (callee->kind == NODE_NAME && !jinja_find(run, callee->name))
        return jinja_function(run, callee->name, &args, value);
    const struct jinja_value *named = callee->kind == NODE_NAME ? jinja_find(run, callee->name) : NULL;
    if (named && named->kind == JINJA_MACRO)
        return call_macro(run, named, &args, body, value);
    if (callee->kind == NODE_NAME)
        return err_set(run->err, "'%.60s', %s, cannot be called", callee->name, value_kind_name(named));
    if (callee->kind != NODE_ATTRIBUTE)
        return err_set(run->err, "this call is not supported");
    if (run->eval(run, callee->a, &object) != 0)
        return -1;
    if (object.kind == JINJA_UNDEFINED)
        return err_set(run->err, "'%.60s' is undefined", object.bytes ? object.bytes : "a value");
    if (object.kind == JINJA_LOOP && strcmp(callee->name, "cycle") == 0)
        return cycle(run, &object, &args, value);
    const struct jinja_value *field =
        object.kind == JINJA_NAMESPACE ? dict_find(object.dict, callee->name) : NULL;
    if (field && field->kind == JINJA_MACRO)
        return call_macro(run, field, &args, body, value);
    return jinja_method(run, &object, callee->name, &args, value);
}
