/* jinja_parse.c - from the text of a template to its tree.  See jinja.h.
 *
 * White space around tags goes as in Jinja2 with trim_blocks and lstrip_blocks: '-' takes all of it, a block
 * or a comment takes the newline after it and the indentation before it, '+' neither. Source: Jinja2,
 * "Template Designer Documentation", and the order of its parser's rules. */
#include <stdlib.h>

#include "data/template/jinja_lex.h"

/* --- statements --- */

static struct node *parse_body(struct lexer *lex, const char *const *ends);

/* take_target - the name that a loop or a 'set' gives a value to.  Jinja2 refuses most of these, too; the others would
 * hide what it puts there itself. */
static const char *take_target(struct lexer *lex) {
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None", "loop", "self"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (lexer_is_word(lex, reserved[i])) {
            lexer_refuse(lex, "a value for a name that has its own meaning is not supported");
            return NULL;
        }
    return lexer_take_name(lex);
}

/* parse_apart - a body whose text is put elsewhere: no loop around it is left from inside. */
static void parse_apart(struct lexer *lex, struct node *node, const char *const *ends) {
    int num_loops = lex->num_loops;
    lex->num_loops = 0;
    node->body = parse_body(lex, ends);
    lex->num_loops = num_loops;
}

/* The parsers of statements below are called after their first word and end after their last tag.  They return 0,
 * or -1 with has_failed, or -1 alone where the words are not Jinja's: parse_block then says so. */
static int end_tag(struct lexer *lex) {
    if (lex->kind != LEX_END) {
        lexer_refuse(lex, "the end of the tag is expected");
        return -1;
    }
    lexer_leave_tag(lex);
    return 0;
}

/* after_if - from the condition on: the body, then another condition, an 'else', or the end.  An 'elif' is an 'if'
 * in the other branch, so that each costs a level of depth. */
static int after_if(struct lexer *lex, struct node *node) {
    static const char *const last[] = {"endif", NULL};
    static const char *const any[] = {"elif", "else", "endif", NULL};
    if (!(node->a = jinja_condition(lex)) || end_tag(lex) != 0)
        return -1;
    node->body = parse_body(lex, any);
    if (lex->has_failed)
        return -1;
    if (lexer_take_word(lex, "elif")) {
        if (++lex->depth > JINJA_MAX_DEPTH)
            return lexer_refuse(lex, "more branches than are supported") ? 0 : -1;
        node->other = jinja_node(lex, NODE_IF);
        int status = after_if(lex, node->other);
        lex->depth--;
        return status;
    }
    if (lexer_take_word(lex, "else")) {
        if (end_tag(lex) != 0)
            return -1;
        node->other = parse_body(lex, last);
    }
    return !lex->has_failed && lexer_take_word(lex, "endif") ? end_tag(lex) : -1;
}

/* parse_targets - 'a', or 'a, b' with brackets around them or not: the one in name, several in args. */
static int parse_targets(struct lexer *lex, struct node *node) {
    bool is_bracketed = lexer_take_op(lex, "(");
    struct node **last = &node->args;
    if (!(node->name = take_target(lex)))
        return -1;
    for (const char *name = node->name; lexer_is_op(lex, ",") || node->args;) {
        *last = jinja_node(lex, NODE_LITERAL);
        (*last)->keyword = name;
        last = &(*last)->next;
        if (!lexer_take_op(lex, ","))
            break;
        if (!(name = take_target(lex)))
            return -1;
    }
    return is_bracketed ? lexer_expect(lex, ")") : 0;
}

/* parse_for - the list is a condition, without 'if': that word begins the loop's own filter there. */
static int parse_for(struct lexer *lex, struct node *node) {
    static const char *const last[] = {"endfor", NULL};
    static const char *const any[] = {"else", "endfor", NULL};
    if (parse_targets(lex, node) != 0)
        return -1;
    if (!lexer_take_word(lex, "in")) {
        lexer_refuse(lex, "'in' is expected");
        return -1;
    }
    if (!(node->a = jinja_condition(lex)))
        return -1;
    if (lexer_take_word(lex, "if") && !(node->b = jinja_expression(lex)))
        return -1;
    if (lexer_is_word(lex, "recursive")) {
        lexer_refuse(lex, "a recursive loop is not supported");
        return -1;
    }
    if (end_tag(lex) != 0)
        return -1;
    lex->num_loops++;
    node->body = parse_body(lex, any);
    lex->num_loops--;
    if (!lex->has_failed && lexer_take_word(lex, "else")) {
        if (end_tag(lex) != 0)
            return -1;
        node->other = parse_body(lex, last);
    }
    return !lex->has_failed && lexer_take_word(lex, "endfor") ? end_tag(lex) : -1;
}

/* parse_set - 'name = value', 'namespace.field = value', 'a, b = values', or a block whose text is the value. */
static int parse_set(struct lexer *lex, struct node *node) {
    static const char *const last[] = {"endset", NULL};
    if (parse_targets(lex, node) != 0)
        return -1;
    if (!node->args && lexer_take_op(lex, ".")) {
        node->target = node->name;
        if (!(node->name = lexer_take_name(lex)))
            return -1;
    }
    if (lexer_take_op(lex, "="))
        return (node->a = jinja_tuple(lex)) ? end_tag(lex) : -1;
    if (node->target || node->args)
        return -1;
    if (lexer_take_op(lex, "|") && !(node->b = jinja_body_filters(lex)))
        return -1;
    if (end_tag(lex) != 0)
        return -1;
    parse_apart(lex, node, last);
    return !lex->has_failed && lexer_take_word(lex, "endset") ? end_tag(lex) : -1;
}

/* parse_params - of a macro, after '('. */
static int parse_params(struct lexer *lex, struct node *macro) {
    struct node **last = &macro->args;
    bool had_value = false;
    while (!lexer_take_op(lex, ")")) {
        if (lex->has_failed || (macro->args && lexer_expect(lex, ",") != 0))
            return -1;
        struct node *param = jinja_node(lex, NODE_LITERAL);
        if (!(param->keyword = take_target(lex)))
            return -1;
        if (lexer_take_op(lex, "=") && !(param->a = jinja_expression(lex)))
            return -1;
        if (had_value && !param->a)
            return lexer_refuse(lex, "a parameter without a value after one with a value") ? 0 : -1;
        had_value = param->a != NULL;
        *last = param;
        last = &param->next;
    }
    return lex->has_failed ? -1 : 0;
}

static int parse_macro(struct lexer *lex, struct node *node) {
    static const char *const last[] = {"endmacro", NULL};
    if (!(node->name = take_target(lex)) || lexer_expect(lex, "(") != 0 || parse_params(lex, node) != 0 ||
        end_tag(lex) != 0)
        return -1;
    parse_apart(lex, node, last);
    return !lex->has_failed && lexer_take_word(lex, "endmacro") ? end_tag(lex) : -1;
}

/* parse_generation - an extension of transformers (AssistantTracker): it marks the assistant's text. */
static int parse_generation(struct lexer *lex, struct node *node) {
    static const char *const last[] = {"endgeneration", NULL};
    if (end_tag(lex) != 0)
        return -1;
    parse_apart(lex, node, last);
    return !lex->has_failed && lexer_take_word(lex, "endgeneration") ? end_tag(lex) : -1;
}

/* parse_filter_block - the body's text through filters. */
static int parse_filter_block(struct lexer *lex, struct node *node) {
    static const char *const last[] = {"endfilter", NULL};
    if (!(node->a = jinja_body_filters(lex)) || end_tag(lex) != 0)
        return -1;
    parse_apart(lex, node, last);
    return !lex->has_failed && lexer_take_word(lex, "endfilter") ? end_tag(lex) : -1;
}

/* parse_call_block - a call of a macro that may ask for the body by 'caller()', with arguments or without. */
static int parse_call_block(struct lexer *lex, struct node *node) {
    static const char *const last[] = {"endcall", NULL};
    node->b = jinja_node(lex, NODE_MACRO);
    node->b->name = "caller";
    if (lexer_take_op(lex, "(") && parse_params(lex, node->b) != 0)
        return -1;
    if (!(node->a = jinja_expression(lex)) || node->a->kind != NODE_CALL || end_tag(lex) != 0)
        return -1;
    parse_apart(lex, node->b, last);
    return !lex->has_failed && lexer_take_word(lex, "endcall") ? end_tag(lex) : -1;
}

/* parse_with - names with values for the body alone. */
static int parse_with(struct lexer *lex, struct node *node) {
    static const char *const last[] = {"endwith", NULL};
    struct node **param = &node->args;
    while (lex->kind != LEX_END) {
        if (node->args && lexer_expect(lex, ",") != 0)
            return -1;
        *param = jinja_node(lex, NODE_LITERAL);
        if (!((*param)->keyword = take_target(lex)) || lexer_expect(lex, "=") != 0 ||
            !((*param)->a = jinja_expression(lex)))
            return -1;
        param = &(*param)->next;
    }
    if (end_tag(lex) != 0)
        return -1;
    node->body = parse_body(lex, last);
    return !lex->has_failed && lexer_take_word(lex, "endwith") ? end_tag(lex) : -1;
}

/* parse_block - after "{%" and, maybe, '-': one statement with all that belongs to it, or NULL with the failure
 * said. */
static struct node *parse_block(struct lexer *lex) {
    static const struct {
        const char *word;
        enum node_kind kind;
        int (*parse)(struct lexer *lex, struct node *node);
    } blocks[] = {{"if", NODE_IF, after_if},
                  {"for", NODE_FOR, parse_for},
                  {"set", NODE_SET, parse_set},
                  {"macro", NODE_MACRO, parse_macro},
                  {"call", NODE_CALL_BLOCK, parse_call_block},
                  {"filter", NODE_FILTER_BLOCK, parse_filter_block},
                  {"with", NODE_WITH, parse_with},
                  {"generation", NODE_GENERATION, parse_generation}};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        if (lexer_take_word(lex, blocks[i].word)) {
            struct node *node = jinja_node(lex, blocks[i].kind);
            if (blocks[i].parse(lex, node) == 0)
                return node;
            return lexer_refuse(lex, "a block that is not written as Jinja expects");
        }
    if (lexer_is_word(lex, "break") || lexer_is_word(lex, "continue")) {
        if (lex->num_loops == 0)
            return lexer_refuse(lex, "'break' or 'continue' outside of a loop");
        struct node *node = jinja_node(lex, lexer_is_word(lex, "break") ? NODE_BREAK : NODE_CONTINUE);
        return lexer_next(lex) == 0 && end_tag(lex) == 0 ? node : NULL;
    }
    char what[96];
    snprintf(what, sizeof what, "the block '%.40s' is not supported", lex->text ? lex->text : "");
    return lexer_refuse(lex, what);
}

static bool is_one_of(const struct lexer *lex, const char *const *words) {
    for (int i = 0; words && words[i]; i++)
        if (lexer_is_word(lex, words[i]))
            return true;
    return false;
}

/* parse_piece - text, a value or a block.  NULL with *ends set: one of the words that end this body. */
static struct node *parse_piece(struct lexer *lex, const char *const *words, bool *ends) {
    struct node *node = jinja_node(lex, NODE_TEXT);
    enum lexer_tag tag = lexer_text(lex, &node->value);
    if (node->value.count > 0 || lex->has_failed)
        return lex->has_failed ? NULL : node;
    if (tag == TAG_NONE) {
        *ends = true;
        return words ? lexer_refuse(lex, "the template ends inside a block") : NULL;
    }
    if (tag == TAG_TEXT)
        return node;
    if (lexer_enter_tag(lex) != 0)
        return NULL;
    if (tag == TAG_BLOCK) {
        *ends = is_one_of(lex, words);
        return *ends ? NULL : parse_block(lex);
    }
    node->kind = NODE_PRINT;
    node->a = jinja_expression(lex);
    return node->a && end_tag(lex) == 0 ? node : NULL;
}

/* parse_body - up to a tag that begins with one of ends, whose word is the present one afterwards; ends NULL: up to
 * the end of the template.  An empty body is NULL, too: has_failed tells the two apart. */
static struct node *parse_body(struct lexer *lex, const char *const *ends) {
    struct node *first = NULL, **last = &first;
    bool is_end = false;
    if (++lex->depth > JINJA_MAX_DEPTH)
        return lexer_refuse(lex, "blocks nested deeper than is supported");
    while (!is_end && !lex->has_failed) {
        struct node *node = parse_piece(lex, ends, &is_end);
        if (node) {
            *last = node;
            last = &node->next;
        }
    }
    lex->depth--;
    return lex->has_failed ? NULL : first;
}

struct jinja *jinja_parse(const char *source, struct err *err) {
    struct jinja *template = xcalloc(1, sizeof *template);
    struct lexer lex;
    if (text_valid_bytes(source, strlen(source)) != strlen(source)) {
        err_set(err, "the chat template is not UTF-8");
        free(template);
        return NULL;
    }
    lexer_open(&lex, &template->pool, source, err);
    template->body = parse_body(&lex, NULL);
    if (!lex.has_failed)
        return template;
    jinja_free(template);
    return NULL;
}

void jinja_free(struct jinja *template) {
    if (!template)
        return;
    pool_release(&template->pool);
    free(template);
}
