/* references.h - what the reference model says of a token file: the sum of the log-probabilities of each document's targets,
 * kept beside the token file and used by every start that compares with the same model.
 *
 *   PATH.reference-HASH-TYPE   beside PATH; HASH: the first twelve digits of the model's hash, TYPE: what it computed in,
 *                              and how its matrices are kept where they are in fewer bits
 *   "atelier-reference 1", content hash of the token file, hash of the model, type, documents: a line each
 *   values      f64, little-endian, one for each document; NaN: not computed (too long for a sample then, or cut short)
 *   checksum    XXH3-64 of everything before it */
#pragma once

#include "kernels/error.h"

/* What values belong to. */
struct reference_key {
    const char *content; /* of the token file: token_file_content_hash */
    const char *model;   /* SHA-256 of its weights' and of what its configuration says, 64 digits */
    const char *compute; /* "bf16", "bf16-nf4" */
    int64_t num_documents;
};

/* reference_path - malloc'ed. */
char *reference_path(const char *token_path, const struct reference_key *key);

/* reference_read - values [num_documents].  Returns REFERENCE_READ; REFERENCE_ABSENT: there is no such file; REFERENCE_STALE: it is
 * sound and of other tokens, for the token file was made again since; or -1 with err set: of another model, damaged, a value that
 * is not a log-probability. */
enum { REFERENCE_ABSENT, REFERENCE_READ, REFERENCE_STALE };
int reference_read(const char *path, const struct reference_key *key, double *values, struct err *err);

/* reference_write - the whole file or none, whoever else writes it.  Returns 0, or -1 with err set. */
int reference_write(const char *path, const struct reference_key *key, const double *values, struct err *err);
