/* run_source.c - weights, tokenizer and chat template at the start of a run. */
#include "train/run/run_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/adapter_base.h"
#include "checkpoints/files.h"
#include "checkpoints/model_folder.h"
#include "checkpoints/vocabulary.h"
#include "configs/schema/config_tokens.h"
#include "data/tokenizer/tekken.h"
#include "train/model/adapter_setup.h"
#include "train/plan/data_check.h"
#include "train/plan/data_open.h"

/* read_tokenizer - texts of the tokenizer files, on the root: it writes them into the checkpoints.  origin, malloc'ed: where
 * they are from, for messages. */
static int read_tokenizer(struct run_source *source, const struct config *config, char **origin,
                          struct err *err) {
    struct tokenizer_files files;
    const char *folder = source->weights ? weights_folder(source->weights) : NULL;
    *origin = NULL;
    if (source->weights) {
        const char *name = folder && !folder_has(folder, "tokenizer.json") ? "tekken.json" : "tokenizer.json";
        *origin = folder ? xasprintf("%s/%s", folder, name) : xstrdup(config->model.path);
        return weights_tokenizer_text(source->weights, &source->tokenizer_json, &source->tokenizer_config,
                                      err);
    }
    if (!config->model.tokenizer)
        return 0;
    if (tokenizer_files_read(&files, config->model.tokenizer, err) != 0)
        return -1;
    source->tokenizer_json = files.json;
    source->tokenizer_config = files.config;
    *origin = files.origin;
    files.json = files.config = files.origin = NULL;
    tokenizer_files_release(&files);
    return source->tokenizer_json
               ? 0
               : err_set(err, "'%s' holds neither tokenizer.json nor tekken.json", config->model.tokenizer);
}

/* add_tokens - what the run file adds to the texts; *ids: whose rows are to be made. */
static int add_tokens(struct run_source *source, const struct config *config, int64_t num_rows,
                      const char *origin, struct new_ids *ids, struct err *err) {
    struct tokenizer_files files = {.json = source->tokenizer_json,
                                    .config = source->tokenizer_config,
                                    .origin = (char *)(uintptr_t)origin}; /* lent */
    int status = config_grow_tokenizer(config, &files, num_rows, ids, err);
    source->tokenizer_json = files.json;
    source->tokenizer_config = files.config;
    return status;
}

/* check_rows - every token has a row in the embedding; vocab_size of a new model may be 0: as many as it needs. */
static int check_rows(const struct run_source *source, int64_t num_rows, const char *origin,
                      struct err *err) {
    if (!source->weights && num_rows > 0 && num_rows < tokenizer_vocab_size(source->tokenizer))
        return err_set(
            err,
            "model.architecture.vocab_size is %lld, fewer rows than '%s' has tokens (%lld): raise it, or "
            "leave it out",
            (long long)num_rows, origin, (long long)tokenizer_vocab_size(source->tokenizer));
    if (source->weights && vocabulary_check(source->tokenizer, num_rows, err) != 0)
        return err_prefix(err, "tokenizer '%s'", origin);
    return 0;
}

/* open_tokenizer - the root's: its texts with what the run file adds to them, and what they mean; a model may have none.  A
 * checkpoint that is gone on from has its additions.  *ids: rows to be made. */
static int open_tokenizer(struct run_source *source, const struct config *config, const struct resume *resume,
                          int64_t num_rows, struct new_ids *ids, struct err *err) {
    char *origin = NULL;
    int status = read_tokenizer(source, config, &origin, err);
    if (!status && !resume->checkpoint)
        status = add_tokens(source, config, source->weights ? num_rows : 0, origin, ids, err);
    if (!status && source->tokenizer_json) {
        source->tokenizer = tokenizer_parse(source->tokenizer_json, strlen(source->tokenizer_json),
                                            source->tokenizer_config, origin, err);
        status = source->tokenizer ? 0 : -1;
    }
    if (!status && source->tokenizer)
        status =
            check_rows(source, source->weights && ids->end > num_rows ? ids->end : num_rows, origin, err);
    free(origin);
    return status;
}

/* tell_twin - a base whose tokenizer lies there in two forms: ours is the first, other programs may take the second. */
static void tell_twin(const struct run_source *source) {
    struct err why = {""};
    const char *folder = source->weights ? weights_folder(source->weights) : NULL;
    if (!folder || !source->tokenizer || !folder_has(folder, "tokenizer.json") ||
        !folder_has(folder, "tekken.json"))
        return;
    char *path = xasprintf("%s/tekken.json", folder);
    if (tekken_compare(path, source->tokenizer, &why) != 0)
        warn(
            "'%s' is not the tokenizer of tokenizer.json, which is read (%s): programs that take it make other ids",
            path, why.text);
    free(path);
}

/* grow - rows of the embedding for added tokens, on all ranks, as the root found them; it will tell. */
static void grow(struct run_source *source, struct model_config *model, struct new_ids ids,
                 struct comm *comm) {
    int64_t before = model->vocab_size;
    comm_broadcast(comm, &ids, sizeof ids);
    if (ids.end == ids.first)
        return;
    if (source->weights) {
        weights_grow(source->weights, ids.first, ids.end);
        model->vocab_size = weights_config(source->weights)->vocab_size;
    }
    if (!comm_is_root(comm))
        return;
    const char *folder = source->weights ? weights_folder(source->weights) : NULL;
    const char *left_out = !folder ? ""
                           : folder_has(folder, "tekken.json")
                               ? "; the base's tekken.json, which lacks them, is not copied"
                           : folder_has(folder, "added_tokens.json")
                               ? "; the base's added_tokens.json, which lacks them, is not copied"
                               : "";
    if (source->weights)
        source->vocabulary_note = xasprintf(
            "tokens added: ids %lld to %lld; their rows begin at the mean of the %lld rows before, %lld of them were "
            "padding, the embedding grows from %lld to %lld rows%s",
            (long long)ids.first, (long long)ids.end - 1, (long long)ids.first,
            (long long)((before < ids.end ? before : ids.end) - ids.first), (long long)before,
            (long long)model->vocab_size, left_out);
    else
        source->vocabulary_note = xasprintf(
            "tokens added: ids %lld to %lld; their rows begin as those of every token of a new model",
            (long long)ids.first, (long long)ids.end - 1);
}

/* choose_head - tied or not, as the run file says, of a base model; the root compares, all take it. */
static bool choose_head(struct run_source *source, const struct config *config, struct comm *comm) {
    struct err err = {""};
    enum tied_head wanted = config->model.tied_head;
    bool is_tied = weights_config(source->weights)->tied_head;
    if (wanted == TIED_AUTO || is_tied == (wanted == TIED_TRUE))
        return true;
    int status = wanted == TIED_TRUE && comm_is_root(comm) ? weights_check_tie(source->weights, &err) : 0;
    if (status)
        err_prefix(&err, "model.tied_head is true, yet in '%s'", config->model.path);
    if (!comm_all_ok(comm, status, &err))
        return false;
    (wanted == TIED_TRUE ? weights_tie : weights_untie)(source->weights);
    source->head_note =
        wanted == TIED_TRUE
            ? "model.tied_head: the head, equal to the embedding, is the embedding from here on"
            : "model.tied_head: the head begins as a copy of the embedding, and is trained apart from it";
    return true;
}

/* open_weights - of the checkpoint or the base; an adapter's are those of its base and its own, which a new one does not have
 * yet.  A new model has none. */
static int open_weights(struct run_source *source, const struct config *config, const struct resume *resume,
                        struct err *err) {
    bool has_adapter = config->adapter.method != ADAPTER_NONE;
    const char *adapter = resume->checkpoint ? resume->checkpoint : config->adapter.path;
    const char *path = resume->checkpoint && !has_adapter ? resume->checkpoint : config->model.path;
    if (!path)
        return 0;
    source->weights =
        has_adapter && adapter ? weights_open_adapter(adapter, path, err) : weights_open(path, err);
    return source->weights ? 0 : -1;
}

/* check_weights - the base's checksums where it is one of our checkpoints, at each start that reads it; what else is told or
 * checked of a base, once.  What is carried beside a text decoder will be in every checkpoint, but for an adapter's. */
static int check_weights(struct run_source *source, const struct config *config, const struct resume *resume,
                         struct comm *comm, struct err *err) {
    const char *folder = weights_folder(source->weights), *base = weights_base_folder(source->weights);
    bool begins = !resume->checkpoint;
    if (begins && folder && comm_is_root(comm)) {
        weights_tell_storage(source->weights);
        if (model_folder_check(folder, err) != 0 || adapter_base_check(source->weights, err) != 0)
            return -1;
    }
    if (begins && config->adapter.method == ADAPTER_NONE &&
        carried_check(weights_carried(source->weights), comm_rank(comm), comm_num_ranks(comm), err) != 0)
        return err_prefix(err, "model.path '%s'", config->model.path);
    if (!base || (!begins && config->adapter.method == ADAPTER_NONE))
        return 0;
    return checkpoint_verify_weights(base, comm_rank(comm), comm_num_ranks(comm), err);
}

/* Checksums first: what is read of a damaged file afterwards would be refused by some other rule, with a worse message.  A
 * base model that is one of our checkpoints has them for its weights too. */
bool run_source_open(struct run_source *source, struct model_config *model, const struct config *config,
                     const struct resume *resume, struct comm *comm) {
    struct err err = {""};
    int status = 0;
    if (resume->checkpoint)
        status = checkpoint_verify(resume->checkpoint, comm_rank(comm), comm_num_ranks(comm), &err);
    if (!status)
        status = open_weights(source, config, resume, &err);
    if (!status && source->weights)
        status = check_weights(source, config, resume, comm, &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    if (source->weights && !resume->checkpoint && !choose_head(source, config, comm))
        return false;
    *model = source->weights ? *weights_config(source->weights) : config->model.architecture;
    if (!comm_all_ok(comm, adapter_setup(model, config, &err), &err))
        return false;
    if (config->model.save_dtype != DTYPE_COUNT && (!resume->checkpoint || resume->is_branch))
        model->dtype = config->model.save_dtype;
    struct new_ids ids = {0, 0};
    if (comm_is_root(comm))
        status = open_tokenizer(source, config, resume, model->vocab_size, &ids, &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    if (comm_is_root(comm) && !resume->checkpoint && ids.end == ids.first)
        tell_twin(source);
    grow(source, model, ids, comm);
    return true;
}

/* take_special_tokens - of a new model, whose architecture names none. */
static void take_special_tokens(struct model_config *model, const struct tokenizer *tok) {
    model->bos_id = tokenizer_bos(tok);
    model->pad_id = tokenizer_pad(tok);
    model->num_eos = tokenizer_eos(tok) >= 0;
    model->eos_ids[0] = tokenizer_eos(tok);
}

/* check_tokenizer - the token files must have been made with the model's own tokenizer. */
static int check_tokenizer(struct run_source *source, struct model_config *model, const struct run_data *data,
                           struct err *err) {
    const struct tokenizer *tok = source->tokenizer;
    if (!tok) {
        warn("the model has no tokenizer: whether the token files fit it cannot be checked");
        return 0;
    }
    const char *hash = tokenizer_hash(tok);
    if (data_check_tokenizer(loader_tokenizer_hash(data->train), hash, "data.train", err) != 0 ||
        (data->valid &&
         data_check_tokenizer(loader_tokenizer_hash(data->valid), hash, "data.valid", err) != 0))
        return -1;
    if (!source->weights && model->bos_id < 0 && model->num_eos == 0)
        take_special_tokens(model, tok);
    if (model->vocab_size == 0)
        model->vocab_size = tokenizer_vocab_size(tok);
    return run_chat_find(&source->chat, data->train, tok,
                         source->weights ? weights_folder(source->weights) : NULL, source->tokenizer_config,
                         model, err);
}

/* The root has the tokenizer; what a new model takes from it goes to all with the configuration. */
bool run_source_match(struct run_source *source, struct model_config *model, const struct config *config,
                      const struct run_data *data, struct comm *comm) {
    struct err err = {""};
    int status = 0;
    if (comm_is_root(comm)) {
        status = check_tokenizer(source, model, data, &err);
        if (!status)
            status = data_check_targets(config, data->train, data->valid, &err);
    }
    if (!comm_all_ok(comm, status, &err))
        return false;
    comm_broadcast(comm, model, sizeof *model);
    return true;
}

void run_source_close(struct run_source *source) {
    if (source->weights)
        weights_close(source->weights);
    free(source->tokenizer_json);
    free(source->tokenizer_config);
    tokenizer_free(source->tokenizer);
    free(source->vocabulary_note);
    run_chat_release(&source->chat);
    *source = (struct run_source){.weights = NULL};
}
