/* jinja_expression.c - expressions, in the order of Jinja's own parser: a choice, or, and, not, comparison,
 * sums, concatenation, products, signs, and what follows a value.  See jinja.h. */
#include "data/template/jinja_lex.h"

/* --- expressions --- */

/* is_repeated - a keyword that stands among these already. */
static bool is_repeated(const struct node *args, const char *keyword) {
    for (; args; args = args->next)
        if (args->keyword && strcmp(args->keyword, keyword) == 0)
            return true;
    return false;
}

/* parse_args - up to the closing bracket; in a call each may be 'name=value', and then all that follow. */
static int parse_args(struct lexer *lex, const char *close, struct node **args) {
    struct node **last = args;
    bool had_keyword = false;
    while (!lexer_take_op(lex, close)) {
        if (lex->has_failed || (*args && lexer_expect(lex, ",") != 0))
            return -1;
        if (*args && lexer_take_op(lex, close))
            return 0;
        const char *keyword = NULL;
        if (lex->kind == LEX_NAME && lexer_sees_assignment(lex)) {
            keyword = lex->text;
            if (close[0] == ']' || is_repeated(*args, keyword))
                return lexer_refuse(lex, "an argument that Python does not take") ? 0 : -1;
            if (lexer_next(lex) != 0 || lexer_next(lex) != 0)
                return -1;
        }
        if (had_keyword && !keyword)
            return lexer_refuse(lex, "an argument without a name after one with a name") ? 0 : -1;
        had_keyword = keyword != NULL;
        struct node *arg = jinja_expression(lex);
        if (!arg)
            return -1;
        struct node *holder = jinja_node(lex, NODE_LITERAL); /* an expression may stand in one list only */
        *holder = *arg;
        holder->next = NULL;
        holder->keyword = keyword;
        *last = holder;
        last = &holder->next;
    }
    return lex->has_failed ? -1 : 0;
}

/* parse_constant - a name, or one of the six words for constants, which Jinja2 takes in Python's and in its own
 * case. */
static struct node *parse_constant(struct lexer *lex) {
    static const struct {
        const char *word;
        enum jinja_kind kind;
        int64_t number;
    } words[] = {{"true", JINJA_BOOL, 1},  {"True", JINJA_BOOL, 1}, {"false", JINJA_BOOL, 0},
                 {"False", JINJA_BOOL, 0}, {"none", JINJA_NONE, 0}, {"None", JINJA_NONE, 0}};
    struct node *node = jinja_node(lex, NODE_NAME);
    node->name = lex->text;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(lex->text, words[i].word) == 0) {
            node->kind = NODE_LITERAL;
            node->value = (struct jinja_value){.kind = words[i].kind, .number = words[i].number};
        }
    return lexer_next(lex) == 0 ? node : NULL;
}

/* parse_dict - after '{': keys and values in turn in args, as NODE_DICT has them.  A comma may end the list. */
static struct node *parse_dict(struct lexer *lex) {
    struct node *node = jinja_node(lex, NODE_DICT), **last = &node->args;
    while (!lexer_take_op(lex, "}")) {
        if (lex->has_failed || (node->args && lexer_expect(lex, ",") != 0))
            return NULL;
        if (node->args && lexer_take_op(lex, "}"))
            return node;
        for (int i = 0; i < 2; i++) {
            struct node *part = i == 1 && lexer_expect(lex, ":") != 0 ? NULL : jinja_expression(lex);
            if (!part)
                return NULL;
            *last = jinja_node(lex, NODE_LITERAL); /* an expression may stand in one list only */
            **last = *part;
            (*last)->next = NULL;
            last = &(*last)->next;
        }
    }
    return node;
}

/* parse_brackets - after '(': an expression, or a tuple of several.  '(a)' is a, '(a,)' a tuple, '()' an empty
 * one. */
static struct node *parse_brackets(struct lexer *lex) {
    if (lexer_take_op(lex, ")"))
        return jinja_node(lex, NODE_TUPLE);
    struct node *first = jinja_expression(lex);
    if (!first || !lexer_is_op(lex, ","))
        return first && lexer_expect(lex, ")") == 0 ? first : NULL;
    struct node *node = jinja_node(lex, NODE_TUPLE), *rest = NULL;
    node->args = jinja_node(lex, NODE_LITERAL);
    *node->args = *first;
    if (lexer_expect(lex, ",") != 0 || parse_args(lex, ")", &rest) != 0)
        return NULL;
    for (const struct node *item = rest; item; item = item->next)
        if (item->keyword)
            return lexer_refuse(lex, "an argument outside of a call");
    node->args->next = rest;
    return node;
}

/* parse_primary - what an expression begins with, without signs: the parsers below it only add to it. */
static struct node *parse_primary(struct lexer *lex) {
    struct node *node;
    if (lex->kind == LEX_NAME)
        return parse_constant(lex);
    if (lex->kind == LEX_STRING || lex->kind == LEX_NUMBER) {
        node = jinja_node(lex, NODE_LITERAL);
        node->value = lex->value;
        if (lexer_next(lex) != 0)
            return NULL;
        while (node->value.kind == JINJA_STRING && lex->kind == LEX_STRING) { /* 'a' 'b' is 'ab' */
            size_t bytes = node->value.count + lex->value.count;
            char *both = pool_take(lex->pool, bytes + 1);
            memcpy(both, node->value.bytes, node->value.count);
            memcpy(both + node->value.count, lex->value.bytes, lex->value.count);
            node->value = (struct jinja_value){.kind = JINJA_STRING, .bytes = both, .count = bytes};
            if (lexer_next(lex) != 0)
                return NULL;
        }
        return node;
    }
    if (lexer_take_op(lex, "("))
        return parse_brackets(lex);
    if (lexer_take_op(lex, "{"))
        return parse_dict(lex);
    if (lexer_take_op(lex, "[")) {
        node = jinja_node(lex, NODE_LIST);
        return parse_args(lex, "]", &node->args) == 0 ? node : NULL;
    }
    return lexer_refuse(lex, "a value of this kind is not supported");
}

/* parse_subscript - after '[': an index or a slice. */
static struct node *parse_subscript(struct lexer *lex, struct node *object) {
    struct node *node = jinja_node(lex, NODE_INDEX), **parts[] = {&node->b, &node->c, &node->d};
    int part = 0;
    node->a = object;
    while (!lexer_take_op(lex, "]")) {
        if (lexer_take_op(lex, ":")) {
            node->kind = NODE_SLICE;
            if (++part > 2)
                return lexer_refuse(lex, "a slice of more than three parts");
        } else if (*parts[part] || !(*parts[part] = jinja_expression(lex))) {
            return lexer_refuse(lex, "']' is expected");
        }
        if (lex->has_failed)
            return NULL;
    }
    return node->kind == NODE_SLICE || node->b ? node : lexer_refuse(lex, "an empty index");
}

/* parse_postfix - '.name', '[...]' and '(...)' after a value, any number of them; they bind tighter than
 * filters. */
static struct node *parse_postfix(struct lexer *lex, struct node *node) {
    while (node && !lex->has_failed) {
        struct node *outer = jinja_node(lex, NODE_ATTRIBUTE);
        outer->a = node;
        if (lexer_take_op(lex, ".")) {
            outer->name = lexer_take_name(lex);
            node = outer->name ? outer : NULL;
        } else if (lexer_take_op(lex, "[")) {
            node = parse_subscript(lex, node);
        } else if (lexer_take_op(lex, "(")) {
            outer->kind = NODE_CALL;
            node = parse_args(lex, ")", &outer->args) == 0 ? outer : NULL;
        } else {
            return node;
        }
    }
    return lex->has_failed ? NULL : node;
}

/* starts_argument - a test may take one argument without brackets: 'x is equalto 3'.  Jinja2 takes any word for
 * one but these. */
static bool starts_argument(const struct lexer *lex) {
    static const char *const others[] = {"else", "or", "and"};
    if (lex->kind == LEX_STRING || lex->kind == LEX_NUMBER || lexer_is_op(lex, "[") || lexer_is_op(lex, "{"))
        return true;
    if (lex->kind != LEX_NAME)
        return false;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(lex->text, others[i]) == 0)
            return false;
    return true;
}

/* is_keyword - what Jinja2 would take for a name and then find no expression. */
static bool is_keyword(const struct lexer *lex) {
    return lexer_is_word(lex, "is") || lexer_is_word(lex, "not") || lexer_is_word(lex, "if") ||
           lexer_is_word(lex, "in");
}

/* parse_test - after 'is'.  The argument without brackets is a value with its postfixes alone: 'x is divisibleby 3
 * and y' ends it at 'and'. */
static struct node *parse_test(struct lexer *lex, struct node *object) {
    bool is_negated = lexer_take_word(lex, "not");
    struct node *test = jinja_node(lex, NODE_TEST);
    test->a = object;
    if (!(test->name = lexer_take_name(lex)))
        return NULL;
    if (lexer_take_op(lex, "(")) {
        if (parse_args(lex, ")", &test->args) != 0)
            return NULL;
    } else if (is_keyword(lex)) {
        return lexer_refuse(lex, "the test is followed by a word that cannot stand there");
    } else if (starts_argument(lex) && !(test->args = parse_postfix(lex, parse_primary(lex)))) {
        return NULL;
    }
    if (!is_negated)
        return test;
    struct node *negated = jinja_node(lex, NODE_NOT);
    negated->a = test;
    return negated;
}

/* parse_filters - '| name(...)' and 'is test', which bind tighter than any operator. */
static struct node *parse_filters(struct lexer *lex, struct node *node) {
    while (node && !lex->has_failed) {
        if (lexer_take_op(lex, "|")) {
            struct node *filter = jinja_node(lex, NODE_FILTER);
            filter->a = node;
            filter->name = lexer_take_name(lex);
            if (!filter->name || (lexer_take_op(lex, "(") && parse_args(lex, ")", &filter->args) != 0))
                return NULL;
            node = filter;
        } else if (lexer_take_word(lex, "is")) {
            node = parse_test(lex, node);
        } else if (lexer_is_op(lex, "(")) { /* a call of what a filter gave */
            node = parse_postfix(lex, node);
        } else {
            return node;
        }
    }
    return lex->has_failed ? NULL : node;
}

struct node *jinja_body_filters(struct lexer *lex) {
    struct node *body = jinja_node(lex, NODE_NAME), *filter = jinja_node(lex, NODE_FILTER);
    body->name = JINJA_BODY;
    filter->a = body;
    filter->name = lexer_take_name(lex);
    if (!filter->name || (lexer_take_op(lex, "(") && parse_args(lex, ")", &filter->args) != 0))
        return NULL;
    return parse_filters(lex, filter);
}

/* A comma may end the tuple, so that 'a,' is one of a single value. */
struct node *jinja_tuple(struct lexer *lex) {
    struct node *first = jinja_expression(lex);
    if (!first || !lexer_is_op(lex, ","))
        return first;
    struct node *tuple = jinja_node(lex, NODE_TUPLE), **last = &tuple->args;
    for (struct node *item = first; item;) {
        *last = jinja_node(lex, NODE_LITERAL); /* an expression may stand in one list only */
        **last = *item;
        (*last)->next = NULL;
        last = &(*last)->next;
        if (!lexer_take_op(lex, ",") || lex->kind == LEX_END)
            return lex->has_failed ? NULL : tuple;
        item = jinja_expression(lex);
    }
    return NULL;
}

/* parse_unary - in Jinja2's grammar the filters follow the sign: '-x | abs' is '(-x) | abs'. */
static struct node *parse_unary(struct lexer *lex) {
    if (lexer_take_op(lex, "-")) {
        struct node *node = jinja_node(lex, NODE_NEGATE);
        node->a = parse_postfix(lex, parse_primary(lex));
        return node->a ? parse_filters(lex, node) : NULL;
    }
    return parse_filters(lex, parse_postfix(lex, parse_primary(lex)));
}

/* The operators of two sides, by how tightly they bind.  That '~' stands between sums and products is Jinja2's own
 * order (parse_math1, parse_concat, parse_math2).  '**' is not among them: refused where it stands. */
static const char *const LEVELS[][5] = {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}};
enum { NUM_LEVELS = sizeof LEVELS / sizeof LEVELS[0] };

/* parse_level - operators of one level, from the left: a - b - c is (a - b) - c. */
static struct node *parse_level(struct lexer *lex, int level) {
    struct node *left = level == NUM_LEVELS ? parse_unary(lex) : parse_level(lex, level + 1);
    while (left && level < NUM_LEVELS && lex->kind == LEX_OPERATOR) {
        const char *sign = NULL;
        for (int i = 0; LEVELS[level][i]; i++)
            if (strcmp(lex->text, LEVELS[level][i]) == 0)
                sign = LEVELS[level][i];
        if (!sign)
            break;
        struct node *node = jinja_node(lex, NODE_BINARY);
        node->name = sign;
        node->a = left;
        if (lexer_next(lex) != 0 || !(node->b = parse_level(lex, level + 1)))
            return NULL;
        left = node;
    }
    return left;
}

/* compare - the right side of a comparison.  count: how many stand before it; the second one makes a NODE_CHAIN of
 * the binary node, whose first side stays in a and whose comparisons go to args with their right sides. */
static struct node *compare(struct lexer *lex, struct node *left, int count, const char *sign) {
    struct node *node = jinja_node(lex, NODE_BINARY), *right = parse_level(lex, 0);
    node->name = sign;
    node->a = left;
    node->b = right;
    if (count == 0 || !right)
        return right ? node : NULL;
    if (count == 1) {
        struct node *first = jinja_node(lex, NODE_BINARY);
        first->name = left->name;
        first->a = left->b;
        left->kind = NODE_CHAIN;
        left->b = NULL;
        left->args = first;
    }
    struct node **last = &left->args;
    while (*last)
        last = &(*last)->next;
    node->a = right;
    node->b = NULL;
    *last = node;
    return left;
}

static struct node *parse_compare(struct lexer *lex) {
    static const char *const operators[] = {"==", "!=", "<=", ">=", "<", ">"};
    struct node *left = parse_level(lex, 0);
    for (int count = 0; left; count++) {
        const char *sign = NULL;
        for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
            if (lexer_is_op(lex, operators[i]))
                sign = operators[i];
        bool is_not = !sign && lexer_is_word(lex, "not"); /* 'a not in b' */
        if (!sign && (is_not || lexer_is_word(lex, "in")))
            sign = is_not ? "not in" : "in";
        if (!sign)
            return left;
        if (lexer_next(lex) != 0 || (is_not && !lexer_take_word(lex, "in")))
            return lexer_refuse(lex, "'in' is expected after 'not'");
        left = compare(lex, left, count, sign);
    }
    return NULL;
}

/* parse_not - it calls itself without a bracket, so that it counts its own depth. */
static struct node *parse_not(struct lexer *lex) {
    if (!lexer_take_word(lex, "not"))
        return parse_compare(lex);
    struct node *node = jinja_node(lex, NODE_NOT);
    if (++lex->depth > JINJA_MAX_DEPTH)
        return lexer_refuse(lex, "expressions nested deeper than is supported");
    node->a = parse_not(lex);
    lex->depth--;
    return node->a ? node : NULL;
}

/* parse_logic - 'a and b and c', 'a or b or c'. */
static struct node *parse_logic(struct lexer *lex, enum node_kind kind) {
    struct node *left = kind == NODE_OR ? parse_logic(lex, NODE_AND) : parse_not(lex);
    while (left && lexer_take_word(lex, kind == NODE_OR ? "or" : "and")) {
        struct node *node = jinja_node(lex, kind);
        node->a = left;
        node->b = kind == NODE_OR ? parse_logic(lex, NODE_AND) : parse_not(lex);
        left = node->b ? node : NULL;
    }
    return lex->has_failed ? NULL : left;
}

/* 'else' takes a whole expression, so that 'a if b else c if d else e' nests to the right; without one the other
 * choice is undefined. */
struct node *jinja_expression(struct lexer *lex) {
    if (++lex->depth > JINJA_MAX_DEPTH)
        return lexer_refuse(lex, "expressions nested deeper than is supported");
    struct node *node = parse_logic(lex, NODE_OR);
    while (node && lexer_take_word(lex, "if")) {
        struct node *choice = jinja_node(lex, NODE_CHOICE);
        choice->a = node;
        choice->b = parse_logic(lex, NODE_OR);
        if (choice->b && lexer_take_word(lex, "else"))
            choice->c = jinja_expression(lex);
        node = choice->b && !lex->has_failed ? choice : NULL;
    }
    lex->depth--;
    return lex->has_failed ? NULL : node;
}

struct node *jinja_condition(struct lexer *lex) {
    return parse_logic(lex, NODE_OR);
}
