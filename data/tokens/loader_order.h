/* loader_order.h - inside the loader: which pieces of which documents make up sample s of one file. */
#pragma once

#include "data/tokens/loader.h"

/* Pieces, growing; the caller's.  Start from {0}, free pieces. */
struct piece_list {
    struct sample_piece *pieces;
    int64_t count, room;
};

/* Samples with one of their pieces, growing; the caller's.  Start from {0}, free found. */
struct found_list {
    struct found_piece *found;
    int64_t count, room;
};

/* One shuffled epoch.  Stream: documents in order and where each starts in the stream.  Whole: groups in
 * order. */
struct epoch_order {
    int64_t epoch;    /* -1: none yet */
    uint32_t *order;  /* [documents] or [groups] */
    uint64_t *starts; /* stream: [documents + 1] */
};

/* A unit is what stays in one sample with PACKING_WHOLE: a document, or the two of a pair. */
struct file_order {
    const struct token_file *file; /* borrowed */
    int unit_documents;            /* 1 or 2 */
    int64_t num_units;
    int index; /* of the file in the run: part of the random key */
    uint64_t seed;
    enum packing packing; /* stream or whole */
    enum long_policy long_documents;
    int64_t sequence_tokens;
    int64_t num_samples;    /* per epoch */
    int64_t num_long;       /* units longer than T */
    int64_t longest;        /* the first document of the longest unit, by its number in the file */
    int64_t num_cut_tokens; /* whole: beyond T, or of documents that are skipped */
    uint32_t *grouped;      /* whole: the units, group after group */
    uint32_t *group_first;  /* whole: [num_samples + 1], index into grouped */
    int64_t num_eval_groups;
    uint32_t *eval_first; /* pairs: [num_eval_groups + 1], units in the file's order; NULL: windows */
    struct epoch_order recent[2];
    int latest; /* which of recent was made last */
};

/* file_order_init - seed, packing, T and index from the config; for PACKING_WHOLE forms the groups. */
void file_order_init(struct file_order *order, const struct token_file *file, int index,
                     const struct loader_config *config);
/* file_order_document_tokens - of the document, all of them.  file_order_used_tokens - how many of them are ever used: the
 * first ones; of a pair all or none.  file_order_unit_tokens - of a unit, all of them. file_order_release - the tables; the token file stays open. */
int64_t file_order_used_tokens(const struct file_order *order, int64_t document);
int64_t file_order_document_tokens(const struct file_order *order, int64_t document);
int64_t file_order_unit_tokens(const struct file_order *order, int64_t unit);
void file_order_release(struct file_order *order);

/* file_order_pieces - append the pieces of sample s, counted over all epochs.  Not thread-safe: makes the
 * tables of an epoch when it is first touched (20 to 100 ms per million documents). */
void file_order_pieces(struct file_order *order, int64_t s, struct piece_list *list);

/* file_order_eval_pieces - of window w of the file in its own order (of pairs: as many as fit, whole), below file_order_num_eval_samples.  Thread-safe. */
void file_order_eval_pieces(const struct file_order *order, int64_t w, struct piece_list *list);
int64_t file_order_num_eval_samples(const struct file_order *order);

/* file_order_find - of an epoch, the samples of which the document is a part, appended in ascending order: `sample` counted over all
 * epochs, and the piece of it.  None where nothing of it is used.  Not thread-safe, as file_order_pieces. */
void file_order_find(struct file_order *order, int64_t document, int64_t epoch, struct found_list *list);
