/* prepare_tokenizer.c - the tokenizer of prepare.tokenizer, grown by what the run file adds. */
#include "train/plan/prepare_tokenizer.h"

#include <stdlib.h>

#include "checkpoints/files.h"
#include "checkpoints/hub_name.h"
#include "checkpoints/vocabulary.h"
#include "checkpoints/weights.h"
#include "configs/schema/config_tokens.h"
#include "data/file.h"

/* files_of_gguf - made from the file's metadata; *rows: of its embedding. */
static int files_of_gguf(struct tokenizer_files *files, const char *path, int64_t *rows, struct err *err) {
    struct weights *weights = weights_open(path, err);
    *files = (struct tokenizer_files){.origin = xstrdup(path)};
    if (!weights)
        return -1;
    *rows = weights_config(weights)->vocab_size;
    int status = weights_tokenizer_text(weights, &files->json, &files->config, err);
    weights_close(weights);
    return status;
}

/* files_of_path - path is a tokenizer.json or a tekken.json, or a folder that holds one; *rows: of the model beside it, 0 without one. */
static int files_of_path(struct tokenizer_files *files, const char *path, int64_t *rows, struct err *err) {
    if (!path_exists(path))
        return err_set(err, "prepare.tokenizer: cannot open '%s': it is not there%s", path, hub_note(path));
    if (tokenizer_files_read(files, path, err) != 0)
        return -1;
    if (!files->json)
        return err_set(
            err,
            "prepare.tokenizer: the folder '%s' has neither tokenizer.json nor tekken.json; tokenizer.model is not "
            "read: take the tokenizer.json of the same model saved by transformers, or its GGUF file",
            path);
    *rows = vocabulary_rows(files->folder);
    return 0;
}

/* add_tokens - what model.add_tokens lists, so that ids are those of the training; they have rows then. */
static int add_tokens(struct tokenizer_files *files, const struct config *config, int64_t *rows,
                      struct err *err) {
    struct new_ids ids;
    int status = config_grow_tokenizer(config, files, *rows, &ids, err);
    *rows = *rows > 0 && ids.end > *rows ? ids.end : *rows;
    return status;
}

struct tokenizer *prepare_tokenizer_open(const struct config *config, struct err *err) {
    const char *path = config->prepare.tokenizer;
    int64_t rows = 0;
    struct tokenizer_files files = {NULL};
    struct tokenizer *tok = NULL;
    int status = name_ends_with(path, ".gguf") ? files_of_gguf(&files, path, &rows, err)
                                               : files_of_path(&files, path, &rows, err);
    if (status == 0 && add_tokens(&files, config, &rows, err) == 0)
        tok = tokenizer_files_open(&files, err);
    tokenizer_files_release(&files);
    if (!tok || rows == 0 || vocabulary_check(tok, rows, err) == 0)
        return tok;
    err_prefix(err, "prepare.tokenizer '%s'", path);
    tokenizer_free(tok);
    return NULL;
}
