/* learnt.h - what one document of a sample teaches: its tokens there, and which of them are learnt.  By the token file and
 * the cut alone; a sample of the loader has the same as targets and weights. */
#pragma once

#include "data/tokens/loader.h"

/* Tokens [piece.first, piece.first + piece.count) of a document, which the model reads, and where the document goes on after
 * them the next one, which is the target of the last. */
struct learnt_piece {
    struct sample_piece piece;
    int64_t document_tokens; /* of the whole document */
    int64_t num_ids;         /* piece.count, and one more where the document goes on */
    int32_t *ids;            /* [num_ids] */
    uint8_t *
        learnt; /* [num_ids] 1: a target that counts in the loss; the first never is, nothing comes before it */
    int64_t num_learnt;
};

/* learnt_piece_read - the piece's file is `file`.  Returns 0, or -1 with err set, as token_file_read; learnt_piece_release
 * either way. */
int learnt_piece_read(const struct token_file *file, const struct sample_piece *piece,
                      struct learnt_piece *out, struct err *err);
void learnt_piece_release(struct learnt_piece *out);
