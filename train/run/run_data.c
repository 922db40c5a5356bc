/* run_data.c - see run_data.h. */
#include "train/run/run_data.h"

#include <stdio.h>

int run_data_check(const struct config *config, const struct loader *train, const struct loader *valid,
                   struct err *err) {
    if (loader_check_targets(train, err) != 0)
        return err_prefix(err, "nothing to learn");
    if (valid && loader_check_eval_targets(valid, config->valid.sequences, err) != 0)
        return err_prefix(err, "nothing to validate");
    return 0;
}

const char *run_data_long_text(const struct config *config, const struct long_documents *facts, char *text,
                               size_t room_bytes) {
    const char *what = facts->has_mask ? "conversations" : "documents";
    bool skips = config->data.long_documents == LONG_SKIP;
    text[0] = '\0';
    if (facts->num_long == 0)
        return text;
    if (facts->num_tokens > 0)
        snprintf(text, room_bytes,
                 "'%.200s': %lld of %lld %s are longer than data.sequence_tokens (%lld) and %s: %lld tokens "
                 "are not "
                 "used, %lld of them targets (data.long_documents: %s; data.packing stream would use all)",
                 facts->path, (long long)facts->num_long, (long long)facts->num_documents, what,
                 (long long)config->data.sequence_tokens, skips ? "skipped" : "cut there",
                 (long long)facts->num_tokens, (long long)facts->num_targets, skips ? "skip" : "cut");
    else if (facts->has_mask)
        snprintf(text, room_bytes,
                 "'%.200s': %lld of %lld %s are longer than data.sequence_tokens (%lld): nothing is left "
                 "out, but their "
                 "later parts are learnt without what came before",
                 facts->path, (long long)facts->num_long, (long long)facts->num_documents, what,
                 (long long)config->data.sequence_tokens);
    return text;
}

int run_data_tell(const struct config *config, const struct loader *train, struct metrics *metrics,
                  struct err *err) {
    char text[700];
    struct long_documents facts;
    for (int i = 0; i < loader_num_files(train); i++) {
        if (loader_long_documents(train, i, &facts, err) != 0)
            return -1;
        if (!run_data_long_text(config, &facts, text, sizeof text)[0])
            continue;
        if (facts.num_tokens > 0)
            metrics_left_out(metrics, text);
        else
            metrics_note(metrics, "%s", text);
    }
    return 0;
}
