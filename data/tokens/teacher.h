/* teacher.h - the file of what a teacher says of a token file: for each token that counts in the loss the K most probable tokens
 * in its place, by the model that reads what is before it, and their log-probabilities.
 *
 *   header   4096 bytes: one JSON object, then spaces and a newline:
 *            format "atelier-teacher 1"; content: of the token file (token_file_content_hash); model: SHA-256 of the weights;
 *            identity: of them and of what the configuration computes (absent in files of earlier versions);
 *            name: what the model was called (may be absent);
 *            tokenizer_hash; vocab_size; top_k; temperature: of the softmax whose logarithm is kept; sequence_tokens: the longest
 *            text that the teacher read; tokens: of the token file; state: begun, or whole, which the last write says
 *   rows     one for each token of the token file: ids i32 [K], highest probability first and all different; logps f32 [K];
 *            u32, the low half of XXH3-64 of those with the token's index as seed.  Little-endian.  Rows of tokens that do not count
 *            were never written: a hole of the file
 *
 * Each row is compared with its checksum when it is read, so that a row that is missing, damaged or in another place is found.
 * A file that is being made is PATH.partial, which the next start goes on with.  One that is not whole is not opened. */
#pragma once

#include "data/sha256.h"
#include "data/tokens/tokens.h"

enum { TEACHER_MOST_IDS = 256 };

struct teacher_facts {
    char name[128];
    char content[TOKEN_CONTENT_ROOM], model[SHA256_HEX_ROOM], identity[SHA256_HEX_ROOM];
    char tokenizer_hash[TOKEN_HASH_ROOM];
    int64_t vocab_size, top_k, sequence_tokens, num_tokens;
    double temperature;
};

struct teacher;

/* teacher_open - checks header and size.  Returns NULL with err set: not such a file, of another size, a fact out of range, not whole.
 * teacher_close - NULL is fine.  teacher_facts, teacher_path - borrowed. */
struct teacher *teacher_open(const char *path, struct err *err);
void teacher_close(struct teacher *teacher);
const struct teacher_facts *teacher_facts(const struct teacher *teacher);
const char *teacher_path(const struct teacher *teacher);

/* Tokens [first, first + count) of the token file; wanted [count]: 0 where the row is of no use. */
struct teacher_range {
    int64_t first, count;
    const uint8_t *wanted;
};

/* teacher_read - of each wanted token the first k of its ids and log-probabilities, [count, k] both; of others 0.  Thread-safe.
 * Returns 0, or -1 with err set: I/O error, a row that is missing or damaged, or says what no model can. */
int teacher_read(const struct teacher *teacher, const struct teacher_range *range, int64_t k, int32_t *ids,
                 float *logps, struct err *err);

struct teacher_writer;

/* teacher_check_output - before anything is computed: path has a name, is not the token file that is read, and is absent or such a
 * file.  Returns 0, or -1 with err set. */
int teacher_check_output(const char *path, const char *tokens_path, struct err *err);

/* teacher_writer_open - PATH.partial, new or with what an earlier start wrote; or PATH itself, of the same facts: it is done, and
 * nothing is put.  Returns NULL with err set: either is of other facts, PATH is something else, cannot be written, or
 * another process writes it.
 * teacher_writer_close - leaves it for the next start. */
struct teacher_writer *teacher_writer_open(const char *path, const struct teacher_facts *facts,
                                           struct err *err);
void teacher_writer_close(struct teacher_writer *writer);
bool teacher_writer_is_done(const struct teacher_writer *writer);
/* teacher_writer_has - 1: all that is wanted of the range is there; 0; or -1 with err set. */
int teacher_writer_has(const struct teacher_writer *writer, const struct teacher_range *range,
                       struct err *err);
/* teacher_writer_put - the row of one token: K ids and log-probabilities, highest first.  Returns 0, or -1 with err set. */
int teacher_writer_put(struct teacher_writer *writer, int64_t token, const int32_t *ids, const float *logps,
                       struct err *err);
/* teacher_writer_finish - to the disk, and its own name, which nothing has; frees.  Returns 0, or -1 with err set. */
int teacher_writer_finish(struct teacher_writer *writer, struct err *err);
