/* run_source.c - weights, tokenizer and chat template at the start of a run. */
#include "train/run/run_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/files.h"
#include "checkpoints/model_folder.h"
#include "checkpoints/vocabulary.h"
#include "kernels/units.h"

/* tokenizer_path - the file that model.tokenizer names, itself or by its folder; malloc'ed. */
static char *tokenizer_path(const char *named) {
    struct stat facts;
    bool is_folder = stat(named, &facts) == 0 && S_ISDIR(facts.st_mode);
    return is_folder ? xasprintf("%s/tokenizer.json", named) : xstrdup(named);
}

/* read_tokenizer - texts of the tokenizer files, on the root: it writes them into the checkpoints. */
static int read_tokenizer(struct run_source *source, const char *named, struct err *err) {
    if (source->weights)
        return weights_tokenizer_text(source->weights, &source->tokenizer_json, &source->tokenizer_config,
                                      err);
    if (!named)
        return 0;
    enum { TOKENIZER_MAX_BYTES = 256 * MIB };
    size_t length_bytes;
    char *path = tokenizer_path(named);
    source->tokenizer_json = file_read_whole(path, TOKENIZER_MAX_BYTES, &length_bytes, err);
    char *config_path = xasprintf("%.*s_config.json", (int)(strlen(path) - strlen(".json")), path);
    bool has_config = source->tokenizer_json && path_exists(config_path);
    if (has_config)
        source->tokenizer_config = file_read_whole(config_path, TOKENIZER_MAX_BYTES, &length_bytes, err);
    free(config_path);
    free(path);
    return source->tokenizer_json && (source->tokenizer_config || !has_config) ? 0 : -1;
}

/* tokenizer_origin - where the tokenizer's text is from, for messages; malloc'ed. */
static char *tokenizer_origin(const struct run_source *source, const struct config *config) {
    const char *folder = source->weights ? weights_folder(source->weights) : NULL;
    if (folder)
        return xasprintf("%s/tokenizer.json", folder);
    return source->weights ? xstrdup(config->model.path) : tokenizer_path(config->model.tokenizer);
}

/* open_tokenizer - the root's: its texts, and what they mean; a model may have none.  Every token must have a row in the
 * embedding of a model that is there. */
static int open_tokenizer(struct run_source *source, const struct config *config, int64_t num_rows,
                          struct err *err) {
    if (read_tokenizer(source, config->model.tokenizer, err) != 0)
        return -1;
    if (!source->tokenizer_json)
        return 0;
    char *origin = tokenizer_origin(source, config);
    source->tokenizer = tokenizer_parse(source->tokenizer_json, strlen(source->tokenizer_json),
                                        source->tokenizer_config, origin, err);
    int status = source->tokenizer ? 0 : -1;
    if (!status && num_rows > 0 && vocabulary_check(source->tokenizer, num_rows, err) != 0)
        status = err_prefix(err, "tokenizer '%s'", origin);
    free(origin);
    return status;
}

/* Checksums first: what is read of a damaged file afterwards would be refused by some other rule, with a worse message.  A
 * base model that is one of our checkpoints has them for its weights too. */
bool run_source_open(struct run_source *source, struct model_config *model, const struct config *config,
                     const struct resume *resume, struct comm *comm) {
    struct err err = {""};
    int status = 0;
    const char *path = resume->checkpoint ? resume->checkpoint : config->model.path;
    if (resume->checkpoint)
        status = checkpoint_verify(path, comm_rank(comm), comm_num_ranks(comm), &err);
    if (!status && path) {
        source->weights = weights_open(path, &err);
        status = source->weights ? 0 : -1;
    }
    const char *folder = source->weights && !resume->checkpoint ? weights_folder(source->weights) : NULL;
    if (!status && folder && comm_is_root(comm)) {
        weights_tell_storage(source->weights);
        status = model_folder_check(folder, &err);
    }
    if (!status && folder)
        status = checkpoint_verify_weights(folder, comm_rank(comm), comm_num_ranks(comm), &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    *model = source->weights ? *weights_config(source->weights) : config->model.architecture;
    if (config->model.save_dtype != DTYPE_COUNT && (!resume->checkpoint || resume->is_branch))
        model->dtype = config->model.save_dtype;
    if (comm_is_root(comm))
        status = open_tokenizer(source, config, model->vocab_size, &err);
    return comm_all_ok(comm, status, &err);
}

/* take_special_tokens - of a new model, whose architecture names none. */
static void take_special_tokens(struct model_config *model, const struct tokenizer *tok) {
    model->bos_id = tokenizer_bos(tok);
    model->pad_id = tokenizer_pad(tok);
    model->num_eos = tokenizer_eos(tok) >= 0;
    model->eos_ids[0] = tokenizer_eos(tok);
}

/* fits - whether the token files were made with this tokenizer. */
static bool fits(const struct run_data *data, const struct tokenizer *tok) {
    const char *hash = tokenizer_hash(tok);
    return strcmp(hash, loader_tokenizer_hash(data->train)) == 0 &&
           (!data->valid || strcmp(hash, loader_tokenizer_hash(data->valid)) == 0);
}

/* check_tokenizer - the token files must have been made with the model's own tokenizer. */
static int check_tokenizer(struct run_source *source, struct model_config *model, const struct run_data *data,
                           struct err *err) {
    const struct tokenizer *tok = source->tokenizer;
    if (!tok) {
        warn("the model has no tokenizer: whether the token files fit it cannot be checked");
        return 0;
    }
    if (!fits(data, tok))
        return err_set(err,
                       "the token files were made with another tokenizer than the model's: prepare the data "
                       "again with prepare.tokenizer set to the model");
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
            status = run_data_check(config, data->train, data->valid, &err);
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
    run_chat_release(&source->chat);
    *source = (struct run_source){.weights = NULL};
}
