/* tokenizer_split.c - running the pre-tokeniser's steps.  Reading them is in tokenizer_split_parse.c.
 *
 * Each step cuts a piece and hands every part to the next step; after the last step stands the encoder.  So
 * the pieces never exist as a list. */
#include "data/tokenizer/tokenizer_split.h"

static int run_step(struct split_run *run, int number, struct text_span text, bool at_start);

/* pass_on - to the next step; nothing of an empty piece. */
static int pass_on(struct split_run *run, int number, const char *start, const char *end, bool at_start) {
    if (start == end)
        return 0;
    return run_step(run, number + 1, (struct text_span){start, (size_t)(end - start)}, at_start);
}

/* run_pieces - one piece after the other from the front: as a scanner ends them, or where BPE may be cut. */
static int run_pieces(struct split_run *run, int number, struct text_span text, bool at_start) {
    piece_scanner scanner = run->splitter->steps[number].scanner; /* NULL for SPLIT_CUT */
    while (text.length_bytes > 0) {
        size_t piece_bytes = scanner ? scanner(run->chars, text.bytes, text.length_bytes)
                                     : bpe_cut(run->bpe, text.bytes, text.length_bytes);
        if (run_step(run, number + 1, (struct text_span){text.bytes, piece_bytes}, at_start) != 0)
            return -1;
        text.bytes += piece_bytes;
        text.length_bytes -= piece_bytes;
        at_start = false;
    }
    return 0;
}

/* Next match of a step's pattern at or after from: 1 with its span, 0 for none, -1 for an error. */
static int next_match(struct split_run *run, const struct split_step *step, struct text_span text,
                      const char *from, struct text_span *match) {
    if (step->kind == SPLIT_REGEX)
        return regex_next(step->regex, run->regexes, text, (size_t)(from - text.bytes), match, run->err);
    for (const char *at = from, *end = text.bytes + text.length_bytes; at < end;) {
        const char *start = at;
        bool found = step->kind == SPLIT_CLASS ? char_class_next(run->chars, &at) & step->class
                                               : text_next_char(&at) == step->replacement;
        if (found) {
            *match = (struct text_span){start, (size_t)(at - start)};
            return 1;
        }
    }
    return 0;
}

/* Joins matches and gaps into pieces as a behaviour asks; pending is the piece that may still grow. */
struct joiner {
    struct split_run *run;
    int number;
    const char *pending, *pending_end;
    bool any, previous_is_match, at_start;
};

/* flush - hand out the piece that will grow no more.  Only the first that is not empty stands at the start. */
static int flush(struct joiner *joiner) {
    int status = pass_on(joiner->run, joiner->number, joiner->pending, joiner->pending_end, joiner->at_start);
    joiner->at_start = joiner->at_start && joiner->pending == joiner->pending_end;
    return status;
}

/* A match or a gap between matches: does it join the piece before it?  As in the reference, a match that
 * follows a match starts a piece of its own in both merging behaviours. */
static bool joins(const struct joiner *joiner, enum split_behaviour behaviour, bool is_match) {
    if (behaviour == SPLIT_CONTIGUOUS)
        return is_match == joiner->previous_is_match;
    if (behaviour == SPLIT_MERGED_PREVIOUS)
        return is_match && !joiner->previous_is_match;
    return behaviour == SPLIT_MERGED_NEXT && !is_match && joiner->previous_is_match;
}

/* add_part - the next match or gap.  Of one that is removed an empty piece is left, and what follows it no longer
 * stands at the start. */
static int add_part(struct joiner *joiner, enum split_behaviour behaviour, const char *start, const char *end,
                    bool is_match) {
    if (start == end)
        return 0;
    if (joiner->any && joins(joiner, behaviour, is_match)) {
        joiner->pending_end = end;
    } else {
        if (flush(joiner) != 0)
            return -1;
        joiner->pending = start;
        joiner->pending_end = end;
        if (behaviour == SPLIT_REMOVED && is_match) {
            joiner->pending = end;
            joiner->at_start = false;
        }
    }
    joiner->any = true;
    joiner->previous_is_match = is_match;
    return 0;
}

/* run_matches - gap, match, gap, ...; with invert the gaps are what counts as matches. */
static int run_matches(struct split_run *run, int number, struct text_span text, bool at_start) {
    const struct split_step *step = &run->splitter->steps[number];
    const char *at = text.bytes, *end = text.bytes + text.length_bytes;
    struct joiner joiner = {run, number, at, at, false, false, at_start};
    struct text_span match;
    int found;
    while ((found = next_match(run, step, text, at, &match)) == 1) {
        const char *after = match.bytes + match.length_bytes;
        if (add_part(&joiner, step->behaviour, at, match.bytes, step->invert) != 0 ||
            add_part(&joiner, step->behaviour, match.bytes, after, !step->invert) != 0)
            return -1;
        at = after;
    }
    if (found < 0 || add_part(&joiner, step->behaviour, at, end, step->invert) != 0)
        return -1;
    return flush(&joiner);
}

/* run_metaspace - a prefix where the scheme wants one and none is there.  Each step has a buffer of its own: its
 * pieces are read while later steps write theirs. */
static int run_metaspace(struct split_run *run, int number, struct text_span text, bool at_start) {
    const struct split_step *step = &run->splitter->steps[number];
    struct text *buffer = &run->buffers[number];
    char replacement[4];
    size_t replacement_bytes = text_encode_char(replacement, step->replacement);
    buffer->length_bytes = 0;
    const char *at = text.bytes, *end = text.bytes + text.length_bytes;
    bool has_prefix = *at == ' ' || (text.length_bytes >= replacement_bytes &&
                                     memcmp(at, replacement, replacement_bytes) == 0);
    if (!has_prefix && (step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && at_start)))
        text_append(buffer, replacement, replacement_bytes);
    while (at < end) {
        const char *space = memchr(at, ' ', (size_t)(end - at));
        text_append(buffer, at, (size_t)((space ? space : end) - at));
        if (!space)
            break;
        text_append(buffer, replacement, replacement_bytes);
        at = space + 1;
    }
    return run_step(run, number + 1, (struct text_span){buffer->bytes, buffer->length_bytes}, at_start);
}

/* run_add_space - unless the piece begins with one, as in the reference. */
static int run_add_space(struct split_run *run, int number, struct text_span text, bool at_start) {
    if (text.bytes[0] == ' ')
        return run_step(run, number + 1, text, at_start);
    struct text *buffer = &run->buffers[number];
    buffer->length_bytes = 0;
    text_append(buffer, " ", 1);
    text_append(buffer, text.bytes, text.length_bytes);
    return run_step(run, number + 1, (struct text_span){buffer->bytes, buffer->length_bytes}, at_start);
}

static int run_step(struct split_run *run, int number, struct text_span text, bool at_start) {
    if (number == run->splitter->num_steps) {
        bpe_encode(run->encoder, text.bytes, text.length_bytes, run->out);
        return 0;
    }
    switch (run->splitter->steps[number].kind) {
    case SPLIT_SCANNER:
    case SPLIT_CUT:
        return run_pieces(run, number, text, at_start);
    case SPLIT_REGEX:
    case SPLIT_CLASS:
    case SPLIT_CHARACTER:
        return run_matches(run, number, text, at_start);
    case SPLIT_METASPACE:
        return run_metaspace(run, number, text, at_start);
    case SPLIT_ADD_SPACE:
        return run_add_space(run, number, text, at_start);
    }
    return 0;
}

int splitter_run(struct split_run *run, struct text_span text, bool at_start) {
    return text.length_bytes > 0 ? run_step(run, 0, text, at_start) : 0;
}
