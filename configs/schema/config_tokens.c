/* config_tokens.c - see config_tokens.h. */
#include "configs/schema/config_tokens.h"

#include <stdlib.h>

int config_num_new_tokens(const struct config *config) {
    return config->model.num_add_tokens + config->model.num_add_special_tokens;
}

int config_grow_tokenizer(const struct config *config, struct tokenizer_files *files, int64_t num_rows,
                          struct new_ids *ids, struct err *err) {
    struct new_tokens new = {.num_rows = num_rows};
    *ids = (struct new_ids){0, 0};
    if (config_num_new_tokens(config) == 0)
        return 0;
    if (!files->json)
        return err_set(err, "model.add_tokens: the model has no tokenizer to add them to");
    struct new_token *tokens = config_new_tokens(config, &new.count);
    new.tokens = tokens;
    int status = tokenizer_grow(&files->json, &files->config, &new, files->origin, ids, err);
    free(tokens);
    return status == 0 ? 0 : err_prefix(err, "model.add_tokens");
}
