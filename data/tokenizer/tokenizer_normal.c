/* tokenizer_normal.c - the steps of a normaliser: read from tokenizer.json, joined where one pass does for many,
 * applied. */
#include "data/tokenizer/tokenizer_normal.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "data/corpus/json.h"
#include "data/tokenizer/tokenizer_sequence.h"

enum { MAX_STEPS = 64 };

int pattern_parse(const json_t *step, const char **pattern, size_t *length_bytes, bool *is_regex,
                  struct err *err) {
    json_t *object;
    if (json_get_object(step, "pattern", &object, err) != 0)
        return -1;
    *is_regex = json_find(object, "Regex") != NULL;
    if (json_get_text(object, *is_regex ? "Regex" : "String", pattern, length_bytes, err) != 0)
        return err_prefix(err, "in 'pattern'");
    if (*length_bytes == 0)
        return err_set(err, "an empty 'pattern' is not supported");
    return 0;
}

int replacement_parse(struct replacement *replacement, const json_t *json, struct err *err) {
    const char *pattern, *content;
    bool is_regex;
    if (pattern_parse(json, &pattern, &replacement->pattern_bytes, &is_regex, err) != 0 ||
        json_get_text(json, "content", &content, &replacement->content_bytes, err) != 0)
        return -1;
    replacement->pattern = text_copy(pattern, replacement->pattern_bytes);
    replacement->content = text_copy(content, replacement->content_bytes);
    if (!is_regex)
        return 0;
    replacement->regex = regex_compile(pattern, replacement->pattern_bytes, false, err);
    return replacement->regex ? 0 : -1;
}

void replacement_release(struct replacement *replacement) {
    free(replacement->pattern);
    free(replacement->content);
    regex_free(replacement->regex);
}

static int parse_step(struct normal_step *step, const json_t *json, const char *type, struct err *err) {
    const char *prepend;
    if (strcmp(type, "Replace") == 0) {
        step->kind = NORMAL_REPLACE;
        return replacement_parse(&step->replacement, json, err);
    }
    if (strcmp(type, "Prepend") == 0) {
        step->kind = NORMAL_PREPEND;
        if (json_get_text(json, "prepend", &prepend, &step->replacement.content_bytes, err) != 0)
            return -1;
        step->replacement.content = text_copy(prepend, step->replacement.content_bytes);
        return 0;
    }
    if (strcmp(type, "Strip") == 0) {
        step->kind = NORMAL_STRIP;
        return json_get_bool(json, "strip_left", &step->left, err) != 0 ||
                       json_get_bool(json, "strip_right", &step->right, err) != 0
                   ? -1
                   : 0;
    }
    const struct {
        const char *type;
        enum normal_kind kind;
    } plain[] = {{"NFC", NORMAL_NFC}, {"NFKC", NORMAL_NFKC}, {"Lowercase", NORMAL_LOWERCASE}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(type, plain[i].type) == 0) {
            step->kind = plain[i].kind;
            return 0;
        }
    return err_set(
        err,
        "normalizer '%.64s' is not supported (NFC, NFKC, Lowercase, Prepend, Replace, Strip, Sequence are)",
        type);
}

/* The mark of a step "X(?=[ \w])" -> "X ", or 0.  X may be escaped. */
static uint32_t padded_mark(const struct normal_step *step) {
    static const char lookahead[] = "(?=[ \\w])";
    const struct replacement *replacement = &step->replacement;
    size_t tail_bytes = sizeof lookahead - 1;
    if (!replacement->regex || replacement->pattern_bytes <= tail_bytes ||
        memcmp(replacement->pattern + replacement->pattern_bytes - tail_bytes, lookahead, tail_bytes) != 0)
        return 0;
    size_t mark_bytes = replacement->pattern_bytes - tail_bytes;
    bool escaped = replacement->pattern[0] == '\\' && mark_bytes == 2;
    const char *mark = replacement->pattern + escaped, *after = mark;
    if (strchr(".^$*+?()[]{}|\\", *mark) && !escaped)
        return 0;
    uint32_t code_point = text_next_char(&after);
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code_point);
    bool is_mark = code_point == '\n' || code_point == '\t' ||
                   (category >= UTF8PROC_CATEGORY_PD && category <= UTF8PROC_CATEGORY_SO);
    if (!is_mark || (size_t)(after - mark) != mark_bytes - escaped ||
        replacement->content_bytes != mark_bytes - escaped + 1 ||
        memcmp(replacement->content, mark, replacement->content_bytes - 1) != 0 ||
        replacement->content[replacement->content_bytes - 1] != ' ')
        return 0;
    return code_point;
}

static void release_step(struct normal_step *step) {
    replacement_release(&step->replacement);
    free(step->marks);
}

/* Lucie pads 18 marks in 18 steps.  None of the marks is a space or a word character, so that no step sees
 * what another inserted, and one pass over the text does for all. */
static void join_padding_steps(struct normaliser *normaliser) {
    int kept = 0;
    for (int i = 0; i < normaliser->num_steps;) {
        uint32_t marks[MAX_STEPS];
        int count = 0;
        while (i + count < normaliser->num_steps &&
               (marks[count] = padded_mark(&normaliser->steps[i + count])))
            count++;
        if (count < 2) {
            normaliser->steps[kept++] = normaliser->steps[i++];
            continue;
        }
        for (int j = 0; j < count; j++)
            release_step(&normaliser->steps[i + j]);
        struct normal_step joined = {.kind = NORMAL_PAD_MARKS, .num_marks = count};
        joined.marks = xmalloc((size_t)count * sizeof *joined.marks);
        memcpy(joined.marks, marks, (size_t)count * sizeof *joined.marks);
        normaliser->steps[kept++] = joined;
        i += count;
    }
    normaliser->num_steps = kept;
}

static int take_step(void *user, const json_t *json, const char *type, struct err *err) {
    struct normaliser *normaliser = user;
    if (normaliser->num_steps == MAX_STEPS)
        return err_set(err, "more than %d normalizer steps are not supported", MAX_STEPS);
    return parse_step(&normaliser->steps[normaliser->num_steps++], json, type, err);
}

/* The table of NFC is made only where a step asks for it. */
int normaliser_parse(struct normaliser *normaliser, const json_t *json, const struct char_table *chars,
                     struct err *err) {
    static const struct sequence SEQUENCE = {"normalizer", "normalizers", take_step};
    *normaliser = (struct normaliser){.chars = chars};
    if (!json || json_is_null(json))
        return 0;
    normaliser->steps = xcalloc(MAX_STEPS, sizeof *normaliser->steps);
    if (sequence_walk(&SEQUENCE, json, normaliser, err) != 0)
        return -1;
    join_padding_steps(normaliser);
    for (int i = 0; i < normaliser->num_steps; i++)
        if (normaliser->steps[i].kind == NORMAL_NFC && !normaliser->nfc)
            normaliser->nfc = nfc_table_create();
    return 0;
}

void normaliser_release(struct normaliser *normaliser) {
    for (int i = 0; i < normaliser->num_steps; i++)
        release_step(&normaliser->steps[i]);
    free(normaliser->steps);
    nfc_table_free(normaliser->nfc);
    *normaliser = (struct normaliser){0};
}

/* replace_string, replace_regex - replacement_apply for a plain string, and for a regular expression. */
static bool replace_string(struct text_span text, struct text_span pattern, struct text_span content,
                           struct text *out) {
    if (text.length_bytes < pattern.length_bytes)
        return false; /* text may be NULL then */
    const char *at = text.bytes, *end = text.bytes + text.length_bytes;
    const char *found = memmem(at, text.length_bytes, pattern.bytes, pattern.length_bytes);
    if (!found)
        return false;
    out->length_bytes = 0;
    while (found) {
        text_append(out, at, (size_t)(found - at));
        text_append(out, content.bytes, content.length_bytes);
        at = found + pattern.length_bytes;
        found = pattern.length_bytes == 1
                    ? memchr(at, pattern.bytes[0], (size_t)(end - at))
                    : memmem(at, (size_t)(end - at), pattern.bytes, pattern.length_bytes);
    }
    text_append(out, at, (size_t)(end - at));
    return true;
}

/* replace_regex - matches from left to right, each after the end of the one before. */
static int replace_regex(const struct regex *regex, struct regex_state *state, struct text_span text,
                         struct text_span content, struct text *out, bool *changed, struct err *err) {
    size_t at = 0;
    struct text_span match;
    int found;
    *changed = false;
    while ((found = regex_next(regex, state, text, at, &match, err)) == 1) {
        if (!*changed)
            out->length_bytes = 0;
        *changed = true;
        size_t start = (size_t)(match.bytes - text.bytes);
        text_append(out, text.bytes + at, start - at);
        text_append(out, content.bytes, content.length_bytes);
        at = start + match.length_bytes;
    }
    if (*changed)
        text_append(out, text.bytes + at, text.length_bytes - at);
    return found;
}

int replacement_apply(const struct replacement *replacement, struct regex_state *regexes,
                      struct text_span text, struct text *out, bool *changed, struct err *err) {
    const struct text_span content = {replacement->content, replacement->content_bytes};
    if (replacement->regex)
        return replace_regex(replacement->regex, regexes, text, content, out, changed, err);
    *changed = replace_string(text, (struct text_span){replacement->pattern, replacement->pattern_bytes},
                              content, out);
    return 0;
}

static bool is_mark(const struct normal_step *step, uint32_t code_point) {
    for (int i = 0; i < step->num_marks; i++)
        if (step->marks[i] == code_point)
            return true;
    return false;
}

/* A space after each mark that a space or a word character follows. */
static bool pad_marks(const struct normal_step *step, const struct char_table *chars, struct text_span text,
                      struct text *out) {
    bool leads[256] = {false}; /* first bytes of the marks: all other characters are passed over quickly */
    for (int i = 0; i < step->num_marks; i++) {
        char room[4];
        text_encode_char(room, step->marks[i]);
        leads[(unsigned char)room[0]] = true;
    }
    const char *done = text.bytes, *at = text.bytes, *end = text.bytes + text.length_bytes;
    out->length_bytes = 0;
    while (at < end) {
        if (!leads[(unsigned char)*at]) {
            at++;
            continue;
        }
        bool found = is_mark(step, text_next_char(&at));
        const char *next = at;
        if (!found || at == end || !(*at == ' ' || char_is_word(chars, text_next_char(&next))))
            continue;
        text_append(out, done, (size_t)(at - done));
        text_append(out, " ", 1);
        done = at;
    }
    text_append(out, done, (size_t)(end - done));
    return done > text.bytes;
}

/* lowercase - letter by letter and without their neighbours, as in the reference: a sigma that ends a word becomes
 * an ordinary one. */
static bool lowercase(struct text_span text, struct text *out) {
    const char *at = text.bytes, *end = text.bytes + text.length_bytes;
    out->length_bytes = 0;
    while (at < end) {
        uint32_t code_point = text_next_char(&at);
        if (code_point == 0x130) { /* the one letter whose lower case is two characters, i and a dot above */
            text_append(out, "i\xCC\x87", 3);
            continue;
        }
        text_append_char(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)code_point));
    }
    return true;
}

/* strip - nothing is copied: what is left is a part of the text. */
static struct text_span strip(const struct normal_step *step, const struct char_table *chars,
                              struct text_span text) {
    const char *start = text.bytes, *end = text.bytes + text.length_bytes;
    for (const char *next = start; step->left && start < end; start = next)
        if (!(char_class_next(chars, &next) & CHAR_SPACE))
            break;
    while (step->right && start < end) {
        uint32_t last = text_previous_char(end);
        if (!(char_class(chars, last) & CHAR_SPACE))
            break;
        char room[4];
        end -= text_encode_char(room, last);
    }
    return (struct text_span){start, (size_t)(end - start)};
}

/* One step.  *changed tells whether out holds the result; a span inside text may be returned through *text.
 */
static int apply_step(const struct normaliser *normaliser, const struct normal_step *step,
                      struct regex_state *regexes, struct text_span *text, struct text *out, bool *changed,
                      struct err *err) {
    *changed = false;
    switch (step->kind) {
    case NORMAL_NFC:
        *changed = nfc_apply(normaliser->nfc, *text, out);
        return 0;
    case NORMAL_NFKC:
        *changed = nfkc_apply(*text, out);
        return 0;
    case NORMAL_LOWERCASE:
        *changed = lowercase(*text, out);
        return 0;
    case NORMAL_PREPEND:
        out->length_bytes = 0;
        text_append(out, step->replacement.content, step->replacement.content_bytes);
        text_append(out, text->bytes, text->length_bytes);
        *changed = true;
        return 0;
    case NORMAL_REPLACE:
        return replacement_apply(&step->replacement, regexes, *text, out, changed, err);
    case NORMAL_PAD_MARKS:
        *changed = pad_marks(step, normaliser->chars, *text, out);
        return 0;
    case NORMAL_STRIP:
        *text = strip(step, normaliser->chars, *text);
        return 0;
    }
    return 0;
}

/* Two buffers in turn: a step reads one and writes the other.  A step that changes nothing costs no copy. */
int normaliser_apply(const struct normaliser *normaliser, struct regex_state *regexes, struct text_span text,
                     struct text buffers[2], struct text_span *result, struct err *err) {
    int into = 0; /* the buffer that does not hold the text so far */
    for (int i = 0; i < normaliser->num_steps && text.length_bytes > 0; i++) {
        bool changed;
        if (apply_step(normaliser, &normaliser->steps[i], regexes, &text, &buffers[into], &changed, err) != 0)
            return -1;
        if (changed) {
            text = (struct text_span){buffers[into].bytes, buffers[into].length_bytes};
            into = 1 - into;
        }
    }
    *result = text;
    return 0;
}
