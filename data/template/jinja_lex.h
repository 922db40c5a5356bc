/* jinja_lex.h - the words of a template: text between tags, and inside a tag names, numbers, strings,
 * operators. Private to jinja_parse.c. */
#pragma once

#include <stdio.h>

#include "data/template/jinja_parts.h"

enum lex_kind { LEX_NAME, LEX_NUMBER, LEX_STRING, LEX_OPERATOR, LEX_END };
enum lexer_tag { TAG_NONE, TAG_TEXT, TAG_BLOCK, TAG_PRINT };

struct lexer {
    const char *at, *end;
    struct jinja_pool *pool;
    int line, depth;
    int num_loops;    /* around this place */
    bool starts_line; /* what stands here follows a newline that a tag took */
    bool has_failed;
    struct err *err;
    /* the tag that is being read */
    bool is_block;
    int num_open; /* brackets */
    /* the present word */
    enum lex_kind kind;
    const char *text;         /* NAME, OPERATOR */
    struct jinja_value value; /* STRING, NUMBER */
};

/* lexer_open - source with one kind of newline and without its last one, copied into the pool. */
void lexer_open(struct lexer *lex, struct jinja_pool *pool, const char *source, struct err *err);
/* lexer_text - the text up to the next tag (or comment, which is passed over when the text before it was
 * empty: TAG_TEXT), without the white space that the tag takes. */
enum lexer_tag lexer_text(struct lexer *lex, struct jinja_value *text);
/* lexer_enter_tag - to the first word of the tag that stands here; lexer_leave_tag - from LEX_END on to the
 * text. */
int lexer_enter_tag(struct lexer *lex);
void lexer_leave_tag(struct lexer *lex);
/* lexer_next - the next word.  Returns 0, or -1 with has_failed and err set. */
int lexer_next(struct lexer *lex);
/* lexer_sees_assignment - whether '=' follows the present word. */
bool lexer_sees_assignment(const struct lexer *lex);

/* lexer_refuse - has_failed, with the line and what; returns NULL. */
struct node *lexer_refuse(struct lexer *lex, const char *what);
/* lexer_is_... - what the present word is; lexer_take_... - and go on to the next one. */
bool lexer_is_op(const struct lexer *lex, const char *text);
bool lexer_is_word(const struct lexer *lex, const char *text);
bool lexer_take_op(struct lexer *lex, const char *text);
bool lexer_take_word(struct lexer *lex, const char *text);
/* lexer_expect, lexer_take_name - the operator, a name: 0 and the name, or -1 and NULL with the failure said.
 */
int lexer_expect(struct lexer *lex, const char *text);
const char *lexer_take_name(struct lexer *lex);

/* --- the tree (jinja_expression.c) --- */
enum { JINJA_MAX_DEPTH = 100 };
struct node *jinja_node(struct lexer *lex, enum node_kind kind);
/* jinja_expression - any expression; jinja_condition - one without 'if'.  NULL with has_failed. */
struct node *jinja_expression(struct lexer *lex);
struct node *jinja_condition(struct lexer *lex);
/* jinja_tuple - an expression, or several with commas between them.  jinja_body_filters - 'trim | upper' of a block's
 * own text (JINJA_BODY), the first name without its '|'. */
struct node *jinja_tuple(struct lexer *lex);
struct node *jinja_body_filters(struct lexer *lex);
