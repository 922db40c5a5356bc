/* tokenizer_scan.c - the well-known patterns as scanners.
 *
 * A regular expression tries its alternatives in order; a scanner looks at the class of the first character
 * and goes straight to the alternative that will match.  What each alternative can match is written beside it
 * in the notation of the patterns; where backtracking matters it is explained. */
#include "data/tokenizer/tokenizer_scan.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define PREFIX "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define SYMBOLS " ?[^\\s\\p{L}\\p{N}]+"

static const char *const GPT2_PATTERN =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|" SYMBOLS "|\\s+(?!\\S)|\\s+";
static const char llama3_pattern[] =
    CONTRACTIONS "|" PREFIX "\\p{L}+|\\p{N}{1,3}|" SYMBOLS "[\\r\\n]*|" SPACES;
static const char qwen2_pattern[] = CONTRACTIONS "|" PREFIX "\\p{L}+|\\p{N}|" SYMBOLS "[\\r\\n]*|" SPACES;
static const char tekken_pattern[] =
    PREFIX UPPER "*" LOWER "+|" PREFIX UPPER "+" LOWER "*|\\p{N}|" SYMBOLS "[\\r\\n/]*|" SPACES;
static const char o200k_pattern[] =
    PREFIX UPPER "*" LOWER "+" CONTRACTIONS "?|" PREFIX UPPER "+" LOWER "*" CONTRACTIONS
                 "?|\\p{N}{1,3}|" SYMBOLS "[\\r\\n/]*|" SPACES;

/* What a pattern reads: the table, the place, the end of the text. */
struct reader {
    const struct char_table *chars;
    const char *end;
};

static unsigned class_at(const struct reader *r, const char *at) {
    return at < r->end ? char_class_next(r->chars, &at) : 0;
}

/* Step over characters whose class is among those wanted, at most max of them. */
static inline const char *skip(const struct reader *r, const char *at, unsigned wanted, int64_t max) {
    while (max-- > 0 && at < r->end) {
        const char *next = at;
        if (!(char_class_next(r->chars, &next) & wanted))
            break;
        at = next;
    }
    return at;
}

static inline const char *skip_letters(const struct reader *r, const char *at) {
    return skip(r, at, CHAR_LETTER, INT64_MAX);
}

/* [^\s\p{L}\p{N}]* */
static const char *skip_symbols(const struct reader *r, const char *at) {
    while (at < r->end) {
        const char *next = at;
        if (char_class_next(r->chars, &next) & (CHAR_SPACE | CHAR_LETTER | CHAR_NUMBER))
            break;
        at = next;
    }
    return at;
}

static bool is_symbol_at(const struct reader *r, const char *at) {
    return at < r->end && !(class_at(r, at) & (CHAR_SPACE | CHAR_LETTER | CHAR_NUMBER));
}

/* Bytes of a contraction ('s 't 're 've 'm 'll 'd) at an apostrophe, or 0.  Without regard to case, the long
 * s (U+017F, two bytes) is an s too. */
static size_t contraction_bytes(const struct reader *r, const char *at, bool any_case) {
    if (r->end - at < 2 || at[0] != '\'')
        return 0;
    char fold = any_case ? 0x20 : 0; /* lower case of an ASCII letter */
    char first = (char)(at[1] | fold);
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return 2;
    if (r->end - at < 3)
        return 0;
    if (any_case && (unsigned char)at[1] == 0xC5 && (unsigned char)at[2] == 0xBF)
        return 3;
    char second = (char)(at[2] | fold);
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
        return 3;
    return 0;
}

/* \s+(?!\S)|\s+ at white space: all of it at the end of the text; otherwise the last character is left to the
 * word that follows, unless it is the only one. */
static const char *skip_spaces(const struct reader *r, const char *at) {
    const char *last = at, *next = at;
    while (next < r->end) {
        const char *after = next;
        if (!(char_class_next(r->chars, &after) & CHAR_SPACE))
            return last > at ? last : next;
        last = next;
        next = after;
    }
    return next;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ at white space: through the last line break of the run if there is one. */
static const char *skip_lines_or_spaces(const struct reader *r, const char *at) {
    const char *after_break = NULL, *next = at;
    while (next < r->end) {
        unsigned class = char_class_next(r->chars, &next);
        if (!(class & CHAR_SPACE))
            break;
        if (class & CHAR_NEWLINE)
            after_break = next;
    }
    return after_break ? after_break : skip_spaces(r, at);
}

/* Line breaks, and slashes where the pattern has [\r\n/]*. */
static const char *skip_breaks(const struct reader *r, const char *at, bool slashes) {
    while (at < r->end && (*at == '\r' || *at == '\n' || (slashes && *at == '/')))
        at++;
    return at;
}

size_t scan_gpt2(const struct char_table *chars, const char *text, size_t length_bytes) {
    const struct reader reader = {chars, text + length_bytes}, *r = &reader;
    size_t contraction = contraction_bytes(r, text, false);
    if (contraction)
        return contraction;
    const char *body =
        *text == ' ' ? text + 1 : text; /* the optional space before a word, number or symbols */
    unsigned class = class_at(r, body);
    const char *stop;
    if (class & CHAR_LETTER)
        stop = skip_letters(r, body);
    else if (class & CHAR_NUMBER)
        stop = skip(r, body, CHAR_NUMBER, INT64_MAX);
    else if (is_symbol_at(r, body))
        stop = skip_symbols(r, body);
    else
        stop = skip_spaces(r, text);
    return (size_t)(stop - text);
}

/* What the newer patterns share once words are ruled out: numbers, symbols with the line breaks after them,
 * white space. */
static const char *scan_rest(const struct reader *r, const char *text, int64_t max_digits, bool slashes) {
    unsigned class = class_at(r, text);
    if (class & CHAR_NUMBER)
        return skip(r, text, CHAR_NUMBER, max_digits);
    const char *body = *text == ' ' ? text + 1 : text;
    if (is_symbol_at(r, body))
        return skip_breaks(r, skip_symbols(r, body), slashes);
    return skip_lines_or_spaces(r, text);
}

/* scan_llama - max_digits of a piece of numbers: 3 in Llama 3's pattern, 1 in Qwen2's; else they are the same. */
static inline size_t scan_llama(const struct char_table *chars, const char *text, size_t length_bytes,
                                int64_t max_digits) {
    const struct reader reader = {chars, text + length_bytes}, *r = &reader;
    const char *after = text;
    unsigned class = char_class_next(chars, &after);
    if (class & CHAR_LETTER)
        return (size_t)(skip_letters(r, after) - text);
    if (*text == '\'') {
        size_t contraction = contraction_bytes(r, text, true);
        if (contraction)
            return contraction;
    }
    /* One character that is not a letter, number or line break may lead a word. */
    if (!(class & (CHAR_NUMBER | CHAR_NEWLINE)) && class_at(r, after) & CHAR_LETTER)
        return (size_t)(skip_letters(r, after) - text);
    return (size_t)(scan_rest(r, text, max_digits, false) - text);
}

static size_t scan_llama3(const struct char_table *chars, const char *text, size_t length_bytes) {
    return scan_llama(chars, text, length_bytes, 3);
}

static size_t scan_qwen2(const struct char_table *chars, const char *text, size_t length_bytes) {
    return scan_llama(chars, text, length_bytes, 1);
}

enum {
    LIKE_UPPER = CHAR_UPPER | CHAR_CASELESS | CHAR_MARK,
    LIKE_LOWER = CHAR_LOWER | CHAR_CASELESS | CHAR_MARK,
    LIKE_BOTH = CHAR_CASELESS | CHAR_MARK
};

/* UPPER*LOWER+ at word, or NULL.  The greedy UPPER* takes everything up to the first character it cannot
 * match; if that is lower case, the word goes on through LOWER+.  Otherwise UPPER* must give back characters
 * until LOWER+ matches one: the last that is in both classes, and that one alone, since only upper case
 * follows it. */
static const char *scan_cased_word(const struct reader *r, const char *word) {
    const char *at = word, *after_both = NULL;
    while (at < r->end) {
        const char *next = at;
        unsigned class = char_class_next(r->chars, &next);
        if (class & CHAR_LOWER)
            return skip(r, next, LIKE_LOWER, INT64_MAX);
        if (!(class & LIKE_UPPER))
            break;
        if (class & LIKE_BOTH)
            after_both = next;
        at = next;
    }
    return after_both;
}

/* UPPER+LOWER* at word, or NULL; tried only where UPPER*LOWER+ failed, so no lower case follows. */
static const char *scan_upper_word(const struct reader *r, const char *word) {
    const char *stop = skip(r, word, LIKE_UPPER, INT64_MAX);
    return stop > word ? stop : NULL;
}

/* Either word, each first with and then without the one leading character that is not a letter, number or line
 * break; NULL where there is no word. */
static const char *scan_word(const struct reader *r, const char *text) {
    const char *after = text;
    unsigned class = char_class_next(r->chars, &after);
    bool may_lead = !(class & (CHAR_LETTER | CHAR_NUMBER | CHAR_NEWLINE));
    const char *stop = may_lead ? scan_cased_word(r, after) : NULL;
    if (!stop)
        stop = scan_cased_word(r, text);
    if (!stop && may_lead)
        stop = scan_upper_word(r, after);
    return stop ? stop : scan_upper_word(r, text);
}

static size_t scan_tekken(const struct char_table *chars, const char *text, size_t length_bytes) {
    const struct reader reader = {chars, text + length_bytes}, *r = &reader;
    const char *stop = scan_word(r, text);
    return (size_t)((stop ? stop : scan_rest(r, text, 1, true)) - text);
}

static size_t scan_o200k(const struct char_table *chars, const char *text, size_t length_bytes) {
    const struct reader reader = {chars, text + length_bytes}, *r = &reader;
    const char *stop = scan_word(r, text);
    if (stop)
        return (size_t)(stop - text) + contraction_bytes(r, stop, true);
    return (size_t)(scan_rest(r, text, 3, true) - text);
}

piece_scanner scanner_find(const char *pattern) {
    const struct {
        const char *pattern;
        piece_scanner scanner;
    } known[] = {{GPT2_PATTERN, scan_gpt2},
                 {llama3_pattern, scan_llama3},
                 {qwen2_pattern, scan_qwen2},
                 {tekken_pattern, scan_tekken},
                 {o200k_pattern, scan_o200k}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(pattern, known[i].pattern) == 0)
            return known[i].scanner;
    return NULL;
}
