/* tokenizer_regex.c - Oniguruma's patterns translated for PCRE2, and matched within a budget of steps. */
#include "data/tokenizer/tokenizer_regex.h"
#include "kernels/units.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>

/* Members of \s, \w and \h, to stand inside [...], as measured with Oniguruma 6.9 over all code points.  \s:
 * White_Space (PCRE2 adds U+180E).  \w: letters, marks, digits, connectors, circled and squared letters;
 * where it does not stand inside [...] it holds some superscripts and fractions of Latin-1 as well. */
static const char space_members[] = "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
                                    "\\x{202f}\\x{205f}\\x{3000}";
#define WORD_MEMBERS                                                                                         \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{"     \
    "1f170}-\\x{1f189}"
static const char set_word_members[] = WORD_MEMBERS;
static const char word_members[] = WORD_MEMBERS "\\xb2\\xb3\\xb9\\xbc-\\xbe";
static const char hex_members[] = "0-9A-Fa-f";

/* What one attempt to match may look at and how often it may step back before it is counted; and what a text
 * may take in all: so much at least, and so much for each of its bytes. */
enum { FIRST_WINDOW_BYTES = 256, FIRST_STEPS = 10000, MAX_STEPS = 5000000 };
enum { ALLOWED_LEAST = 1 << 28, ALLOWED_PER_BYTE = 256 };

struct regex {
    pcre2_code *code;
    char *pattern; /* for messages */
};

struct regex_state {
    uint64_t allowed; /* left for this text */
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* Where the translation stands. */
struct translation {
    const char *at, *end;
    struct text out;
    bool in_class;
};

static void put(struct text *out, const char *text) {
    text_append(out, text, strlen(text));
}

/* A set of characters: bare inside [...], bracketed outside. */
static void put_members(struct translation *t, const char *members, bool negated) {
    if (!t->in_class)
        put(&t->out, negated ? "[^" : "[");
    put(&t->out, members);
    if (!t->in_class)
        put(&t->out, "]");
}

/* \b: between a word character and none; \B the opposite. */
static void put_boundary(struct translation *t, bool negated) {
    struct text *out = &t->out;
    const char *sides[2][2] = {{"(?:(?<=[", "])(?!["}, {"])|(?<![", "])(?=["}};
    const char *same_sides[2][2] = {{"(?:(?<=[", "])(?=["}, {"])|(?<![", "])(?!["}};
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            put(out, negated ? same_sides[i][j] : sides[i][j]);
            put(out, word_members);
        }
    put(out, "]))");
}

/* \p{Greek} is a script: PCRE2 would match its extensions too unless told not to. */
static void put_property(struct translation *t) {
    const char *name = t->at + 1, *stop = name;
    while (stop < t->end && *stop != '}')
        stop++;
    size_t length_bytes = (size_t)(stop - name);
    bool is_script = length_bytes > 2 && !memchr(name, ':', length_bytes) && name[0] != '^' &&
                     !(length_bytes == 3 && memcmp(name, "Any", 3) == 0);
    text_append(&t->out, "{", 1);
    if (is_script)
        put(&t->out, "sc:");
    text_append(&t->out, name, length_bytes);
    t->at = stop;
}

/* \uHHHH, four hexadecimal digits. */
static int put_code_point(struct translation *t) {
    enum { DIGITS = 4 };
    if (t->end - t->at < DIGITS)
        return -1;
    for (int i = 0; i < DIGITS; i++)
        if (!isxdigit((unsigned char)t->at[i]))
            return -1;
    put(&t->out, "\\x{");
    text_append(&t->out, t->at, DIGITS);
    put(&t->out, "}");
    t->at += DIGITS;
    return 0;
}

/* The escape whose letter stands at t->at.  Returns 0, or -1 for one that has no equivalent. */
static int translate_escape(struct translation *t) {
    char letter = *t->at++;
    switch (letter) {
    case 's':
        put_members(t, space_members, false);
        return 0;
    case 'S':
        if (t->in_class)
            put(&t->out, "\\S\\x{180e}");
        else
            put_members(t, space_members, true);
        return 0;
    case 'w':
        put_members(t, t->in_class ? set_word_members : word_members, false);
        return 0;
    case 'h':
        put_members(t, hex_members, false);
        return 0;
    case 'W':
    case 'H':
        if (t->in_class)
            return -1;
        put_members(t, letter == 'W' ? word_members : hex_members, true);
        return 0;
    case 'b':
    case 'B':
        if (t->in_class)
            return -1;
        put_boundary(t, letter == 'B');
        return 0;
    case 'd':
        put(&t->out, "\\p{Nd}");
        return 0;
    case 'D':
        put(&t->out, "\\P{Nd}");
        return 0;
    case 'v':
        put(&t->out, "\\x0b");
        return 0;
    case 'u':
        return put_code_point(t);
    default:
        text_append(&t->out, "\\", 1);
        text_append(&t->out, &letter, 1);
        if ((letter == 'p' || letter == 'P') && t->at < t->end && *t->at == '{')
            put_property(t);
        return 0;
    }
}

/* (?m) means "dot matches newline" to Oniguruma and another thing to PCRE2. */
static bool sets_option_m(const struct translation *t) {
    if (t->end - t->at < 2 || t->at[0] != '(' || t->at[1] != '?')
        return false;
    for (const char *p = t->at + 2; p < t->end && strchr("imx-", *p) && *p; p++)
        if (*p == 'm')
            return true;
    return false;
}

/* Returns NULL, or what stands at t->at that the two languages read differently. */
static const char *translate(struct translation *t) {
    while (t->at < t->end) {
        char c = *t->at;
        if (c == '\\' && t->end - t->at > 1) {
            t->at++;
            if (translate_escape(t) != 0)
                return "an escape that has no equivalent";
            continue;
        }
        if (t->in_class && c == '[')
            return "a set inside [...]";
        if (t->in_class && c == '&' && t->end - t->at > 1 && t->at[1] == '&')
            return "an intersection inside [...]";
        if (!t->in_class && sets_option_m(t))
            return "the option m";
        if (!t->in_class && c == '{' && t->end - t->at > 1 && t->at[1] == ',')
            return "a repetition without a minimum";
        text_append(&t->out, &c, 1);
        t->at++;
        if (!t->in_class && c == '[') {
            t->in_class = true;
            /* A bracket closed at once, [] or [^], is an error to Oniguruma and a member to PCRE2. */
            const char *first = t->at + (t->at < t->end && *t->at == '^');
            if (first < t->end && *first == ']')
                return "an empty set";
        } else if (t->in_class && c == ']') {
            t->in_class = false;
        }
    }
    return NULL;
}

/* compile_text - a newline is LF alone; the nesting of brackets is bounded. */
static pcre2_code *compile_text(const char *text, size_t length_bytes, uint32_t options, struct err *err) {
    int error_number;
    PCRE2_SIZE error_at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    CHECK(context, "out of memory");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 100);
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)text, length_bytes, options, &error_number, &error_at, context);
    pcre2_compile_context_free(context);
    if (code) {
        pcre2_jit_compile(code, PCRE2_JIT_COMPLETE |
                                    PCRE2_JIT_PARTIAL_HARD); /* a failure means the interpreter, no more */
        return code;
    }
    char reason[256];
    pcre2_get_error_message(error_number, (PCRE2_UCHAR *)reason, sizeof reason);
    err_set(err, "regular expression '%.*s' does not compile: %s",
            (int)(length_bytes < 200 ? length_bytes : 200), text, reason);
    return NULL;
}

struct regex *regex_compile(const char *pattern, size_t length_bytes, bool literal, struct err *err) {
    enum { MAX_PATTERN_BYTES = 1 << 16 };
    if (length_bytes == 0 || length_bytes > MAX_PATTERN_BYTES) {
        err_set(err, "a pattern of %zu bytes is not supported", length_bytes);
        return NULL;
    }
    struct translation t = {.at = pattern, .end = pattern + length_bytes};
    const char *misread = literal ? NULL : translate(&t);
    pcre2_code *code = NULL;
    if (misread)
        err_set(err, "regular expression '%.200s' has %s, which is not supported", pattern, misread);
    else if (literal)
        code = compile_text(pattern, length_bytes, PCRE2_LITERAL | PCRE2_UTF, err);
    else /* ^ and $ always match at lines in the flavour of Oniguruma that the files use */
        code = compile_text(t.out.bytes, t.out.length_bytes, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, err);
    text_release(&t.out);
    if (!code)
        return NULL;
    uint32_t matches_empty = 0;
    pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty) {
        err_set(err, "regular expression '%.200s' can match the empty string, which is not supported",
                pattern);
        pcre2_code_free(code);
        return NULL;
    }
    struct regex *regex = xmalloc(sizeof *regex);
    regex->code = code;
    regex->pattern = text_copy(pattern, length_bytes);
    return regex;
}

void regex_free(struct regex *regex) {
    if (!regex)
        return;
    pcre2_code_free(regex->code);
    free(regex->pattern);
    free(regex);
}

struct regex_state *regex_state_create(void) {
    enum { STACK_MIN_BYTES = 32 * KIB, STACK_MAX_BYTES = 8 * MIB };
    struct regex_state *state = xmalloc(sizeof *state);
    state->match = pcre2_match_data_create(1, NULL);
    state->context = pcre2_match_context_create(NULL);
    state->stack = pcre2_jit_stack_create(STACK_MIN_BYTES, STACK_MAX_BYTES, NULL);
    CHECK(state->match && state->context, "out of memory");
    pcre2_jit_stack_assign(state->context, NULL, state->stack); /* NULL where PCRE2 has no JIT: harmless */
    regex_state_begin(state, 0);
    return state;
}

/* For a text and not for a match: many small matches may add up to hours as well. */
void regex_state_begin(struct regex_state *state, size_t length_bytes) {
    state->allowed = ALLOWED_LEAST + (uint64_t)ALLOWED_PER_BYTE * length_bytes;
}

void regex_state_free(struct regex_state *state) {
    if (!state)
        return;
    pcre2_match_data_free(state->match);
    pcre2_match_context_free(state->context);
    pcre2_jit_stack_free(state->stack);
    free(state);
}

/* spend - count work beyond what every attempt may do. */
static int spend(const struct regex *regex, struct regex_state *state, size_t work, struct text_span text,
                 struct err *err) {
    if (work <= state->allowed) {
        state->allowed -= work;
        return 0;
    }
    return err_set(
        err,
        "the tokenizer's pattern '%.200s' takes too long on a text of %zu bytes (it looks far ahead for "
        "each match); leave the document out, or use another tokenizer",
        regex->pattern, text.length_bytes);
}

static int failed(const struct regex *regex, int code, struct text_span text, struct err *err) {
    char reason[256];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
    return err_set(err, "the tokenizer's pattern '%.200s' fails on a text of %zu bytes: %s", regex->pattern,
                   text.length_bytes, reason);
}

/* window_end - of so many bytes from a place on, and up to the next whole character. */
static size_t window_end(struct text_span text, size_t from, size_t window_bytes) {
    if (text.length_bytes - from <= window_bytes)
        return text.length_bytes;
    size_t end = from + window_bytes;
    while (end < text.length_bytes && ((unsigned char)text.bytes[end] & 0xC0) == 0x80)
        end++;
    return end;
}

/* match_in_steps - pcre2_match on the text up to end.  The number of steps back is limited, and the limit
 * rises as far as the text's allowance pays for it: PCRE2 does not say how many it took. */
static int match_in_steps(const struct regex *regex, struct regex_state *state, struct text_span text,
                          size_t from, size_t end, int *found, struct err *err) {
    uint32_t options = PCRE2_NO_UTF_CHECK | (end < text.length_bytes ? PCRE2_PARTIAL_HARD : 0);
    /* An empty text may have no bytes to point at, which PCRE2 takes since 10.40 only. */
    PCRE2_SPTR subject = text.bytes ? (PCRE2_SPTR)text.bytes : (PCRE2_SPTR) "";
    for (uint32_t steps = FIRST_STEPS;; steps *= 8) {
        pcre2_set_match_limit(state->context, steps);
        *found = pcre2_match(regex->code, subject, end, from, options, state->match, state->context);
        if (*found != PCRE2_ERROR_MATCHLIMIT || steps >= MAX_STEPS)
            return 0;
        if (spend(regex, state, steps, text, err) != 0)
            return -1;
    }
}

/* regex_next - first in a small window: a pattern that reaches its end, or finds nothing, gets a window of
 * twice the size, which is paid for.  A match inside a window is the match in the whole text: PCRE2 answers
 * "partial" as soon as it would look past the window's end. */
int regex_next(const struct regex *regex, struct regex_state *state, struct text_span text, size_t from,
               struct text_span *match, struct err *err) {
    int found = PCRE2_ERROR_NOMATCH;
    for (size_t window_bytes = FIRST_WINDOW_BYTES;; window_bytes *= 2) {
        size_t end = window_end(text, from, window_bytes);
        if (window_bytes > FIRST_WINDOW_BYTES && spend(regex, state, end - from, text, err) != 0)
            return -1;
        if (match_in_steps(regex, state, text, from, end, &found, err) != 0)
            return -1;
        bool needs_more = found == PCRE2_ERROR_PARTIAL || found == PCRE2_ERROR_NOMATCH;
        if (!needs_more || end == text.length_bytes)
            break;
    }
    if (found == PCRE2_ERROR_NOMATCH)
        return 0;
    if (found < 0)
        return failed(regex, found, text, err);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(state->match);
    /* \K may move the start after from or the end; no progress would mean an endless loop. */
    if (ends[0] < from || ends[1] <= ends[0])
        return err_set(err, "the tokenizer's pattern '%.200s' matches backwards", regex->pattern);
    *match = (struct text_span){text.bytes + ends[0], ends[1] - ends[0]};
    return 1;
}
