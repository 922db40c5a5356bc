/* data_check.c - the kind of token files and the tokenizer that made them, against the objective and the model. */
#include "train/plan/data_check.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "data/file.h"
#include "train/model/objective.h"
#include "train/plan/data_open.h"
#include "train/plan/long_text.h"
#include "train/plan/prepare_tokenizer.h"
#include "train/plan/repeats.h"
#include "train/record/data_list.h"

int data_check_kind(const struct config *config, enum token_preference found, const char *subject,
                    struct err *err) {
    static const char *const holds[] = {"documents that are learnt one by one", "pairs",
                                        "labelled completions"};
    static const char *const kinds[] = {"sft", "dpo, orpo or simpo", "kto"};
    static const char *const records[] = {"without a record of comparisons", "with a record of pair or vote",
                                          "with a record of label or reaction"};
    const struct objective *objective = objective_kind(config->objective.kind);
    if (found == objective->learns_from)
        return 0;
    return err_set(
        err,
        "%s holds %s, and objective.kind %s learns from %s: set objective.kind to %s, or prepare others %s",
        subject, holds[found], config->objective.kind == OBJECTIVE_SFT ? "sft" : objective->name,
        holds[objective->learns_from], kinds[found], records[objective->learns_from]);
}

int data_check_tokenizer(const char *found, const char *wanted, const char *subject, struct err *err) {
    if (strcmp(found, wanted) == 0)
        return 0;
    return err_set(err,
                   "%s: made with another tokenizer than the model's: prepare the data with "
                   "prepare.tokenizer set to the model, and the same model.add_tokens",
                   subject);
}

/* check_file - one that is there. */
static int check_file(const struct config *config, const char *path, const char *model_hash,
                      const char *subject, struct err *err) {
    struct token_file *file = token_file_open(path, err);
    int status = file ? data_check_kind(config, token_file_preference(file), subject, err) : -1;
    if (status == 0 && model_hash[0])
        status = data_check_tokenizer(token_file_tokenizer_hash(file), model_hash, subject, err);
    token_file_close(file);
    return status;
}

/* is_output - `prepare` with the same run file writes it: the file itself, or its part for validation. */
static bool is_output(const struct config *config, const char *path) {
    if (!config->prepare.output)
        return false;
    char *valid = prepare_valid_path(config->prepare.output);
    bool is = file_is_same_place(path, config->prepare.output) ||
              (prepare_has_valid(&config->prepare) && file_is_same_place(path, valid));
    free(valid);
    return is;
}

/* hash_prepared - of prepare.tokenizer, into hash; "" where that is not here.  It is read once for all files. */
static int hash_prepared(const struct config *config, char hash[TOKEN_HASH_ROOM], struct err *err) {
    if (hash[0] || !config->prepare.tokenizer || !path_exists(config->prepare.tokenizer))
        return 0;
    struct tokenizer *tok = prepare_tokenizer_open(config, err);
    if (!tok)
        return -1;
    memcpy(hash, tokenizer_hash(tok), TOKEN_HASH_ROOM);
    tokenizer_free(tok);
    return 0;
}

/* What the files of one key are compared with. */
struct wanted {
    const struct config *config;
    const char *model_hash;
    char prepared_hash[TOKEN_HASH_ROOM]; /* "" not read, or not known */
};

/* check_output - one that is still to be made. */
static int check_output(struct wanted *wanted, const char *subject, struct err *err) {
    const struct config *config = wanted->config;
    for (int i = 0; i < config->prepare.num_sources; i++)
        if (data_check_kind(config, prepare_preference(config->prepare.sources[i].record), subject, err) != 0)
            return -1;
    if (!wanted->model_hash[0])
        return 0;
    if (hash_prepared(config, wanted->prepared_hash, err) != 0)
        return -1;
    return wanted->prepared_hash[0]
               ? data_check_tokenizer(wanted->prepared_hash, wanted->model_hash, subject, err)
               : 0;
}

/* check_list - the files of one key. */
static int check_list(struct wanted *wanted, const struct data_file *files, int num_files, const char *key,
                      struct err *err) {
    int status = 0;
    for (int i = 0; i < num_files && status == 0; i++) {
        const char *path = files[i].path;
        bool is_there = path_exists(path);
        char *subject = xasprintf(is_there ? "%s '%s'" : "%s '%s' (still to be prepared)", key, path);
        if (is_there)
            status = check_file(wanted->config, path, wanted->model_hash, subject, err);
        else if (is_output(wanted->config, path))
            status = check_output(wanted, subject, err);
        free(subject);
    }
    return status;
}

/* Those files of a key that are there, opened. */
struct there {
    struct data_file *files; /* their texts are borrowed from the config */
    int count;
    struct loader *loader; /* NULL: none is */
};

/* open_there - returns 0, or -1 with err set; close_there in both cases. */
static int open_there(struct there *there, const struct config *config, const struct data_file *files,
                      int num_files, const struct data_look *look, struct err *err) {
    *there = (struct there){.files = xcalloc((size_t)num_files + 1, sizeof *there->files)};
    for (int i = 0; i < num_files; i++)
        if (path_exists(files[i].path))
            there->files[there->count++] = files[i];
    if (there->count > 0)
        there->loader = data_open(config, there->files, there->count, look, err);
    return there->count == 0 || there->loader ? 0 : -1;
}

static void close_there(struct there *there) {
    loader_close(there->loader);
    free(there->files);
}

/* warn_same - as the run will: of files that hold the same tokens. */
static int warn_same(const struct there *train, const struct there *valid, struct err *err) {
    struct diagnostics said = {0};
    json_t *learnt = data_list_json(train->loader, train->files, train->count, err);
    json_t *checked = learnt ? data_list_json(valid->loader, valid->files, valid->count, err) : NULL;
    if (checked)
        data_list_tell_same(learnt, checked, &said);
    diagnostics_print(&said);
    diagnostics_release(&said);
    json_decref(learnt);
    json_decref(checked);
    return checked ? 0 : -1;
}

/* warn_repeats - of files that are there, which the loader has in their order. */
static void warn_repeats(const struct config *config, const struct loader *train) {
    char text[700];
    for (int i = 0, opened = 0; train && i < config->data.num_train; i++)
        if (path_exists(config->data.train[i].path) &&
            repeats_text(config, i, loader_epoch_samples(train, opened++), text, sizeof text)[0])
            warn("%s", text);
}

/* warn_long - of each file, what is never used of it. */
static int warn_long(const struct config *config, const struct loader *train, struct err *err) {
    char text[LONG_TEXT_ROOM];
    struct long_documents facts;
    for (int i = 0; train && i < loader_num_files(train); i++) {
        if (loader_long_documents(train, i, &facts, err) != 0)
            return -1;
        if (long_text(config, &facts, text)[0])
            warn("%s", text);
    }
    return 0;
}

/* check_loading - as a run opens them. */
static int check_loading(const struct config *config, int64_t vocab_size, struct err *err) {
    const struct data_look look = {.vocab_size = vocab_size};
    struct there train = {0}, valid = {0};
    int status = open_there(&train, config, config->data.train, config->data.num_train, &look, err);
    if (status == 0)
        status = open_there(&valid, config, config->data.valid, config->data.num_valid, &look, err);
    if (status == 0)
        status = data_check_targets(config, train.loader, valid.loader, err);
    if (status == 0) {
        warn_repeats(config, train.loader);
        status = warn_long(config, train.loader, err);
    }
    if (status == 0)
        status = warn_same(&train, &valid, err);
    close_there(&train);
    close_there(&valid);
    return status;
}

int data_check_plan(const struct config *config, const char *model_hash, int64_t vocab_size,
                    struct err *err) {
    struct wanted wanted = {.config = config, .model_hash = model_hash};
    err->text[0] = '\0';
    if (check_list(&wanted, config->data.train, config->data.num_train, "data.train", err) != 0 ||
        check_list(&wanted, config->data.valid, config->data.num_valid, "data.valid", err) != 0)
        return -1;
    return check_loading(config, vocab_size, err);
}
