/* resume_data.c - what the token files hold, then and now, by content hashes and order. */
#include "train/run/resume_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WHAT_ROOM = 500 };

/* text_of - "" where the list is shorter, or of another form: it was read from a file. */
static const char *text_of(const json_t *list, size_t i, const char *key) {
    const char *text = json_string_value(json_object_get(json_array_get(list, i), key));
    return text ? text : "";
}

/* share_of - of the samples; the whole is 1. */
static double share_of(const json_t *list, size_t i) {
    double sum = 0, own = 0;
    for (size_t j = 0; j < json_array_size(list); j++) {
        double weight = json_number_value(json_object_get(json_array_get(list, j), "weight"));
        sum += weight;
        own = j == i ? weight : own;
    }
    return sum > 0 ? own / sum : 0;
}

/* tell_shares - both in per cent, with as many digits as it takes for them to look as different as they are. */
enum { SHARE_ROOM = 32, FEWEST_DIGITS = 4, MOST_DIGITS = 17 };

static void tell_shares(char before_text[SHARE_ROOM], char now_text[SHARE_ROOM], double before, double now) {
    for (int digits = FEWEST_DIGITS; digits <= MOST_DIGITS; digits++) {
        snprintf(before_text, SHARE_ROOM, "%.*g", digits, 100 * before);
        snprintf(now_text, SHARE_ROOM, "%.*g", digits, 100 * now);
        if (strcmp(before_text, now_text) != 0)
            return;
    }
}

/* find_content - the place of a file with these contents, or -1. */
static int find_content(const json_t *list, const char *content) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(text_of(list, i, "content"), content) == 0)
            return (int)i;
    return -1;
}

/* describe_difference - the first one; false: the same tokens in the same order with the same shares.  Shares are
 * compared as the loader rounds them, to 2^-32: weights of 1 and 1 are the same as of 2 and 2. */
static bool describe_difference(const char *key, const json_t *was, const json_t *now, char *what) {
    size_t count = json_array_size(now);
    for (size_t i = 0; i < count && i < json_array_size(was); i++) {
        const char *content = text_of(now, i, "content");
        if (strcmp(content, text_of(was, i, "content")) == 0)
            continue;
        int place = find_content(was, content);
        if (place >= 0)
            snprintf(what, WHAT_ROOM,
                     "%s has its files in another order: '%.160s' is now file %zu and was file %d", key,
                     text_of(now, i, "path"), i + 1, place + 1);
        else
            snprintf(what, WHAT_ROOM,
                     "%s reads other tokens: file %zu, '%.120s', does not hold what '%.120s' held (contents "
                     "%.12s, "
                     "were %.12s)",
                     key, i + 1, text_of(now, i, "path"), text_of(was, i, "path"), content,
                     text_of(was, i, "content"));
        return true;
    }
    if (count != json_array_size(was)) {
        snprintf(what, WHAT_ROOM, "%s had %zu files, it now has %zu", key, json_array_size(was), count);
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        double before = share_of(was, i), share = share_of(now, i);
        if (llround(before * 0x1p32) == llround(share * 0x1p32))
            continue;
        char before_text[SHARE_ROOM], now_text[SHARE_ROOM];
        tell_shares(before_text, now_text, before, share);
        snprintf(what, WHAT_ROOM, "%s has other weights: the share of '%.160s' was %s %%, it is now %s %%",
                 key, text_of(now, i, "path"), before_text, now_text);
        return true;
    }
    return false;
}

/* tell_names - files that were renamed or moved. */
static void tell_names(const char *key, const json_t *was, const json_t *now, struct diagnostics *said) {
    for (size_t i = 0; i < json_array_size(now); i++)
        if (strcmp(text_of(was, i, "path"), text_of(now, i, "path")) != 0)
            diagnostic_add(said, DIAGNOSTIC_NOTE, "%s: '%.300s' is now '%.300s', with the same contents", key,
                           text_of(was, i, "path"), text_of(now, i, "path"));
}

/* tell_teachers - files whose teacher is another model, or saw more or less of a text, under whatever name: the same tokens are learnt
 * otherwise from here on.  Checkpoints of runs without, and those that did not keep it, have nothing to compare with. */
static void tell_teachers(const json_t *was, const json_t *now, struct diagnostics *said) {
    for (size_t i = 0; i < json_array_size(now); i++) {
        const json_t *before = json_object_get(json_array_get(was, i), "teacher"),
                     *after = json_object_get(json_array_get(now, i), "teacher");
        const char *model = json_string_value(json_object_get(before, "model"));
        if (!model || !after || json_equal(before, after))
            continue;
        diagnostic_add(
            said, DIAGNOSTIC_NOTE,
            "objective.teacher: the teacher of '%.300s' was the model %.12s with texts of up to %lld tokens, is now "
            "%.12s with up to %lld",
            text_of(now, i, "path"), model,
            (long long)json_integer_value(json_object_get(before, "sequence_tokens")),
            json_string_value(json_object_get(after, "model")),
            (long long)json_integer_value(json_object_get(after, "sequence_tokens")));
    }
}

/* order_changed - a branch that counts its samples otherwise, beside other tokens. */
static bool order_changed(const struct resume_facts *facts, const struct diagnostics *said) {
    static const char *const names[] = {"run.seed was", "data.sequence_tokens was", "data.packing was",
                                        "train.batch_sequences was"};
    for (int i = 0; facts->is_branch && i < said->count; i++)
        for (size_t n = 0; n < sizeof names / sizeof names[0]; n++)
            if (strncmp(said->items[i].text, names[n], strlen(names[n])) == 0)
                return true;
    return false;
}

/* compare_train - of the training data a difference ends a resume and is a note of a branch, whose data then begin
 * anew. */
static int compare_train(const struct resume_facts *facts, const json_t *now, bool *is_new_order,
                         struct diagnostics *said, struct err *err) {
    char what[WHAT_ROOM];
    const json_t *was = json_find(facts->state, "data");
    *is_new_order = order_changed(facts, said);
    if (!was) {
        diagnostic_add(
            said, DIAGNOSTIC_WARNING,
            "'%.300s' is of a version that did not keep what its token files hold: only their number of "
            "tokens "
            "was compared",
            facts->checkpoint);
        return 0;
    }
    if (!describe_difference("data.train", was, now, what)) {
        tell_names("data.train", was, now, said);
        tell_teachers(was, now, said);
        return 0;
    }
    *is_new_order = true;
    if (facts->is_branch) {
        diagnostic_add(said, DIAGNOSTIC_NOTE, "%s", what);
        return 0;
    }
    const char *slash = strrchr(facts->checkpoint, '/');
    int length = slash ? (int)(slash - facts->checkpoint) : 0;
    return err_set(
        err,
        "%s; '%.140s' was trained in that order: set it back, start anew with another run.folder, or go on "
        "from here with these data in another run.folder with checkpoint.from: %.*s",
        what, facts->checkpoint, length > 140 ? 140 : length, facts->checkpoint);
}

/* Other validation data never end a run: they change no weight. */
int resume_compare_data(const struct resume_facts *facts, const json_t *train, const json_t *valid,
                        bool *is_new_order, struct diagnostics *said, struct err *err) {
    char what[WHAT_ROOM];
    const json_t *valid_was = json_find(facts->state, "valid");
    if (compare_train(facts, train, is_new_order, said, err) != 0)
        return -1;
    if (!json_find(facts->state, "data") || (!valid_was && !valid))
        return 0;
    if (!valid_was || !valid)
        diagnostic_add(said, DIAGNOSTIC_NOTE, "data.valid: there %s",
                       valid ? "was none, it is now given" : "is none any more");
    else if (describe_difference("data.valid", valid_was, valid, what))
        diagnostic_add(said, DIAGNOSTIC_NOTE,
                       "%s; validation losses cannot be compared with the earlier ones", what);
    else
        tell_names("data.valid", valid_was, valid, said);
    return 0;
}
