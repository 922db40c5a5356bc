/* config_tokens.h - the tokens that a run file adds to a tokenizer (model.add_tokens, model.add_special_tokens). */
#pragma once

#include "configs/schema/config.h"
#include "data/tokenizer/tokenizer_files.h"
#include "data/tokenizer/tokenizer_grow.h"

/* config_num_new_tokens - as many as both lists have. */
int config_num_new_tokens(const struct config *config);

/* config_grow_tokenizer - the texts of files with what the run file adds to them; num_rows and *ids as in tokenizer_grow, both 0 where
 * nothing is added.  Returns 0, or -1 with err set, which names the key: the model has no tokenizer, or as tokenizer_grow. */
int config_grow_tokenizer(const struct config *config, struct tokenizer_files *files, int64_t num_rows,
                          struct new_ids *ids, struct err *err);
