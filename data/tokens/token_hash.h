/* token_hash.h - a name of a document that is the same in every token file: the XXH3-128 of its ids, each as 32 bits,
 * little-endian; 32 hexadecimal digits. */
#pragma once

#include "data/tokens/tokens.h"

/* token_document_hash - returns 0, or -1 with err set: I/O error, an id outside the vocabulary. */
int token_document_hash(const struct token_file *file, int64_t document, char hex[TOKEN_CONTENT_ROOM],
                        struct err *err);

/* token_find_hash - the documents with this hash, ascending: malloc'ed array in *documents.  Reads all tokens of the file.
 * Returns their number, or -1 with err set: as above. */
int64_t token_find_hash(const struct token_file *file, const char *hex, int64_t **documents, struct err *err);
