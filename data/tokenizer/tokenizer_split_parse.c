/* tokenizer_split_parse.c - reading the pre-tokeniser of a tokenizer.json.  See tokenizer_split.h. */
#include <stdlib.h>

#include "data/corpus/json.h"
#include "data/tokenizer/tokenizer_normal.h"
#include "data/tokenizer/tokenizer_sequence.h"
#include "data/tokenizer/tokenizer_split.h"

/* add_step - takes over the step's regex, also where it fails. */
static int add_step(struct splitter *splitter, struct split_step step, struct err *err) {
    if (splitter->num_steps == SPLIT_MAX_STEPS - 1) { /* one is kept for splitter_add_cut */
        regex_free(step.regex);
        return err_set(err, "more than %d pre-tokenizer steps are not supported", SPLIT_MAX_STEPS - 1);
    }
    splitter->steps[splitter->num_steps++] = step;
    return 0;
}

void splitter_add_cut(struct splitter *splitter) {
    CHECK(splitter->num_steps < SPLIT_MAX_STEPS, "no room for the last step");
    splitter->steps[splitter->num_steps++] = (struct split_step){.kind = SPLIT_CUT};
}

/* parse_behaviour - by its name in the file; fallback: where it is absent, NULL: it must be there. */
static int parse_behaviour(const json_t *json, const char *fallback, enum split_behaviour *behaviour,
                           struct err *err) {
    const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name;
    if (json_get_string_or(json, "behavior", fallback, &name, err) != 0)
        return -1;
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *behaviour = (enum split_behaviour)i;
            return 0;
        }
    return err_set(err, "split behavior '%.64s' is not supported", name ? name : "");
}

/* parse_split - a pattern that is known letter by letter gets the scanner written for it; any other goes to
 * PCRE2. */
static int parse_split(struct splitter *splitter, const json_t *json, struct err *err) {
    struct split_step step = {.kind = SPLIT_REGEX};
    const char *pattern;
    size_t pattern_bytes;
    bool is_regex;
    if (pattern_parse(json, &pattern, &pattern_bytes, &is_regex, err) != 0 ||
        parse_behaviour(json, NULL, &step.behaviour, err) != 0 ||
        json_get_bool_or(json, "invert", false, &step.invert, err) != 0)
        return -1;
    if (is_regex && strlen(pattern) != pattern_bytes)
        return err_set(err, "a regular expression with a NUL character is not supported");
    if (is_regex && !splitter->pattern)
        splitter->pattern = xstrdup(pattern);
    /* These patterns match all of any text, so that isolated and removed-when-inverted are the same. */
    bool keeps_matches =
        (step.behaviour == SPLIT_ISOLATED) || (step.behaviour == SPLIT_REMOVED && step.invert);
    step.scanner = is_regex && keeps_matches ? scanner_find(pattern) : NULL;
    if (step.scanner)
        step.kind = SPLIT_SCANNER;
    else if (!(step.regex = regex_compile(pattern, pattern_bytes, !is_regex, err)))
        return -1;
    return add_step(splitter, step, err);
}

/* parse_byte_level - its own pattern is GPT-2's; with use_regex off the steps before it have cut the text. */
static int parse_byte_level(struct splitter *splitter, const json_t *json, struct err *err) {
    bool add_space, use_regex;
    if (json_get_bool(json, "add_prefix_space", &add_space, err) != 0 ||
        json_get_bool_or(json, "use_regex", true, &use_regex, err) != 0)
        return -1;
    splitter->byte_level = true;
    if (add_space) {
        splitter->adds_space_prefix = true;
        if (add_step(splitter, (struct split_step){.kind = SPLIT_ADD_SPACE}, err) != 0)
            return -1;
    }
    if (!use_regex)
        return 0;
    if (!splitter->pattern)
        splitter->pattern = xstrdup("");
    return add_step(splitter, (struct split_step){.kind = SPLIT_SCANNER, .scanner = scan_gpt2}, err);
}

/* parse_metaspace - two steps: spaces become the replacement, and then, unless 'split' is off, each replacement
 * begins a piece.  Files older than prepend_scheme have add_prefix_space: off beside a scheme that prepends is
 * refused. */
static int parse_metaspace(struct splitter *splitter, const json_t *json, struct err *err) {
    const char *replacement, *scheme;
    bool add_prefix_space, split;
    if (json_get_string(json, "replacement", &replacement, err) != 0 ||
        json_get_string_or(json, "prepend_scheme", "always", &scheme, err) != 0 ||
        json_get_bool_or(json, "add_prefix_space", true, &add_prefix_space, err) != 0 ||
        json_get_bool_or(json, "split", true, &split, err) != 0)
        return -1;
    struct split_step step = {.kind = SPLIT_METASPACE};
    const char *after = replacement;
    step.replacement = *replacement ? text_next_char(&after) : 0;
    if (after == replacement || *after)
        return err_set(err, "Metaspace replacement '%.64s' is not one character", replacement);
    if (strcmp(scheme, "always") == 0)
        step.prepend = PREPEND_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        step.prepend = PREPEND_FIRST;
    else if (strcmp(scheme, "never") == 0)
        step.prepend = PREPEND_NEVER;
    else
        return err_set(err, "Metaspace prepend_scheme '%.64s' is not supported", scheme);
    if (!add_prefix_space && step.prepend != PREPEND_NEVER)
        return err_set(err, "Metaspace has add_prefix_space false but prepend_scheme '%s'", scheme);
    splitter->adds_space_prefix |= step.prepend != PREPEND_NEVER;
    if (add_step(splitter, step, err) != 0)
        return -1;
    step.kind = SPLIT_CHARACTER;
    step.behaviour = SPLIT_MERGED_NEXT;
    return split ? add_step(splitter, step, err) : 0;
}

/* parse_digits - each digit alone, or runs of them. */
static int parse_digits(struct splitter *splitter, const json_t *json, struct err *err) {
    bool individual;
    if (json_get_bool_or(json, "individual_digits", false, &individual, err) != 0)
        return -1;
    splitter->splits_digits |= individual;
    return add_step(splitter,
                    (struct split_step){.kind = SPLIT_CLASS,
                                        .class = CHAR_NUMBER,
                                        .behaviour = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS},
                    err);
}

static int parse_punctuation(struct splitter *splitter, const json_t *json, struct err *err) {
    struct split_step step = {.kind = SPLIT_CLASS, .class = CHAR_PUNCTUATION};
    if (parse_behaviour(json, "Isolated", &step.behaviour, err) != 0)
        return -1;
    return add_step(splitter, step, err);
}

/* parse_step - ByteLevel must be the last of the steps. */
static int parse_step(struct splitter *splitter, const json_t *json, const char *type, struct err *err) {
    if (splitter->byte_level)
        return err_set(err, "pre-tokenizer '%.64s' after ByteLevel is not supported", type);
    if (strcmp(type, "Split") == 0)
        return parse_split(splitter, json, err);
    if (strcmp(type, "ByteLevel") == 0)
        return parse_byte_level(splitter, json, err);
    if (strcmp(type, "Metaspace") == 0)
        return parse_metaspace(splitter, json, err);
    if (strcmp(type, "Digits") == 0)
        return parse_digits(splitter, json, err);
    if (strcmp(type, "Punctuation") == 0)
        return parse_punctuation(splitter, json, err);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return add_step(
            splitter,
            (struct split_step){.kind = SPLIT_CLASS, .class = CHAR_SPACE, .behaviour = SPLIT_REMOVED}, err);
    return err_set(
        err,
        "pre-tokenizer '%.64s' is not supported (Split, ByteLevel, Metaspace, Digits, Punctuation, "
        "WhitespaceSplit, Sequence are)",
        type);
}

static int take_step(void *user, const json_t *json, const char *type, struct err *err) {
    return parse_step(user, json, type, err);
}

int splitter_parse(struct splitter *splitter, const json_t *json, struct err *err) {
    static const struct sequence SEQUENCE = {"pre_tokenizer", "pretokenizers", take_step};
    *splitter = (struct splitter){0};
    if (!json || json_is_null(json))
        return 0;
    return sequence_walk(&SEQUENCE, json, splitter, err);
}

void splitter_release(struct splitter *splitter) {
    for (int i = 0; i < splitter->num_steps; i++)
        regex_free(splitter->steps[i].regex);
    free(splitter->pattern);
    *splitter = (struct splitter){0};
}
