/* prepare_split.c - which documents are kept for validation: every n-th one, or a share of each source by the hashes of its
 * texts.  The latter does not depend on order, files or threads, and a text is on one side however often it comes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_batch.h"
#include "data/corpus/prepare_where.h"

char *prepare_valid_path(const char *output) {
    size_t length = strlen(output);
    bool has_ending = length > 3 && strcmp(output + length - 3, ".h5") == 0;
    return xasprintf("%.*s-valid.h5", (int)(has_ending ? length - 3 : length), output);
}

double prepare_valid_share(const struct prepare_config *config, int source) {
    double own = config->sources[source].valid_share;
    return isnan(own) ? config->valid_share : own;
}

bool prepare_has_valid(const struct prepare_config *config) {
    for (int i = 0; i < config->num_sources; i++)
        if (prepare_valid_share(config, i) > 0)
            return true;
    return config->valid_every > 0;
}

int split_check(const struct prepare_config *config, struct err *err) {
    if (config->valid_every < 0 || config->valid_every == 1)
        return err_set(err, "valid_every is %lld; use 0 for no validation file, or 2 and more",
                       (long long)config->valid_every);
    for (int i = 0; i < config->num_sources; i++) {
        double share = prepare_valid_share(config, i), first = prepare_valid_share(config, 0);
        if (share > 0 && config->valid_every > 0)
            return err_set(
                err,
                "prepare.valid_every and valid_share each say what is kept for validation: set one of them");
        if (!config->deduplicate && share != first)
            return err_set(
                err,
                "valid_share is %g of source '%s' and %g of '%s': with prepare.deduplicate false a text that both have would be "
                "learnt and validated; give all sources one share",
                first, config->sources[0].path, share, config->sources[i].path);
    }
    return 0;
}

bool split_is_valid(const struct prepare_config *config, const struct batch_document *document,
                    int64_t num_kept) {
    double share = prepare_valid_share(config, document->source);
    if (config->valid_every > 0)
        return num_kept % config->valid_every == config->valid_every - 1;
    return share > 0 && (double)(document->hash.high64 >> 11) * 0x1p-53 < share;
}

int split_fail(const struct prepare_config *config, int64_t num_documents, struct err *err) {
    if (config->valid_every > 0)
        return err_set(err, "no document for validation: there are only %lld, and valid_every is %lld",
                       (long long)num_documents, (long long)config->valid_every);
    return err_set(
        err,
        "no document for validation: there are only %lld, and the valid_share of each source is small; raise it",
        (long long)num_documents);
}

/* tell_empty - a source that gave nothing: a field that its records do not have is the usual reason. */
static void tell_empty(const struct prepare_config *config, int source, const struct where_counts *filtered,
                       const char *name) {
    if (config->sources[source].num_filters > 0)
        where_tell(filtered, config, source, name);
    else
        warn("no document comes from '%s': all that it holds was left out, for the reasons counted below",
             name);
}

/* tell_unvalidated - a source of which all documents are learnt, though some should be kept. */
static void tell_unvalidated(const struct prepare_config *config, int i, const struct token_source *learnt) {
    double share = prepare_valid_share(config, i);
    if (config->valid_every > 0)
        warn(
            "no document of '%s' is kept for validation: it has %lld, and prepare.valid_every is %lld; use a smaller one, or "
            "valid_share, which takes some of each source",
            learnt->name, (long long)learnt->num_documents, (long long)config->valid_every);
    if (share > 0)
        warn(
            "no document of '%s' is kept for validation: its valid_share of %g is small for so few documents",
            learnt->name, share);
}

void split_tell(const struct prepare_config *config, const struct where_counts *filtered,
                struct token_writer *writer, struct token_writer *valid_writer) {
    for (int i = 0; i < config->num_sources; i++) {
        const struct token_source *learnt = token_writer_source(writer, i);
        int64_t num_kept = valid_writer ? token_writer_source(valid_writer, i)->num_documents : 0;
        if (learnt->num_documents + num_kept == 0)
            tell_empty(config, i, filtered, learnt->name);
        else if (valid_writer && num_kept == 0)
            tell_unvalidated(config, i, learnt);
    }
}
