/* long_text.c - see long_text.h. */
#include "train/plan/long_text.h"

#include <stdio.h>

/* what_of - the word for the documents of a file; one that holds texts beside conversations has "documents". */
static const char *what_of(const struct long_documents *facts) {
    return facts->are_pairs ? "pairs" : facts->has_mask && !facts->has_texts ? "conversations" : "documents";
}

/* way_out - how all of it would be used.  Pairs are never cut, so packing has no other answer for them. */
static const char *way_out(const struct long_documents *facts) {
    if (facts->are_pairs)
        return "";
    if (facts->has_mask && facts->has_texts)
        return "; the file holds conversations and texts: prepared into files of their own, which data.train takes "
               "side by side, the texts are used whole";
    return "; data.packing stream would use all";
}

const char *long_text(const struct config *config, const struct long_documents *facts, char *text) {
    bool skips = config->data.long_documents == LONG_SKIP;
    text[0] = '\0';
    if (facts->num_long == 0)
        return text;
    if (facts->num_tokens > 0)
        snprintf(text, LONG_TEXT_ROOM,
                 "'%.200s': %lld of %lld %s are longer than data.sequence_tokens (%lld) and %s: %lld tokens "
                 "are not "
                 "used, %lld of them targets (data.long_documents: %s%s)",
                 facts->path, (long long)facts->num_long, (long long)facts->num_documents, what_of(facts),
                 (long long)config->data.sequence_tokens, skips ? "skipped" : "cut there",
                 (long long)facts->num_tokens, (long long)facts->num_targets, skips ? "skip" : "cut",
                 way_out(facts));
    else if (facts->has_mask)
        snprintf(text, LONG_TEXT_ROOM,
                 "'%.200s': %lld of %lld %s are longer than data.sequence_tokens (%lld): nothing is left "
                 "out, but their "
                 "later parts are learnt without what came before",
                 facts->path, (long long)facts->num_long, (long long)facts->num_documents, what_of(facts),
                 (long long)config->data.sequence_tokens);
    return text;
}
