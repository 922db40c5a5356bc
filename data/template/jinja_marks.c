/* jinja_marks.c - whether a template marks what is learnt.  See jinja.h. */
#include "data/template/jinja_parts.h"

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
