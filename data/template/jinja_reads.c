/* jinja_reads.c - what stands in a template: fields of messages that it looks at, marks of what is learnt.  See jinja.h. */
#include "data/template/jinja_parts.h"

/* field_of - the name of the variable and the field of 'm.field' or "m['field']"; false for anything else. */
static bool field_of(const struct node *node, const char **variable, struct jinja_value *field) {
    bool is_attribute = node->kind == NODE_ATTRIBUTE;
    bool is_index =
        node->kind == NODE_INDEX && node->b->kind == NODE_LITERAL && node->b->value.kind == JINJA_STRING;
    if ((!is_attribute && !is_index) || node->a->kind != NODE_NAME)
        return false;
    *variable = node->a->name;
    *field = is_attribute ? value_string(node->name) : node->b->value;
    return true;
}

/* find - whether variable.field (variable NULL: any; the one found is returned through it) stands in the tree; the one
 * after *skip others. */
static bool find(const struct node *node, const char **variable, const char *field, int *skip, int depth) {
    for (; node && depth < JINJA_MAX_NESTED; node = node->next) {
        const char *found_variable;
        struct jinja_value found;
        if (field_of(node, &found_variable, &found) && value_is_text(&found, field) &&
            (!*variable || strcmp(*variable, found_variable) == 0) && (*skip)-- == 0) {
            *variable = found_variable;
            return true;
        }
        const struct node *parts[] = {node->a,    node->b,    node->c,    node->d,
                                      node->args, node->body, node->other};
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
            if (find(parts[i], variable, field, skip, depth + 1))
                return true;
    }
    return false;
}

bool jinja_reads(const struct jinja *template, const char *field) {
    for (int number = 0;; number++) {
        const char *variable = NULL;
        int skip = number, none = 0;
        if (!find(template->body, &variable, "role", &skip, 0))
            return false;
        if (find(template->body, &variable, field, &none, 0))
            return true;
    }
}

/* has_kind - whether a node of this kind stands in the tree. */
static bool has_kind(const struct node *node, enum node_kind kind, int depth) {
    for (; node && depth < JINJA_MAX_NESTED; node = node->next)
        if (node->kind == kind || has_kind(node->body, kind, depth + 1) ||
            has_kind(node->other, kind, depth + 1) || (node->b && has_kind(node->b->body, kind, depth + 1)))
            return true;
    return false;
}

bool jinja_marks_generation(const struct jinja *template) {
    return has_kind(template->body, NODE_GENERATION, 0);
}
