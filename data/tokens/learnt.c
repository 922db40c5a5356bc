/* learnt.c - see learnt.h. */
#include "data/tokens/learnt.h"

#include <stdlib.h>

int learnt_piece_read(const struct token_file *file, const struct sample_piece *piece,
                      struct learnt_piece *out, struct err *err) {
    const uint64_t *offsets = token_file_offsets(file) + piece->document;
    int64_t whole = (int64_t)(offsets[1] - offsets[0]);
    *out = (struct learnt_piece){.piece = *piece, .document_tokens = whole};
    out->num_ids = piece->first + piece->count < whole ? piece->count + 1 : piece->count;
    out->ids = xmalloc((size_t)out->num_ids * sizeof *out->ids + 1);
    out->learnt = xmalloc((size_t)out->num_ids + 1);
    if (token_file_read(file, (int64_t)offsets[0] + piece->first, out->num_ids, out->ids, out->learnt, err) !=
        0)
        return -1;
    if (out->num_ids > 0)
        out->learnt[0] = 0;
    for (int64_t i = 0; i < out->num_ids; i++)
        out->num_learnt += out->learnt[i] != 0;
    return 0;
}

void learnt_piece_release(struct learnt_piece *out) {
    free(out->ids);
    free(out->learnt);
    *out = (struct learnt_piece){.ids = NULL};
}
