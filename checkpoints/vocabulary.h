/* vocabulary.h - a tokenizer's tokens and an embedding's rows: which need each other. */
#pragma once

#include "data/tokenizer/tokenizer.h"

/* vocabulary_check - every token has a row in an embedding of num_rows, which may have more (padding).  Returns 0, or -1 with err
 * set: how many have none, which is the first of them, and what to do. */
int vocabulary_check(const struct tokenizer *tok, int64_t num_rows, struct err *err);

/* vocabulary_rows - of the embedding of the model in a folder, by its config.json alone, whatever family that is of; 0: there
 * is none, or it does not say. */
int64_t vocabulary_rows(const char *folder);
