/* tokenizer_grow.h - tokens added to a tokenizer, in the texts of its files. */
#pragma once

#include "data/tokenizer/tokenizer.h"

/* special: found only where a chat template writes it, and left out where ids become text; otherwise found in every text. */
struct new_token {
    const char *text;
    bool special;
};

/* What is to be added, to the tokenizer of an embedding with num_rows; 0: it is not known, or takes any size. */
struct new_tokens {
    const struct new_token *tokens; /* [count] no text twice */
    int count;
    int64_t num_rows;
};

/* Ids whose rows of the embedding are to be made: those from first to end - 1. */
struct new_ids {
    int64_t first, end;
};

/* tokenizer_grow - each token gets the next id after the tokenizer's highest, in the order of the list: padding rows are used
 * before the embedding grows.  It is matched as it stands, before the normaliser.  A token that the tokenizer has already is
 * allowed where the embedding has no row for it, which it then gets; all such must be listed.  json and config, texts of
 * tokenizer.json and tokenizer_config.json (*config NULL: none), are freed and replaced.  origin names the tokenizer.  Returns 0
 * with the ids, or -1 with err set and the texts as they were: not a tokenizer, a text that is empty, too long or not UTF-8, a
 * token that has a row. */
int tokenizer_grow(char **json, char **config, const struct new_tokens *new, const char *origin,
                   struct new_ids *ids, struct err *err);
