/* prepare_tokenizer.h - the tokenizer that a prepare section names, as `prepare` uses it and a plan compares it. */
#pragma once

#include "configs/schema/config.h"
#include "data/tokenizer/tokenizer.h"

/* prepare_tokenizer_open - of a file, a folder, or GGUF (prepare.tokenizer, which is set), with the tokens that the run file adds;
 * all must have a row in the model that it is of, where that is known.  Returns NULL with err set. */
struct tokenizer *prepare_tokenizer_open(const struct config *config, struct err *err);
