/* tokens_seal.h - inside the token file's modules: what stands after the HDF5 part of a token file.
 *
 *   HDF5 file, as it always was (h5py and others read it and do not see what follows)
 *   seal      version: 1; 2 where there is doc_side; 3 where there are doc_record and doc_files, and doc_side is listed before them,
 *             empty where it is not there; bytes of the HDF5 part; XXH3-64 of everything in it but the large datasets; block
 *             size; for each of tokens, doc_offsets, doc_source, loss_mask and these the number of blocks and the
 * XXH3-64 of each (the last one shorter); the facts (tokens_facts.h).  All numbers 64 bits, little-endian.
 *   footer    bytes of the seal, XXH3-64 of the seal, "\x89" "ATLSEAL"
 *
 * With it a file is read without HDF5, whose library crashes on damaged files, and what was damaged on the
 * way is found.  Checksums are against accidents, not against forgery: what they cover is bounded all the
 * same. */
#pragma once

#include "data/tokens/tokens_facts.h"

/* Start from {0}; token_seal_release frees.  num_parts: as token_facts_num_parts. */
struct token_seal {
    int num_parts;
    int64_t hdf5_bytes; /* of the file, in front of the seal */
    uint64_t structure; /* hash of what is not in a dataset */
    int64_t num_blocks[NUM_PARTS];
    uint64_t *blocks[NUM_PARTS]; /* hash of each block */
};
void token_seal_release(struct token_seal *seal);

/* token_seal_read - 1 with seal and facts filled; 0 where the file has none; -1 with err set: damaged, or of
 * another version. */
int token_seal_read(int fd, const char *path, int64_t file_bytes, struct token_seal *seal,
                    struct token_facts *facts, struct err *err);

/* token_seal_check_structure - the file's own structure is as it was written.  token_seal_check_block - one
 * block of a dataset is.  Both return 0, or -1 with err set naming what is damaged. */
int token_seal_check_structure(int fd, const char *path, const struct token_seal *seal,
                               const struct token_facts *facts, struct err *err);
int token_seal_check_block(int fd, const char *path, const struct token_seal *seal,
                           const struct token_facts *facts, enum token_part part, int64_t block,
                           struct err *err);

/* token_seal_make - all hashes of a file of hdf5_bytes, read from the disk: what is sealed is what is there.
 * Returns 0, or -1 with err set and seal empty. */
int token_seal_make(int fd, const char *path, int64_t hdf5_bytes, const struct token_facts *facts,
                    struct token_seal *seal, struct err *err);

/* token_seal_encode - seal and footer as they are appended to the file. */
void token_seal_encode(const struct token_seal *seal, const struct token_facts *facts, struct text *bytes);

/* token_seal_identity - one hash over the contents that training sees: tokenizer, vocabulary, tokens,
 * documents, their sources' rows, mask; 32 hexadecimal digits.  Names and licences of sources, and where documents stand in
 * files, are not part of it. */
void token_seal_identity(const struct token_seal *seal, const struct token_facts *facts,
                         char hex[TOKEN_CONTENT_ROOM]);
