/* jinja_run.c - a template with a conversation gives text.  See jinja.h. */
#include <stdlib.h>

#include "data/template/jinja_parts.h"

/* --- the result --- */

void jinja_text_release(struct jinja_text *out) {
    text_release(&out->text);
    free(out->stretches);
    *out = (struct jinja_text){0};
}

/* By halves: the stretches are in order. */
uint16_t jinja_text_origin(const struct jinja_text *text, size_t at_byte) {
    int64_t low = 0, high = text->num_stretches - 1; /* the first that ends after the byte */
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (text->stretches[middle].end_byte > at_byte)
            high = middle;
        else
            low = middle + 1;
    }
    return text->stretches[low].origin;
}

static int run_body(struct jinja_run *run, const struct node *node);

/* --- statements --- */

/* write_part - bytes of one origin to the end of the result.  They lengthen the last stretch where they can, so
 * that neighbours always differ, which jinja.h promises. */
static void write_part(struct jinja_text *out, const char *bytes, size_t length_bytes, uint16_t origin) {
    struct jinja_stretch *last = out->num_stretches > 0 ? &out->stretches[out->num_stretches - 1] : NULL;
    bool is_generated = origin & JINJA_GENERATED;
    origin &= (uint16_t)~JINJA_GENERATED;
    text_append(&out->text, bytes, length_bytes);
    if (last && last->origin == origin && last->is_generated == is_generated) {
        last->end_byte = out->text.length_bytes;
        return;
    }
    if (out->num_stretches == out->stretches_room) {
        out->stretches_room = out->stretches_room ? 2 * out->stretches_room : 64;
        out->stretches = xrealloc(out->stretches, (size_t)out->stretches_room * sizeof *out->stretches);
    }
    out->stretches[out->num_stretches++] =
        (struct jinja_stretch){out->text.length_bytes, origin, is_generated};
}

/* write_text - a string, or the parts of a rope one after the other. */
static void write_text(struct jinja_text *out, const struct jinja_value *text) {
    for (; text->rope && !text->rope->whole.bytes; text = &text->rope->parts[1])
        write_text(out, &text->rope->parts[0]);
    const struct jinja_value *flat = text->rope ? &text->rope->whole : text;
    for (size_t at = 0, end; at < flat->count; at = end) {
        uint16_t origin = flat->origins ? flat->origins[at] : flat->origin;
        end = flat->origins ? at + 1 : flat->count;
        while (end < flat->count && flat->origins[end] == origin)
            end++;
        write_part(out, flat->bytes + at, end - at, origin);
    }
}

/* print_value - to the end of what is written: the result, or the body that run_apart collects. */
static int print_value(struct jinja_run *run, const struct jinja_value *value) {
    struct jinja_value text;
    if (value_to_string(run, value, &text) != 0)
        return -1;
    if (run->out->text.length_bytes + text.count > run->max_bytes)
        return err_set(run->err, "the template writes too much");
    write_text(run->out, &text);
    return 0;
}

/* enter_scope - the scopes stay until the end: a macro may remember the one around it. */
static struct jinja_scope *enter_scope(struct jinja_run *run) {
    struct jinja_scope *scope = pool_take(&run->pool, sizeof *scope);
    scope->outer = run->scope;
    run->scope = scope;
    return scope;
}

/* describe_loop - the variable 'loop' in the i-th turn.  One dictionary serves all turns: who keeps 'loop' in a
 * namespace sees it go on, as with Jinja2's LoopContext. */
static void describe_loop(struct jinja_run *run, struct jinja_dict *loop, const struct jinja_value *list,
                          size_t i) {
    int64_t count = (int64_t)list->count, at = (int64_t)i;
    dict_set(&run->pool, loop, "index0", value_int(at));
    dict_set(&run->pool, loop, "index", value_int(at + 1));
    dict_set(&run->pool, loop, "revindex0", value_int(count - at - 1));
    dict_set(&run->pool, loop, "revindex", value_int(count - at));
    dict_set(&run->pool, loop, "first", value_bool(i == 0));
    dict_set(&run->pool, loop, "last", value_bool(i + 1 == list->count));
    dict_set(&run->pool, loop, "length", value_int(count));
    dict_set(&run->pool, loop, "depth", value_int(1)); /* no loop calls itself here */
    dict_set(&run->pool, loop, "depth0", value_int(0));
    static const struct jinja_value none = {.kind = JINJA_UNDEFINED, .bytes = "an item beyond the loop"};
    dict_set(&run->pool, loop, "previtem", i > 0 ? list->list[i - 1] : none);
    dict_set(&run->pool, loop, "nextitem", i + 1 < list->count ? list->list[i + 1] : none);
    dict_set(&run->pool, &run->scope->names, "loop", (struct jinja_value){.kind = JINJA_LOOP, .dict = loop});
}

/* set_target - the variable of a loop or of a 'set', or its several. */
static int set_target(struct jinja_run *run, const struct node *node, const struct jinja_value *item) {
    struct jinja_dict *names = &run->scope->names;
    size_t count = 0;
    jinja_count_entries(run, names);
    if (!node->args) {
        dict_set(&run->pool, names, node->name, *item);
        return 0;
    }
    for (const struct node *target = node->args; target; target = target->next)
        count++;
    if (item->kind != JINJA_LIST || item->count != count)
        return err_set(run->err, "%zu values from %s%s are not supported", count,
                       item->kind == JINJA_LIST ? "another number of them in " : "", value_kind_name(item));
    count = 0;
    for (const struct node *target = node->args; target; target = target->next)
        dict_set(&run->pool, names, target->keyword, item->list[count++]);
    return 0;
}

/* keep_items - those for which the loop's own 'if' holds.  Before the loop begins: loop.length and loop.last are of
 * what is left, and the condition cannot see 'loop'. */
static int keep_items(struct jinja_run *run, const struct node *node, struct jinja_value *list) {
    struct jinja_value kept = value_list(run, list->count), is;
    int status = 0;
    for (size_t i = 0; status == 0 && i < list->count; i++) {
        struct jinja_scope *scope = enter_scope(run);
        status = set_target(run, node, &list->list[i]) != 0 ? -1 : jinja_eval(run, node->b, &is);
        run->scope = scope->outer;
        if (status == 0 && value_is_true(&is))
            kept.list[kept.count++] = list->list[i];
    }
    *list = kept;
    return status;
}

/* loop_items - what a loop goes over, as a list. */
static int loop_items(struct jinja_run *run, const struct node *node, struct jinja_value *list) {
    if (jinja_eval_any(run, node->a, list) != 0)
        return -1;
    struct jinja_value object = *list;
    value_flatten(run, &object);
    return jinja_items(run, "", &object, list);
}

/* run_for - each turn has a scope of its own: what is set inside is gone afterwards, as in Jinja2. */
static int run_for(struct jinja_run *run, const struct node *node) {
    struct jinja_value list;
    bool is_complete = false; /* a turn came to its end: as in Jinja2, 'else' stands for a loop without one */
    int status = 0;
    if (loop_items(run, node, &list) != 0)
        return -1;
    if (node->b && keep_items(run, node, &list) != 0)
        return -1;
    struct jinja_dict *loop = pool_take(&run->pool, sizeof *loop);
    for (size_t i = 0; status == 0 && !run->breaks && i < list.count; i++) {
        struct jinja_scope *scope = enter_scope(run);
        describe_loop(run, loop, &list, i);
        status = set_target(run, node, &list.list[i]);
        if (status == 0)
            status = jinja_count_step(run) != 0 ? -1 : run_body(run, node->body);
        run->scope = scope->outer;
        is_complete = is_complete || !(run->continues || run->breaks);
        run->continues = false;
    }
    run->breaks = false;
    return status == 0 && !is_complete ? run_body(run, node->other) : status;
}

/* stretch_origin - JINJA_GENERATED takes the highest bit, which no origin has: JINJA_OTHER is 0x7FFF. */
static uint16_t stretch_origin(const struct jinja_stretch *stretch) {
    return stretch->origin | (stretch->is_generated ? JINJA_GENERATED : 0);
}

/* text_value - what was written apart, as a value; out is released.  Of a single origin none are kept per byte:
 * those take twice the text's memory. */
static struct jinja_value text_value(struct jinja_run *run, struct jinja_text *out) {
    size_t count = out->text.length_bytes;
    bool is_one = out->num_stretches <= 1;
    char *bytes = pool_take(&run->pool, count);
    uint16_t *origins = is_one ? NULL : pool_take(&run->pool, count * sizeof *origins);
    struct jinja_value value = {.kind = JINJA_STRING, .bytes = bytes, .origins = origins, .count = count};
    if (count > 0)
        memcpy(bytes, out->text.bytes, count);
    if (is_one && count > 0)
        value.origin = stretch_origin(&out->stretches[0]);
    for (size_t i = 0, at = 0; !is_one && at < count; at++) {
        i += at == out->stretches[i].end_byte;
        origins[at] = stretch_origin(&out->stretches[i]);
    }
    jinja_text_release(out);
    return value;
}

/* run_apart - the text of a body in a scope of its own, as a value. */
static int run_apart(struct jinja_run *run, const struct node *body, struct jinja_value *value) {
    struct jinja_text apart = {0}, *out = run->out;
    struct jinja_scope *scope = enter_scope(run);
    run->out = &apart;
    int status = run_body(run, body);
    run->out = out;
    run->scope = scope->outer;
    *value = text_value(run, &apart);
    return status;
}

/* macro_value - with the scope that it stands in, which call_macro looks names up from. */
static struct jinja_value macro_value(struct jinja_run *run, const struct node *node) {
    return (struct jinja_value){.kind = JINJA_MACRO, .macro = node, .around = run->scope};
}

/* run_call_block - the call's text, with the body as the macro 'caller' of what is called. */
static int run_call_block(struct jinja_run *run, const struct node *node) {
    struct jinja_value body = macro_value(run, node->b), text;
    run->caller = &body;
    int status = jinja_call(run, node->a, &text);
    run->caller = NULL;
    return status != 0 ? -1 : print_value(run, &text);
}

/* filter_body - the text of a body through the block's filters, which are an expression of the name JINJA_BODY; no
 * template can write that name, for its blank. */
static int filter_body(struct jinja_run *run, const struct node *body, const struct node *filters,
                       struct jinja_value *value) {
    struct jinja_value text;
    if (run->run_apart(run, body, &text) != 0)
        return -1;
    struct jinja_scope *scope = enter_scope(run);
    dict_set(&run->pool, &scope->names, JINJA_BODY, text);
    int status = jinja_eval_rope(run, filters, value);
    run->scope = scope->outer;
    return status;
}

static int run_filter_block(struct jinja_run *run, const struct node *node) {
    struct jinja_value text;
    return filter_body(run, node->body, node->a, &text) != 0 ? -1 : print_value(run, &text);
}

/* run_with - the new scope is entered only after its values are known: they see what is around it. */
static int run_with(struct jinja_run *run, const struct node *node) {
    struct jinja_scope *scope = pool_take(&run->pool, sizeof *scope);
    struct jinja_value value;
    scope->outer = run->scope;
    for (const struct node *param = node->args; param; param = param->next) {
        if (jinja_eval_rope(run, param->a, &value) != 0) /* none of them sees the others */
            return -1;
        dict_set(&run->pool, &scope->names, param->keyword, value);
    }
    run->scope = scope;
    int status = run_body(run, node->body);
    run->scope = scope->outer;
    return status;
}

/* run_generation - every byte of the body is marked. */
static int run_generation(struct jinja_run *run, const struct node *node) {
    struct jinja_value text;
    if (run->run_apart(run, node->body, &text) != 0)
        return -1;
    uint16_t *origins = text.origins ? pool_take(&run->pool, text.count * sizeof *origins) : NULL;
    for (size_t i = 0; origins && i < text.count; i++)
        origins[i] = text.origins[i] | JINJA_GENERATED;
    text.origins = origins;
    text.origin |= JINJA_GENERATED;
    return print_value(run, &text);
}

/* run_set - a block's text is a value like others.  A field is set in the namespace itself, wherever it was made:
 * this is how a template carries something out of a loop. */
static int run_set(struct jinja_run *run, const struct node *node) {
    struct jinja_value value;
    int status = node->a   ? jinja_eval_rope(run, node->a, &value)
                 : node->b ? filter_body(run, node->body, node->b, &value)
                           : run_apart(run, node->body, &value);
    if (status != 0)
        return -1;
    if (!node->target)
        return set_target(run, node, &value);
    const struct jinja_value *space = jinja_find(run, node->target);
    if (!space || space->kind != JINJA_NAMESPACE)
        return err_set(run->err, "'%.40s' is not a namespace", node->target);
    dict_set(&run->pool, space->dict, node->name, value);
    return 0;
}

/* run_node - one statement.  'break' and 'continue' raise a mark alone, at which every body up to the loop's
 * ends. */
static int run_node(struct jinja_run *run, const struct node *node) {
    struct jinja_value value;
    switch (node->kind) {
    case NODE_TEXT:
        return print_value(run, &node->value);
    case NODE_PRINT:
        return jinja_eval_rope(run, node->a, &value) != 0 ? -1 : print_value(run, &value);
    case NODE_IF:
        if (jinja_eval_rope(run, node->a, &value) != 0)
            return -1;
        return run_body(run, value_is_true(&value) ? node->body : node->other);
    case NODE_FOR:
        return run_for(run, node);
    case NODE_SET:
        return run_set(run, node);
    case NODE_MACRO:
        dict_set(&run->pool, &run->scope->names, node->name, macro_value(run, node));
        return 0;
    case NODE_CALL_BLOCK:
        return run_call_block(run, node);
    case NODE_FILTER_BLOCK:
        return run_filter_block(run, node);
    case NODE_WITH:
        return run_with(run, node);
    case NODE_GENERATION:
        return run_generation(run, node);
    case NODE_BREAK:
        run->breaks = true;
        return 0;
    case NODE_CONTINUE:
        run->continues = true;
        return 0;
    default:
        die("a value of kind %d as a statement", (int)node->kind);
    }
}

/* run_body - until its end, or until 'break' or 'continue', which the loop around it looks at.  An error gets the
 * line of the innermost node that names one. */
static int run_body(struct jinja_run *run, const struct node *node) {
    for (; node && !run->breaks && !run->continues; node = node->next)
        if (jinja_count_step(run) != 0 || run_node(run, node) != 0) {
            jinja_name_line(run, node);
            return -1;
        }
    return 0;
}

/* The two kinds of failure stay apart, for the user does otherwise about them: what the template raises finds
 * fault with the conversation, anything else is a limit of ours. */
enum jinja_outcome jinja_render(const struct jinja *template, const struct jinja_input *input,
                                struct jinja_text *out, struct err *err) {
    struct jinja_run run = {.out = out,
                            .err = err,
                            .run_apart = run_apart,
                            .eval = jinja_eval,
                            .filter = jinja_filter,
                            .date = input->date};
    CHECK(input->num_messages <= JINJA_MAX_MESSAGES, "%d messages for a template", input->num_messages);
    enter_scope(&run);
    out->text.length_bytes = 0;
    out->num_stretches = 0;
    jinja_set_input(&run, input);
    int status = run_body(&run, template->body);
    pool_release(&run.pool);
    return status == 0 ? JINJA_DONE : run.has_raised ? JINJA_RAISED : JINJA_REFUSED;
}
