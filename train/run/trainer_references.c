/* trainer_references.c - a forward pass of the starting weights over all pairs, before the first step: no second model in
 * memory, and none again for any later start. */
#include "train/run/trainer_references.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/identity.h"
#include "configs/schema/config_tokens.h"
#include "kernels/clock.h"
#include "train/model/adapter_setup.h"
#include "train/model/objective_preference.h"
#include "train/model/shard.h"
#include "train/model/state.h"

enum { SUM_AT_ONCE = 1 << 20 };

/* One token file that is being looked up. */
struct lookup {
    struct loader *loader;
    const struct data_file *files;
    int file;            /* of the loader */
    const char *weights; /* SHA-256 of those that the run began with */
    struct reference_key key;
    char content[TOKEN_CONTENT_ROOM], compute[32], *path;
    double *values; /* [num_documents] */
};

/* model_hash - of what the run began with, on all ranks; malloc'ed, NULL where a checkpoint does not tell. */
static char *model_hash(struct trainer *t) {
    const char *said = json_string_value(json_object_get(t->provenance.base, "sha256"));
    char *hash = comm_is_root(t->comm) && said && strlen(said) == SHA256_HEX_ROOM - 1 ? xstrdup(said) : NULL;
    comm_broadcast_text(t->comm, &hash);
    return hash;
}

/* --- computing --- */

/* load_start - the weights of model.path, where params do not have them or have pairs beside them that are not 0: held against their
 * hash, for model.path may lead to other ones by now.  Of an adapter every B is 0 then. */
static bool load_start(struct trainer *t, const char *hash) {
    struct err err = {""};
    json_t *base = NULL;
    const char *path = t->config->model.path;
    int num_new = config_num_new_tokens(t->config);
    int status =
        num_new == 0
            ? 0
            : err_set(&err, "the reference of a run with model.add_tokens is computed at its first start "
                            "alone, when the new rows are made: put the reference file back, leave "
                            "data and train.compute as they were, or choose another run.folder");
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    struct weights *weights = weights_open(path, &err);
    bool done = comm_all_ok(t->comm, weights ? 0 : err_prefix(&err, "the reference model"), &err) &&
                provenance_base(&base, t->comm, weights, path);
    const char *found = json_string_value(json_object_get(base, "sha256"));
    bool is_other = comm_is_root(t->comm) && (!found || strcmp(found, hash) != 0);
    if (done)
        done = comm_all_ok(
            t->comm,
            is_other
                ? err_set(&err,
                          "the reference model: model.path '%s' does not lead to the weights that the run "
                          "began with (%.12s, they were %.12s)",
                          path, found ? found : "?", hash)
                : 0,
            &err);
    if (done)
        done = comm_all_ok(t->comm, state_load_weights(&t->params, weights, value_type_of(DTYPE_F32), &err),
                           &err);
    if (done && model_has_adapter(&t->model_config))
        done = comm_all_ok(t->comm, state_init_adapter(&t->params, weights, t->config->run.seed, &err), &err);
    json_decref(base);
    weights_close(weights);
    if (!done)
        return false;
    params_share_masters(&t->params, t->rank.link);
    params_refresh(&t->params, t->rank.link);
    return true;
}

/* knows_round - no rank has a document of this file at hand that an earlier start did not compute. */
static bool knows_round(const struct trainer *t, const struct lookup *one) {
    int64_t is_missing = 0;
    for (int64_t m = 0; m < t->valid_feed.num_micros; m++) {
        const struct batch *batch = &t->valid_feed.micros[m];
        for (int64_t i = 0; i < batch->num_documents; i++)
            if (batch->documents[i].file == one->file && isnan(one->values[batch->documents[i].document]))
                is_missing = 1;
    }
    comm_max_i64(t->comm, &is_missing, 1);
    return is_missing == 0;
}

/* note_round - the documents of the micro-batches at hand, whose losses a forward pass gives; seen: 1 for each. */
static void note_round(struct trainer *t, int file, double *values, double *seen) {
    for (int64_t m = 0; m < t->valid_feed.num_micros; m++) {
        const struct batch *batch = &t->valid_feed.micros[m];
        model_evaluate(&t->model, t->rank.link, batch);
        for (int64_t i = 0; i < batch->num_documents; i++) {
            const struct paired_document *document = &batch->documents[i];
            if (document->file != file)
                continue;
            values[document->document] = preference_document(batch, t->model.flight.host_losses, i).sum;
            seen[document->document] = 1;
        }
    }
}

/* share - each document was some rank's; what was nobody's stays as an earlier start left it. */
static void share(struct trainer *t, struct lookup *one, double *values, double *seen) {
    struct comm *comm = axes_comm(&t->rank.axes, grid_axes(&t->rank.grid, DIVIDES_SAMPLES));
    int64_t count = one->key.num_documents;
    for (int64_t first = 0; comm && first < count; first += SUM_AT_ONCE) {
        int now = count - first < SUM_AT_ONCE ? (int)(count - first) : SUM_AT_ONCE;
        comm_sum_f64(comm, values + first, now);
        comm_sum_f64(comm, seen + first, now);
    }
    for (int64_t i = 0; i < count; i++)
        if (seen[i] != 0 && isnan(one->values[i]))
            one->values[i] = values[i];
}

/* tell_progress - at first, then once in a while; *told_s: when it was.  As a share: samples of this pass are packed in the file's
 * order, and their number is not that of the training's sequences. */
static void tell_progress(struct trainer *t, const struct lookup *one, int64_t done, int64_t num_samples,
                          double *told_s) {
    static const double EVERY_S = 30;
    if (done > 0 && clock_s() - *told_s < EVERY_S)
        return;
    *told_s = clock_s();
    metrics_note(t->metrics, "reference: a forward pass of the starting model over '%s', %lld %% done",
                 one->files[one->file].path, (long long)(100 * done / num_samples));
}

/* pass - all of the loader's samples, of which those with this file's documents count, until an end is asked for.  Returns
 * false on all ranks on a read error. */
static bool pass(struct trainer *t, struct lookup *one, double *values, double *seen) {
    struct err err = {""};
    double told_s = 0;
    int64_t num_samples = loader_num_eval_samples(one->loader);
    for (int64_t first = 0; first < num_samples; first += t->valid_feed.batch_sequences) {
        t->ends_early = control_cuts_short(&t->control, t->comm);
        if (t->ends_early != REQUEST_NOTHING)
            return true;
        tell_progress(t, one, first, num_samples, &told_s);
        int status = feed_eval(&t->valid_feed, one->loader, first, num_samples, &err);
        if (!comm_all_ok(t->comm, status, &err))
            return false;
        if (!knows_round(t, one))
            note_round(t, one->file, values, seen);
    }
    return true;
}

/* tell_computed - how it ended. */
static void tell_computed(struct trainer *t, const struct lookup *one, double seconds) {
    const char *path = one->files[one->file].path;
    int64_t num_known = 0;
    for (int64_t i = 0; i < one->key.num_documents; i++)
        num_known += !isnan(one->values[i]);
    if (t->ends_early == REQUEST_NOTHING)
        metrics_note(
            t->metrics,
            "reference: what the model of model.path says of the %lld documents of '%s' was computed in %.1f s",
            (long long)one->key.num_documents, path, seconds);
    else
        metrics_note(t->metrics,
                     "reference: cut short, because of %s; what is known of %lld of the %lld documents of "
                     "'%s' is kept for the next start",
                     request_name(t->ends_early), (long long)num_known, (long long)one->key.num_documents,
                     path);
}

/* compute - what is not known yet, and write the file: of a pass that was cut short with NaN for the rest.  A run that lost
 * its folder writes too, for the file does not lie there.  Returns false on all ranks where it was cut short, or on a fault
 * that was said. */
static bool compute(struct trainer *t, struct lookup *one) {
    struct err err = {""};
    size_t room = (size_t)one->key.num_documents + 1;
    double start = clock_s(), *seen = xcalloc(room, sizeof *seen), *values = xcalloc(room, sizeof *values);
    bool done = pass(t, one, values, seen);
    if (done)
        share(t, one, values, seen);
    free(values);
    free(seen);
    int status = done && comm_is_root(t->comm) ? reference_write(one->path, &one->key, one->values, &err) : 0;
    if (!done || !comm_all_ok(t->comm, status, &err))
        return false;
    tell_computed(t, one, clock_s() - start);
    return t->ends_early == REQUEST_NOTHING;
}

/* --- looking up --- */

/* is_complete - every document that a sample may bring has its number. */
static bool is_complete(const struct lookup *one) {
    for (int64_t i = 0; i < one->key.num_documents; i++)
        if (isnan(one->values[i]) && loader_uses_document(one->loader, one->file, i))
            return false;
    return true;
}

/* tell_found - that a file was read, or is of tokens that are not there any more. */
static void tell_found(struct trainer *t, const struct lookup *one, int found) {
    const char *tokens = one->files[one->file].path;
    if (found == REFERENCE_READ)
        metrics_note(
            t->metrics,
            "reference: what the model of model.path says of the documents of '%s' was read from '%s'",
            tokens, one->path);
    if (found == REFERENCE_STALE)
        metrics_note(t->metrics,
                     "reference: '%s' is of other tokens, for '%s' was made again since: it is computed anew",
                     one->path, tokens);
}

/* find - read what is there: 1 where it is complete, 0 where some has to be computed, -1 on a fault that was said; values on
 * all ranks, NaN where there is none yet. */
static int find(struct trainer *t, struct lookup *one) {
    struct err err = {""};
    int found = comm_is_root(t->comm) ? reference_read(one->path, &one->key, one->values, &err) : 0;
    if (!comm_all_ok(t->comm, found < 0 ? -1 : 0, &err))
        return -1;
    for (int64_t i = 0; found != REFERENCE_READ && i < one->key.num_documents; i++)
        one->values[i] = NAN;
    if (found == REFERENCE_READ && !is_complete(one))
        found = REFERENCE_ABSENT;
    comm_broadcast(t->comm, &found, sizeof found);
    comm_broadcast(t->comm, one->values, (size_t)one->key.num_documents * sizeof *one->values);
    tell_found(t, one, found);
    return found == REFERENCE_READ;
}

/* name_compute - a model in fewer bits, or with products in fewer, or with other positions, says something else of a document than the same model as it
 * is. */
static void name_compute(struct lookup *one, const struct config *config, const struct model_config *model) {
    enum adapter_base base = config->adapter.base;
    bool is_fp8 = config->train.compute == COMPUTE_FP8,
         is_by_blocks = is_fp8 && config->train.fp8_scaling == FP8_BLOCKS;
    int used = snprintf(one->compute, sizeof one->compute, "%s%s%s",
                        is_by_blocks ? "fp8-block"
                        : is_fp8     ? "fp8"
                                     : dtype_name(config_activations(config)),
                        base == BASE_COMPUTE ? "" : "-", base == BASE_COMPUTE ? "" : adapter_base_word(base));
    if (is_fp8 && config->train.fp8_skip_layers > 0)
        used += snprintf(one->compute + used, sizeof one->compute - (size_t)used, "-skip%lld",
                         (long long)config->train.fp8_skip_layers);
    /* Positions that follow the longest sequence of a run. */
    if (model->rope_kind == ROPE_DYNAMIC || model->rope_kind == ROPE_LONG)
        snprintf(one->compute + used, sizeof one->compute - (size_t)used, "-%lld",
                 (long long)config->data.sequence_tokens);
    one->key.compute = one->compute;
}

/* look_up - one file: read, or computed with the starting weights; *has_start: they are in params. */
static bool look_up(struct trainer *t, struct lookup *one, bool *has_start) {
    struct err err = {""};
    int status = loader_content_hash(one->loader, one->file, one->content, &err);
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    one->key.content = one->content;
    name_compute(one, t->config, &t->model_config);
    one->key.num_documents = loader_num_documents(one->loader, one->file);
    one->path = reference_path(one->files[one->file].path, &one->key);
    one->values = xcalloc((size_t)one->key.num_documents + 1, sizeof *one->values);
    int found = find(t, one);
    bool done = found == 1;
    if (found == 0) {
        *has_start = *has_start || load_start(t, one->weights);
        done = *has_start && compute(t, one);
    }
    if (done)
        loader_set_references(one->loader, one->file, one->values);
    free(one->path);
    free(one->values);
    return done;
}

bool trainer_references_first(const struct trainer *t) {
    return t->resume.checkpoint || t->config->adapter.path;
}

bool trainer_references(struct trainer *t) {
    struct err err = {""};
    bool has_start = !trainer_references_first(t), done = true;
    struct loader *loaders[] = {t->data.train, t->data.valid};
    const struct data_file *files[] = {t->config->data.train, t->config->data.valid};
    if (!t->objective.kind->needs_reference)
        return true;
    char *hash = model_hash(t);
    int status =
        hash ? 0
             : err_set(
                   &err,
                   "the checkpoint does not tell the SHA-256 of the model that the run began with: there is "
                   "no reference to compare with");
    done = comm_all_ok(t->comm, status, &err);
    char model[SHA256_HEX_ROOM] = "";
    if (done)
        identity_hash(hash, &t->model_config, model);
    for (int l = 0; l < 2; l++)
        for (int f = 0; done && loaders[l] && f < loader_num_files(loaders[l]); f++) {
            struct lookup one = {
                .loader = loaders[l], .files = files[l], .file = f, .weights = hash, .key.model = model};
            done = look_up(t, &one, &has_start);
        }
    free(hash);
    return done;
}
