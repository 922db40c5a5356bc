/* jinja_lex.c - a template cut into words, with what Jinja does to the space around tags. */
#include "data/template/jinja_lex.h"

#include <stdlib.h>

/* fail - the first failure counts: what a parser says after it is a consequence.  Returns -1. */
static int fail(struct lexer *lex, const char *what) {
    if (!lex->has_failed)
        err_set(lex->err, "line %d: %s", lex->line, what);
    lex->has_failed = true;
    return -1;
}

/* As Jinja2 with newline_sequence '\n' and keep_trailing_newline off: ends of lines become '\n', the last one
 * goes. */
void lexer_open(struct lexer *lex, struct jinja_pool *pool, const char *source, struct err *err) {
    char *copy = pool_take(pool, strlen(source) + 1), *to = copy;
    for (const char *from = source; *from; from++)
        if (*from != '\r')
            *to++ = *from;
        else if (from[1] != '\n')
            *to++ = '\n';
    if (to > copy && to[-1] == '\n')
        to--;
    *to = '\0';
    *lex = (struct lexer){.at = copy, .end = to, .pool = pool, .line = 1, .starts_line = true, .err = err};
}

/* step - past so many bytes; every way through the source comes by here or counts its own newlines, so that
 * messages name the line. */
static void step(struct lexer *lex, size_t count) {
    for (size_t i = 0; i < count; i++)
        lex->line += *lex->at++ == '\n';
}

/* --- text --- */

/* find_tag - the next "{%", "{{" or "{#", or the end. */
static const char *find_tag(const struct lexer *lex) {
    for (const char *at = lex->at; at + 1 < lex->end; at++)
        if (at[0] == '{' && (at[1] == '%' || at[1] == '{' || at[1] == '#'))
            return at;
    return lex->end;
}

/* before_tag - the end of the text in front of a tag, as its white space control wants it: '-' takes all white
 * space; a block or a comment at the start of its line takes the indentation (lstrip_blocks) unless it has a '+';
 * "{{" leaves everything. */
static const char *before_tag(const struct lexer *lex, const char *tag) {
    struct jinja_value text = {.kind = JINJA_STRING, .bytes = lex->at, .count = (size_t)(tag - lex->at)};
    if (tag == lex->end)
        return tag;
    if (tag[2] == '-') {
        struct jinja_value kept = value_strip(&text, NULL, false, true);
        return kept.bytes + kept.count;
    }
    if (tag[1] == '{' || tag[2] == '+')
        return tag;
    const char *line = tag;
    while (line > lex->at && line[-1] != '\n')
        line--;
    if (line == lex->at && !lex->starts_line)
        return tag;
    struct jinja_value indent = {.kind = JINJA_STRING, .bytes = line, .count = (size_t)(tag - line)};
    return value_strip(&indent, NULL, true, true).count == 0 ? line : tag;
}

/* after_tag - take what stands after the end of a tag: with '-' all white space, otherwise one newline
 * (trim_blocks) after a block or comment without '+'.  Remembers whether a newline was taken: the next tag then
 * stands at the start of its line although no newline is left in front of it. */
static void after_tag(struct lexer *lex, char sign, bool takes_newline) {
    if (sign == '-') {
        struct jinja_value rest = {
            .kind = JINJA_STRING, .bytes = lex->at, .count = (size_t)(lex->end - lex->at)};
        struct jinja_value kept = value_strip(&rest, NULL, true, false);
        lex->starts_line = kept.bytes > lex->at && kept.bytes[-1] == '\n';
        step(lex, (size_t)(kept.bytes - lex->at));
        return;
    }
    lex->starts_line = takes_newline && sign != '+' && lex->at < lex->end && *lex->at == '\n';
    step(lex, lex->starts_line);
}

/* pass_comment - from "{#" to after "#}". */
static void pass_comment(struct lexer *lex) {
    const char *start = lex->at + 2, *end;
    start += start < lex->end && (*start == '-' || *start == '+'); /* of the comment's beginning */
    end = start;
    while (end + 1 < lex->end && !(end[0] == '#' && end[1] == '}'))
        end++;
    if (end + 1 >= lex->end) {
        fail(lex, "a comment without an end");
        return;
    }
    char sign = end > start && (end[-1] == '-' || end[-1] == '+') ? end[-1] : 0;
    step(lex, (size_t)(end + 2 - lex->at));
    after_tag(lex, sign, true);
}

/* A comment is passed over by a call of its own, whose text is empty: its newline and indentation are then handled
 * as a block's. */
enum lexer_tag lexer_text(struct lexer *lex, struct jinja_value *text) {
    const char *tag = find_tag(lex), *stop = before_tag(lex, tag);
    *text = (struct jinja_value){.kind = JINJA_STRING, .bytes = lex->at, .count = (size_t)(stop - lex->at)};
    bool has_moved = tag > lex->at;
    step(lex, (size_t)(tag - lex->at));
    if (has_moved)
        lex->starts_line = false; /* the next call begins at the tag itself */
    if (tag == lex->end)
        return TAG_NONE;
    if (tag[1] != '#')
        return tag[1] == '%' ? TAG_BLOCK : TAG_PRINT;
    if (text->count == 0)
        pass_comment(lex);
    return TAG_TEXT;
}

int lexer_enter_tag(struct lexer *lex) {
    lex->is_block = lex->at[1] == '%';
    lex->num_open = 0;
    step(lex, 2);
    if (lex->at < lex->end && (*lex->at == '-' || (*lex->at == '+' && lex->is_block)))
        step(lex, 1);
    return lexer_next(lex);
}

/* --- words --- */

/* is_end - inside of brackets "}}" may close two dictionaries. */
static bool is_end(const struct lexer *lex, const char *at) {
    return lex->num_open == 0 && at + 1 < lex->end && at[0] == (lex->is_block ? '%' : '}') && at[1] == '}';
}

void lexer_leave_tag(struct lexer *lex) {
    char sign = is_end(lex, lex->at) ? 0 : *lex->at;
    step(lex, sign ? 3 : 2);
    after_tag(lex, sign, lex->is_block);
}

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* keep - bytes of the source as a string of their own. */
static char *keep(struct lexer *lex, const char *bytes, size_t count) {
    char *copy = pool_take(lex->pool, count + 1);
    memcpy(copy, bytes, count);
    return copy;
}

/* take_word_chars - ASCII names; Jinja2 takes other letters as well, which fail here as characters without a
 * meaning. */
static int take_word_chars(struct lexer *lex) {
    const char *start = lex->at;
    while (lex->at < lex->end && is_name_char(*lex->at))
        lex->at++;
    lex->kind = LEX_NAME;
    lex->text = keep(lex, start, (size_t)(lex->at - start));
    return 0;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* real_end - where a number with a point or an exponent ends, or the end of the whole one. */
static char *real_end(const struct lexer *lex, char *whole) {
    char *end = whole;
    if (end + 1 < lex->end && *end == '.' && is_digit(end[1]))
        for (end++; end < lex->end && is_digit(*end);)
            end++;
    char *exponent = end + 1;
    if (end == lex->end || (*end != 'e' && *end != 'E'))
        return end;
    exponent += exponent < lex->end && (*exponent == '+' || *exponent == '-');
    if (exponent == lex->end || !is_digit(*exponent))
        return end;
    while (exponent < lex->end && is_digit(*exponent))
        exponent++;
    return exponent;
}

/* take_number - a whole number of at most 18 digits, which fits in 64 bits, or one with a point or an exponent.
 * '1_000' and '0x1F', which Jinja2 reads, are refused. */
static int take_number(struct lexer *lex) {
    char *end;
    lex->kind = LEX_NUMBER;
    lex->text = "a number";
    lex->value = (struct jinja_value){.kind = JINJA_INT, .number = strtoll(lex->at, &end, 10)};
    char *real = real_end(lex, end);
    if (real > end && real - lex->at < 40) {
        lex->value = (struct jinja_value){.kind = JINJA_FLOAT, .real = strtod(lex->at, &end)};
        lex->at = real;
        return 0;
    }
    if (end < lex->end && is_name_char(*end))
        return fail(lex, "a number of this form is not supported");
    if (*lex->at == '0' && end - lex->at > 1)
        return fail(lex, "a number that starts with 0");
    if (end - lex->at > 18)
        return fail(lex, "a number of more than 18 digits");
    lex->at = end;
    return 0;
}

/* take_code - the digits of an escape, as a character. */
static int take_code(struct lexer *lex, int num_digits, struct text *out) {
    uint32_t code = 0;
    for (int i = 0; i < num_digits; i++, lex->at++) {
        char c = lex->at < lex->end ? *lex->at : ' ';
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return fail(lex, "an escape without its digits");
        code = code * 16 + (uint32_t)digit;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return fail(lex, "an escape that is not a character");
    text_append_char(out, code);
    return 0;
}

/* take_escape - after a backslash, as Python writes them; an unknown one stays as it is. */
static int take_escape(struct lexer *lex, struct text *out) {
    static const char letters[] = "nrtabfv\\'\"", values[] = "\n\r\t\a\b\f\v\\'\"";
    char c = *lex->at++;
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter) {
        text_append(out, values + (letter - letters), 1);
        return 0;
    }
    if (c == 'x' || c == 'u' || c == 'U')
        return take_code(lex, c == 'x' ? 2 : c == 'u' ? 4 : 8, out);
    if (c == 'N' || (c >= '0' && c <= '7'))
        return fail(lex, "an escape that is not supported");
    if (c == '\n') { /* a line that goes on */
        lex->line++;
        return 0;
    }
    if ((unsigned char)c >= 0x80) /* Jinja2 writes the number of the character there */
        return fail(lex, "an escape that is not supported");
    lex->at--;
    text_append(out, "\\", 1);
    return 0;
}

/* take_string - to the closing quote; the bytes are kept as a text that may hold NUL, from '\x00'. */
static int take_string(struct lexer *lex) {
    char quote = *lex->at++;
    struct text out = {0};
    int status = 0;
    while (status == 0 && lex->at < lex->end && *lex->at != quote) {
        if (*lex->at == '\\' && lex->at + 1 < lex->end) {
            lex->at++;
            status = take_escape(lex, &out);
        } else {
            lex->line += *lex->at == '\n';
            text_append(&out, lex->at++, 1);
        }
    }
    if (status == 0 && lex->at >= lex->end)
        status = fail(lex, "a string without an end");
    lex->at++;
    lex->kind = LEX_STRING;
    lex->text = "a string";
    lex->value = (struct jinja_value){.kind = JINJA_STRING, .count = out.length_bytes};
    lex->value.bytes = keep(lex, out.bytes ? out.bytes : "", out.length_bytes);
    text_release(&out);
    return status;
}

/* take_operator - the longer ones stand first in the list, so that '//' is not two '/'. */
static int take_operator(struct lexer *lex) {
    static const char *const operators[] = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "~",
                                            "*",  "/",  "%",  "<",  ">",  "=",  "(", ")", "[",
                                            "]",  "{",  "}",  ",",  ".",  ":",  "|"};
    size_t left = (size_t)(lex->end - lex->at);
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        size_t length = strlen(operators[i]);
        if (length > left || memcmp(lex->at, operators[i], length) != 0)
            continue;
        lex->kind = LEX_OPERATOR;
        lex->text = operators[i];
        lex->num_open += strchr("([{", *lex->at) != NULL;
        lex->num_open -= strchr(")]}", *lex->at) != NULL;
        lex->at += length;
        return 0;
    }
    return fail(lex, "a character that has no meaning in a tag");
}

/* The end of a tag is not passed here: lexer_leave_tag does it, after the parser has seen that it is where it
 * should be. */
int lexer_next(struct lexer *lex) {
    if (lex->has_failed)
        return -1;
    while (lex->at < lex->end && strchr(" \t\n\f\v", *lex->at))
        step(lex, 1);
    if (lex->at >= lex->end)
        return fail(lex, "a tag without an end");
    bool has_sign = *lex->at == '-' || (*lex->at == '+' && lex->is_block);
    if (is_end(lex, lex->at) || (has_sign && is_end(lex, lex->at + 1))) {
        lex->kind = LEX_END;
        lex->text = "the end of the tag";
        return 0;
    }
    if (*lex->at >= '0' && *lex->at <= '9')
        return take_number(lex);
    if (is_name_char(*lex->at))
        return take_word_chars(lex);
    if (*lex->at == '\'' || *lex->at == '"')
        return take_string(lex);
    return take_operator(lex);
}

/* Tells 'f(name=1)' from 'f(name == 1)' before the name is taken for a value. */
bool lexer_sees_assignment(const struct lexer *lex) {
    const char *at = lex->at;
    while (at < lex->end && (*at == ' ' || *at == '\t' || *at == '\n'))
        at++;
    return at + 1 < lex->end && at[0] == '=' && at[1] != '=';
}

/* --- what a parser asks --- */

struct node *jinja_node(struct lexer *lex, enum node_kind kind) {
    struct node *node = pool_take(lex->pool, sizeof *node);
    node->kind = kind;
    node->line = lex->line;
    return node;
}

struct node *lexer_refuse(struct lexer *lex, const char *what) {
    fail(lex, what);
    return NULL;
}

bool lexer_is_op(const struct lexer *lex, const char *text) {
    return lex->kind == LEX_OPERATOR && strcmp(lex->text, text) == 0;
}

bool lexer_is_word(const struct lexer *lex, const char *text) {
    return lex->kind == LEX_NAME && strcmp(lex->text, text) == 0;
}

bool lexer_take_op(struct lexer *lex, const char *text) {
    return lexer_is_op(lex, text) && lexer_next(lex) == 0;
}

bool lexer_take_word(struct lexer *lex, const char *text) {
    return lexer_is_word(lex, text) && lexer_next(lex) == 0;
}

/* The text of a failure names what stands there instead, cut short: templates may hold words of any length. */
int lexer_expect(struct lexer *lex, const char *text) {
    char what[96];
    if (lexer_take_op(lex, text))
        return 0;
    snprintf(what, sizeof what, "'%s' is expected before '%.40s'", text, lex->text ? lex->text : "");
    return fail(lex, what);
}

const char *lexer_take_name(struct lexer *lex) {
    const char *name = lex->text;
    if (lex->kind != LEX_NAME) {
        fail(lex, "a name is expected");
        return NULL;
    }
    return lexer_next(lex) == 0 ? name : NULL;
}
