/* show.h - samples of a token file as they are trained: which tokens of which documents, and what of them is learnt. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "configs/schema/config.h"
#include "data/tokenizer/token_text.h"
#include "data/tokens/learnt.h"
#include "data/tokens/token_places.h"

enum { SHOW_MOST = 1000 }; /* samples */

/* What is asked for. */
struct show_request {
    int64_t num_samples, seed;
    bool has_ids;
};

/* A token file to be shown; with a run its sequences, else its documents (pairs: both at once). */
struct show {
    const struct token_file *file;
    struct loader *loader;       /* which has the file; NULL: documents */
    struct token_file *own;      /* without a loader */
    struct token_places *places; /* NULL: the file has none */
    const struct tokenizer *tok;
    const struct config *config; /* of the run; NULL: none */
    int64_t num_samples;         /* of an epoch */
};

/* show_open - the file at path, cut and packed as the run of config says, where it has data.train; config NULL: not.  Both stay
 * the caller's, and have to outlive it.  Returns 0, or -1 with err set: as loader_open and token_file_open, or made by another
 * tokenizer.  show_close either way. */
int show_open(struct show *show, const char *path, const struct tokenizer *tok, const struct config *config,
              struct err *err);
void show_close(struct show *show);

/* show_choose - wanted different numbers below total (all of them, in order, where there are no more), by a counter-based random
 * number of (seed, place): malloc'ed; *count of them. */
int64_t *show_choose(int64_t total, int64_t wanted, uint64_t seed, int64_t *count);

/* show_print - the samples that the request means, as text.  show_json - the same as a list: for programs.  They return -1 and
 * NULL with err set where the file cannot be read. */
int show_print(FILE *out, const struct show *show, const struct show_request *request, enum token_marks marks,
               struct err *err);
json_t *show_json(const struct show *show, const struct show_request *request, struct err *err);
