/* loader_targets.c - targets counted in a file and its sequences, and refusals where there is none.  The first
 * token of a document is nobody's target; every other one is, where the loss mask is 1 and a sample reaches it. */
#include "data/tokens/loader_targets.h"
#include "data/tokens/token_places.h"

#include <stdlib.h>

enum { CHUNK_TOKENS = 1 << 16 };

/* How many targets among tokens of one document, read piece by piece. */
struct counter {
    const struct token_file *file;
    int32_t *tokens; /* [CHUNK_TOKENS] */
    uint8_t *mask;   /* [CHUNK_TOKENS] */
    int64_t most;    /* enough: counting ends here */
    int64_t count;
};

static void counter_init(struct counter *counter, const struct token_file *file, int64_t most) {
    *counter = (struct counter){.file = file, .most = most};
    counter->tokens = xmalloc(CHUNK_TOKENS * sizeof *counter->tokens);
    counter->mask = xmalloc(CHUNK_TOKENS * sizeof *counter->mask);
}

static void counter_release(struct counter *counter) {
    free(counter->tokens);
    free(counter->mask);
}

/* count_targets - tokens [first, end) of a document; a file without mask is not read. */
static int count_targets(struct counter *counter, int64_t document, int64_t first, int64_t end,
                         struct err *err) {
    int64_t begin = (int64_t)token_file_offsets(counter->file)[document];
    if (first == 0)
        first = 1;
    if (first < end && !token_file_has_mask(counter->file)) {
        counter->count += end - first;
        return 0;
    }
    for (; first < end && counter->count < counter->most; first += CHUNK_TOKENS) {
        int64_t now = end - first < CHUNK_TOKENS ? end - first : CHUNK_TOKENS;
        if (token_file_read(counter->file, begin + first, now, counter->tokens, counter->mask, err) != 0)
            return -1;
        for (int64_t i = 0; i < now; i++)
            counter->count += counter->mask[i] != 0;
    }
    return 0;
}

/* reached_tokens - how many tokens of a document a sample can have as target: the one after a cut still
 * counts. */
static int64_t reached_tokens(const struct file_order *order, int64_t document) {
    int64_t whole = file_order_document_tokens(order, document),
            used = file_order_used_tokens(order, document);
    return used > 0 && used < whole ? used + 1 : used;
}

/* has_target - 1 when a sample, or (evaluates) an evaluation window, has a target; 0 when none has; -1 with
 * err set.
 */
static int has_target(const struct file_order *order, bool evaluates, struct err *err) {
    struct counter counter;
    int64_t num_documents = token_file_num_documents(order->file);
    int status = 0;
    counter_init(&counter, order->file, 1);
    for (int64_t d = 0; d < num_documents && status == 0 && counter.count == 0; d++) {
        int64_t end = evaluates ? file_order_document_tokens(order, d) : reached_tokens(order, d);
        status = count_targets(&counter, d, 0, end, err);
    }
    counter_release(&counter);
    return status != 0 ? -1 : counter.count > 0;
}

/* fail_nothing - no target anywhere in the file. */
static int fail_nothing(const struct file_order *order, struct err *err) {
    const char *path = token_file_path(order->file);
    if (token_file_has_mask(order->file))
        return err_set(
            err,
            "token file '%s' has no target token: its loss mask is 0 everywhere, as with conversations "
            "without an answer; a loss would be a mean over nothing; prepare it again from conversations "
            "with turns of the assistant, or leave it out",
            path);
    return err_set(
        err,
        "token file '%s' has no target token: none of its documents is longer than one token; a loss would "
        "be a mean over nothing; prepare it again from other text, or leave it out",
        path);
}

int file_order_check_eval_targets(const struct file_order *order, struct err *err) {
    int found = has_target(order, true, err);
    return found < 0 ? -1 : found > 0 ? 0 : fail_nothing(order, err);
}

int file_order_check_targets(const struct file_order *order, struct err *err) {
    int found = has_target(order, false, err);
    if (found != 0)
        return found < 0 ? -1 : 0;
    if (order->packing == PACKING_STREAM || file_order_check_eval_targets(order, err) != 0)
        return order->packing == PACKING_STREAM ? fail_nothing(order, err) : -1;
    return err_set(
        err,
        "token file '%s' has no target token within the first %lld tokens of its documents: with "
        "data.packing whole nothing else is used; raise data.sequence_tokens, or set data.packing to stream",
        token_file_path(order->file), (long long)order->sequence_tokens);
}

int file_order_check_long(const struct file_order *order, struct err *err) {
    const char *path = token_file_path(order->file);
    int64_t longest = file_order_unit_tokens(order, order->longest / order->unit_documents);
    char note[TOKEN_PLACE_ROOM];
    if (order->packing == PACKING_STREAM || order->num_long == 0)
        return 0;
    char *place = token_place_text(order->file, order->longest);
    token_place_note(place, note);
    free(place);
    if (order->unit_documents > 1 && order->long_documents != LONG_SKIP)
        return err_set(
            err,
            "token file '%s': %lld of %lld pairs are longer than data.sequence_tokens (%lld), both documents together, the "
            "one that begins with document %lld%s the longest with %lld tokens; a pair is never cut: raise it, or set "
            "data.long_documents to skip",
            path, (long long)order->num_long, (long long)order->num_units, (long long)order->sequence_tokens,
            (long long)order->longest, note, (long long)longest);
    if (order->long_documents == LONG_FAIL)
        return err_set(
            err,
            "token file '%s': %lld of %lld documents are longer than data.sequence_tokens (%lld), document "
            "%lld%s the longest with %lld; raise it, set data.packing to stream, or data.long_documents to cut "
            "or skip",
            path, (long long)order->num_long, (long long)token_file_num_documents(order->file),
            (long long)order->sequence_tokens, (long long)order->longest, note, (long long)longest);
    if (order->num_samples == 0 && order->unit_documents > 1)
        return err_set(
            err,
            "token file '%s': every pair is longer than a sequence (%lld tokens), both documents together, and none "
            "is cut: make the sequences longer",
            path, (long long)order->sequence_tokens);
    if (order->num_samples == 0)
        return err_set(err,
                       "token file '%s': every document is longer than data.sequence_tokens (%lld), and "
                       "data.long_documents skips those: raise it, or set data.long_documents to cut",
                       path, (long long)order->sequence_tokens);
    return 0;
}

/* has_texts - whether a source of the file holds documents that count from their first target on, as texts do: those of a
 * source are of one kind, so one of each is looked at.  1, 0, or -1 with err set. */
static int has_texts(const struct token_file *file, struct err *err) {
    bool *is_known = xcalloc((size_t)token_file_num_sources(file) + 1, sizeof *is_known);
    const uint64_t *offsets = token_file_offsets(file);
    int found = token_file_has_mask(file) ? 0 : 1;
    for (int64_t d = 0; d < token_file_num_documents(file) && found == 0; d++) {
        int64_t source = token_file_document_source(file, d);
        int32_t token;
        uint8_t counts;
        if (is_known[source] || offsets[d + 1] - offsets[d] < 2)
            continue;
        is_known[source] = true;
        found =
            token_file_read(file, (int64_t)offsets[d] + 1, 1, &token, &counts, err) != 0 ? -1 : counts != 0;
    }
    free(is_known);
    return found;
}

int file_order_long_documents(const struct file_order *order, struct long_documents *out, struct err *err) {
    struct counter counter;
    int64_t num_documents = token_file_num_documents(order->file);
    int status = 0;
    *out = (struct long_documents){.path = token_file_path(order->file),
                                   .num_documents = order->num_units,
                                   .are_pairs = order->unit_documents > 1,
                                   .num_long = order->num_long,
                                   .num_tokens = order->num_cut_tokens,
                                   .has_mask = token_file_has_mask(order->file)};
    if (order->num_long == 0)
        return 0;
    int texts = has_texts(order->file, err);
    out->has_texts = texts > 0;
    if (texts < 0 || order->num_cut_tokens == 0)
        return texts < 0 ? -1 : 0;
    counter_init(&counter, order->file, INT64_MAX);
    for (int64_t d = 0; d < num_documents && status == 0; d++) {
        int64_t whole = file_order_document_tokens(order, d);
        if (file_order_used_tokens(order, d) < whole)
            status = count_targets(&counter, d, reached_tokens(order, d), whole, err);
    }
    out->num_targets = counter.count;
    counter_release(&counter);
    return status;
}
