/* loader.h - which tokens make up sample g of a run: a pure function of (seed, g), so that the order of the data does
 * not depend on ranks, micro-batches or restarts.  Sample s of step k is g = k * batch_sequences + s. */
#pragma once

#include "data/tokens.h"

enum packing { PACKING_STREAM, PACKING_WHOLE };

struct loader_file {
    const char *path; /* token file */
    double weight;    /* share of the samples, relative to the others; > 0 */
};

struct loader_config {
    const struct loader_file *files;
    int num_files;
    int64_t sequence_tokens; /* T */
    int64_t seed;
    enum packing packing;
    int64_t vocab_size; /* of the model: a token file made for more is refused */
};

/* One packed sequence; arrays of T that belong to the sample.  Rows from filled on are padding: token 0, weight 0, each
 * its own document. */
struct sample {
    int32_t *tokens, *targets; /* target: the next token of the same document */
    float *weights;            /* 1 where the target counts in the loss, else 0 */
    int32_t *row_start;        /* index in the sample of the first token of the row's document */
    int32_t *positions;        /* index within the document's piece in this sample */
    int32_t *sources;          /* row of the file's /sources, for losses by source */
    int64_t filled;
};
void sample_init(struct sample *sample, int64_t sequence_tokens);
void sample_release(struct sample *sample);

struct loader;

/* loader_open - opens the token files; all must be made with one tokenizer.  Returns NULL with err set. */
struct loader *loader_open(const struct loader_config *config, struct err *err);
void loader_close(struct loader *loader);
const char *loader_tokenizer_hash(const struct loader *loader);
int64_t loader_num_tokens(const struct loader *loader); /* of all files, one epoch each */

/* loader_sample - fill sample g.  Thread-safe for distinct loaders only.  Returns 0, or -1 with err set. */
int loader_sample(struct loader *loader, int64_t g, struct sample *out, struct err *err);

/* Where the tokens of sample g come from, in order. */
struct sample_piece {
    int file;
    int64_t document;     /* index in the token file */
    int64_t first, count; /* tokens of that document */
};
/* loader_pieces - malloc'ed array in *pieces; returns their number, or -1 with err set. */
int64_t loader_pieces(struct loader *loader, int64_t g, struct sample_piece **pieces, struct err *err);

/* Evaluation: the files laid end to end in their own order, every document once, cut into windows of T. */
int64_t loader_num_eval_samples(const struct loader *loader);
int loader_eval_sample(struct loader *loader, int64_t index, struct sample *out, struct err *err);
