/* tokenizer_split.h - the pre-tokeniser: steps that cut a text into the pieces that are encoded one by one.
 */
#pragma once

#include "data/tokenizer/tokenizer_bpe.h"
#include "data/tokenizer/tokenizer_regex.h"
#include "data/tokenizer/tokenizer_scan.h"

enum split_kind {
    SPLIT_SCANNER,   /* a well-known pattern, isolated */
    SPLIT_REGEX,     /* any other pattern, or a string */
    SPLIT_CLASS,     /* characters of a class: Digits, Punctuation, WhitespaceSplit */
    SPLIT_CHARACTER, /* one character, merged with what follows: Metaspace */
    SPLIT_METASPACE, /* spaces become the replacement, which is put in front where there is none */
    SPLIT_ADD_SPACE, /* ByteLevel's add_prefix_space */
    SPLIT_CUT,       /* where no merge can reach across: see bpe_cut */
};
enum split_behaviour {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_MERGED_PREVIOUS,
    SPLIT_MERGED_NEXT,
    SPLIT_CONTIGUOUS
};
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct split_step {
    enum split_kind kind;
    enum split_behaviour behaviour;
    bool invert;
    piece_scanner scanner;
    struct regex *regex;         /* owned */
    unsigned class;              /* SPLIT_CLASS: enum char_class */
    uint32_t replacement;        /* SPLIT_METASPACE, SPLIT_CHARACTER */
    enum prepend_scheme prepend; /* SPLIT_METASPACE */
};
enum { SPLIT_MAX_STEPS = 16 };

struct splitter {
    struct split_step steps[SPLIT_MAX_STEPS];
    int num_steps;
    bool byte_level;    /* the model sees bytes */
    char *pattern;      /* first Split's regular expression, "" for ByteLevel's own; owned; NULL for none */
    bool splits_digits; /* each digit alone */
    bool adds_space_prefix;
};

/* splitter_parse - from the "pre_tokenizer" value of tokenizer.json (NULL: none).  Returns 0, or -1 with err
 * set: a component that is not supported.  splitter_release frees in both cases. */
int splitter_parse(struct splitter *splitter, const json_t *json, struct err *err);
void splitter_release(struct splitter *splitter);

/* splitter_add_cut - a last step for models whose pieces can be cut (bpe_cut). */
void splitter_add_cut(struct splitter *splitter);

/* What running needs; one per thread. */
struct split_run {
    const struct splitter *splitter;
    const struct char_table *chars;
    struct regex_state *regexes;
    const struct bpe *bpe;
    struct bpe_state *encoder;
    struct text buffers[SPLIT_MAX_STEPS]; /* texts changed by a step */
    struct token_list *out;
    struct err *err;
};

/* splitter_run - cut text and append the ids of its pieces to run->out.  at_start: text begins the document.
 * Returns 0, or -1 with run->err set: a regular expression ran out of its limits. */
int splitter_run(struct split_run *run, struct text_span text, bool at_start);
