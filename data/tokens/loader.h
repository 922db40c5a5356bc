/* loader.h - which tokens make up sample g of a run: a pure function of (files, seed, g), so that the order
 * of the data does not depend on ranks, micro-batches or restarts.  Sample s of step k is g = k *
 * batch_sequences + s.
 *
 * Mixing: samples come in blocks of 1024; in each block every file has its share of places, shuffled by
 * (seed, block), such that over the whole run the number of samples of a file never strays from its share by
 * more than a few.
 *
 * Epochs of a file: with PACKING_STREAM its documents, permuted by (seed, file, epoch), are laid end to end
 * and cut into windows of T tokens, the last one shorter.  With PACKING_WHOLE documents are put together
 * once, in an order permuted by (seed, file), as many as fit into T; an epoch permutes these groups by (seed,
 * file, epoch).  Groups do not change between epochs so that every epoch has the same number of samples, and
 * sample s is found without replaying earlier epochs; as attention never crosses documents, all that stays is
 * which documents share a sequence.  Only a document longer than T is cut, left out or refused, as the
 * configuration says: cut, what is beyond its first T tokens is not used.  Every other token comes exactly
 * once an epoch.  Memory: about 40 bytes per document (two epochs of each file).
 *
 * Files of pairs (token_file_preference) are PACKING_WHOLE alone; there the two documents of a pair are put together as one
 * would be, and neither is ever cut. */
#pragma once

#include "data/tokens/teacher.h"
#include "data/tokens/tokens.h"

enum packing {
    PACKING_STREAM, /* documents may continue in the next sample: no padding */
    PACKING_WHOLE,  /* documents stay whole where they fit: padding */
    PACKING_AUTO /* of each file by what it holds: conversations, completions and pairs whole, others as a stream */
};

/* With PACKING_WHOLE, what becomes of documents that are longer than a sequence. */
enum long_policy {
    LONG_CUT,  /* their first T tokens are used */
    LONG_SKIP, /* they are left out */
    LONG_FAIL  /* the token file is refused */
};

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
    enum long_policy long_documents;
    int64_t vocab_size; /* of the model: a token file made for more is refused; 0: not known yet */
    /* Checksums of whole files, not of a sample alone: this loader looks at one block of num_verify_shares,
     * 0: at none.  Ranks that take one share each look at all of them together. */
    int64_t verify_share, num_verify_shares;
};

/* One document of a sample that is learnt against another one; the two of a pair follow one another. */
struct sample_document {
    int64_t first_row, end_row; /* of the sample */
    int file;
    int64_t document; /* index in the token file */
    enum token_side side;
    double reference; /* see loader_set_references; 0 without */
};

/* One packed sequence; arrays of T that belong to the sample.  Rows from filled on are padding: token 0,
 * weight 0, source -1, each its own document.  The last token of a document has target 0 and weight 0; where
 * a document goes on in another sample, the last token here still has its target. */
struct sample {
    int32_t *tokens, *targets; /* target: the next token of the same document */
    float *weights;            /* 1 where the target counts in the loss, else 0 */
    int32_t *row_start;        /* index in the sample of the first token of the row's document */
    int32_t *positions;        /* index within the document's piece in this sample */
    int32_t *sources;          /* source of the loader, see loader_source: what each corpus had its part in */
    uint8_t *mask;             /* scratch of the loader */
    struct sample_document *documents; /* of files of pairs; none of others */
    int64_t num_documents, documents_room;
    int64_t top_k;        /* K of loader_teach; 0: no teacher, and no arrays */
    int32_t *teacher_ids; /* [T, K]: what it says of each row's target; 0 where the weight is */
    float *teacher_logps;
    int64_t num_tokens, filled;
};
/* sample_init - its arrays of T, for loader_sample to fill again and again.  sample_release frees them. */
void sample_init(struct sample *sample, int64_t sequence_tokens);
void sample_release(struct sample *sample);

struct loader;

/* loader_open - opens the token files; all must be made with one tokenizer.  config is not needed afterwards.  Returns NULL
 * with err set: a file that cannot be read, another tokenizer or vocabulary, no tokens, a weight that is not above 0, too
 * many documents or sources, a damaged block among those that were asked for.  loader_close - NULL is fine. */
struct loader *loader_open(const struct loader_config *config, struct err *err);
void loader_close(struct loader *loader);

/* loader_preference - what all its files hold: they are of one kind. */
enum token_preference loader_preference(const struct loader *loader);

/* loader_set_references - of a file, a number for each of its documents, copied: what a reference model says of it.  Before
 * samples are asked for. */
void loader_set_references(struct loader *loader, int file, const double *values);
/* loader_teach - of each file what a teacher says of its tokens (borrowed until loader_close), of which the first top_k come
 * with every sample.  Before samples are asked for. */
void loader_teach(struct loader *loader, int file, const struct teacher *teacher, int64_t top_k);
/* loader_teacher - of a file; NULL: none. */
const struct teacher *loader_teacher(const struct loader *loader, int file);
/* loader_token_file - the open file itself, borrowed. */
const struct token_file *loader_token_file(const struct loader *loader, int file);
/* loader_num_documents - of a file. */
int64_t loader_num_documents(const struct loader *loader, int file);
/* loader_place - where a document was read, as token_places_text says it; malloc'ed, NULL: not known.  Not thread-safe. */
char *loader_place(struct loader *loader, int file, int64_t document);
/* loader_uses_document - false of those that are too long for any sample. */
bool loader_uses_document(const struct loader *loader, int file, int64_t document);

/* loader_tokenizer_hash - that of the one tokenizer of all files; borrowed.  loader_chat - of one of its files; borrowed.
 * loader_num_tokens - of all files, one epoch each.  loader_num_cut_tokens - PACKING_WHOLE: beyond T or skipped, never
 * used. */
const char *loader_tokenizer_hash(const struct loader *loader);
const struct token_chat *loader_chat(const struct loader *loader, int file);
int64_t loader_num_tokens(const struct loader *loader);
int64_t loader_num_cut_tokens(const struct loader *loader);
/* loader_num_longer - documents of a file that are longer than T; of pairs, both together. */
int64_t loader_num_longer(const struct loader *loader, int file);

/* Documents of one file that are longer than a sequence. */
struct long_documents {
    const char *path;                /* of the file; borrowed */
    int64_t num_documents, num_long; /* all; those longer than T */
    int64_t num_tokens;              /* of those, which are never used; PACKING_STREAM: 0 */
    int64_t num_targets;             /* of num_tokens, what the loss would have counted */
    bool has_mask;                   /* conversations: not every token counts in the loss */
    bool has_texts; /* documents of which every token counts, beside such with a mask or alone */
    bool are_pairs; /* then pairs are counted, both documents of each together */
};
/* loader_long_documents - reads the loss mask of what is left out.  Returns 0, or -1 with err set: I/O error.
 */
int loader_long_documents(const struct loader *loader, int file, struct long_documents *out, struct err *err);
int loader_num_files(const struct loader *loader); /* as many as in loader_config */

/* loader_check_targets - every file has a token that a sample of its own counts in the loss: a mean over
 * nothing is not a number.  Reads loss masks until it finds one.  Returns 0, or -1 with err set: the file, why,
 * the remedy. */
int loader_check_targets(const struct loader *loader, struct err *err);

/* loader_check_eval_targets - the same for evaluation, and for the first num_samples evaluation samples
 * together (0: all). */
int loader_check_eval_targets(const struct loader *loader, int64_t num_samples, struct err *err);

/* loader_content_hash - identity of a file's contents, see token_file_content_hash: what a resumed run
 * compares. */
int loader_content_hash(const struct loader *loader, int file, char hex[TOKEN_CONTENT_ROOM], struct err *err);

/* loader_packing - of a file: stream or whole, also where the config says auto. */
enum packing loader_packing(const struct loader *loader, int file);

/* loader_epoch_samples - samples of one epoch of a file. */
int64_t loader_epoch_samples(const struct loader *loader, int file);

/* The sources (corpora) of all files, file after file, each file's in the order of its /sources: what
 * sample.sources counts.  With one file a source is the row of its /sources. */
int64_t loader_num_sources(const struct loader *loader);
const struct token_source *loader_source(const struct loader *loader, int64_t source);

/* loader_sample - fill sample g, g >= 0.  Thread-safe.  Returns 0, or -1 with err set: I/O error, an id
 * outside the vocabulary (file and document named). */
int loader_sample(struct loader *loader, int64_t g, struct sample *out, struct err *err);

/* Where the tokens of sample g come from, in order. */
struct sample_piece {
    int file;
    int64_t document;     /* index in the token file */
    int64_t first, count; /* tokens of that document */
};
/* loader_pieces - malloc'ed array in *pieces; returns their number, or -1 with err set. */
int64_t loader_pieces(struct loader *loader, int64_t g, struct sample_piece **pieces, struct err *err);

/* A sample of a run, and one of its pieces. */
struct found_piece {
    int64_t sample;
    struct sample_piece piece;
};
/* loader_find - all of the first num_samples samples that a document is a part of, ascending: the inverse of loader_pieces, by the
 * same tables, nothing is read.  malloc'ed array in *found; returns their number. */
int64_t loader_find(struct loader *loader, int file, int64_t document, int64_t num_samples,
                    struct found_piece **found);

/* Evaluation: the files laid end to end in their own order, every document once, cut into windows of T; of pairs as many
 * as fit.
 * loader_eval_sample - window `index`, below loader_num_eval_samples; fails as loader_sample does. */
int64_t loader_num_eval_samples(const struct loader *loader);
int loader_eval_sample(struct loader *loader, int64_t index, struct sample *out, struct err *err);
/* loader_eval_token - where row `row` of an evaluation sample comes from: a piece of one token. */
struct sample_piece loader_eval_token(const struct loader *loader, int64_t index, int64_t row);
