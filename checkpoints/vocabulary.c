/* vocabulary.c - see vocabulary.h.  An id without a row reads beyond the embedding: it is told before anything is computed. */
#include "checkpoints/vocabulary.h"

#include <stdio.h>
#include <stdlib.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

enum { MAX_CONFIG_BYTES = 16 * MIB };

int vocabulary_check(const struct tokenizer *tok, int64_t num_rows, struct err *err) {
    int64_t num_without = 0;
    int32_t first = -1;
    for (int32_t id = (int32_t)(num_rows < tokenizer_vocab_size(tok) ? num_rows : tokenizer_vocab_size(tok));
         id < tokenizer_vocab_size(tok); id++) {
        bool is_token = tokenizer_entry(tok, id).text != NULL; /* else a hole among the ids */
        first = is_token && num_without == 0 ? id : first;
        num_without += is_token;
    }
    if (num_without == 0)
        return 0;
    struct token_entry entry = tokenizer_entry(tok, first);
    char others[48] = " has none";
    if (num_without > 1)
        snprintf(others, sizeof others, " and %lld more have none", (long long)num_without - 1);
    return err_set(
        err,
        "the tokenizer has tokens up to id %lld, the model's embedding %lld rows: '%.*s' (%d)%s; list them in "
        "model.add_tokens (in training all weights), resize the model (transformers: "
        "model.resize_token_embeddings), or take what it lacks out of tokenizer.json",
        (long long)tokenizer_vocab_size(tok) - 1, (long long)num_rows,
        (int)(entry.length_bytes < 60 ? entry.length_bytes : 60), entry.text, first, others);
}

int64_t vocabulary_rows(const char *folder) {
    int64_t rows = 0;
    char *path = xasprintf("%s/config.json", folder);
    json_t *root = path_exists(path) ? json_load_path(path, MAX_CONFIG_BYTES, NULL) : NULL;
    if (root && json_get_int(root, "text_config/vocab_size", &rows, NULL) != 0 &&
        json_get_int(root, "vocab_size", &rows, NULL) != 0)
        rows = 0;
    json_decref(root);
    free(path);
    return rows > 0 ? rows : 0;
}
