/* tokenizer_files.h - the files of a tokenizer, as texts: what is read of them, changed, and written again. */
#pragma once

#include "data/tokenizer/tokenizer.h"

/* Start from {0}; all malloc'ed. */
struct tokenizer_files {
    char *json;   /* text of tokenizer.json */
    char *config; /* text of tokenizer_config.json; NULL: there is none */
    char *origin; /* path of the former, for messages */
    char *folder; /* that both lie in; NULL: they were made of something else */
};

/* tokenizer_files_read - path is a tokenizer.json, whatever it is called, a tekken.json by its name (tekken.h), or a folder: of that
 * tokenizer.json, or where there is none tekken.json, which gives both texts; what tokenizer_config.json says counts before what
 * follows from it.  Returns 0, with json NULL where a folder holds neither, or -1 with err set: unreadable, too large, a NUL
 * byte, a tekken.json that is wrong.  tokenizer_files_release - frees, and zeroes. */
int tokenizer_files_read(struct tokenizer_files *files, const char *path, struct err *err);
void tokenizer_files_release(struct tokenizer_files *files);

/* tokenizer_files_open - the tokenizer they describe, with the chat template of the folder; json is there.  As tokenizer_parse. */
struct tokenizer *tokenizer_files_open(const struct tokenizer_files *files, struct err *err);
