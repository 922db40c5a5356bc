/* weights_head.c - a head that is the embedding, or is not, in spite of how the files have it. */
#include "checkpoints/weights_internal.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"

/* rows_that_differ - of the stored head and the embedding, and the first of them. */
static int64_t rows_that_differ(const float *head, const float *embedding, int64_t num_rows, int64_t width,
                                int64_t *first) {
    int64_t differ = 0;
    for (int64_t row = 0; row < num_rows; row++)
        if (memcmp(head + row * width, embedding + row * width, (size_t)width * sizeof *head) != 0 &&
            differ++ == 0)
            *first = row;
    return differ;
}

int weights_check_tie(const struct weights *w, struct err *err) {
    enum { PIECE_BYTES = 4 * MIB };
    int64_t width = w->config.width, num_rows = w->config.vocab_size, differ = 0, first_other = -1;
    int64_t piece = PIECE_BYTES / (width * (int64_t)sizeof(float)) + 1;
    struct weights both = *w; /* with a head to be found */
    both.config.tied_head = false;
    float *a = xmalloc((size_t)(piece * width) * sizeof *a),
          *b = xmalloc((size_t)(piece * width) * sizeof *b);
    int status = 0;
    for (int64_t row = 0; row < num_rows && status == 0; row += piece) {
        int64_t now = num_rows - row < piece ? num_rows - row : piece, first = -1;
        struct param embedding = param_at(ROLE_EMBEDDING, 0), head = param_at(ROLE_HEAD, 0);
        status = weights_read_stored(&both, embedding, row * width, now * width, a, err) ||
                 weights_read_stored(&both, head, row * width, now * width, b, err);
        int64_t here = status ? 0 : rows_that_differ(b, a, now, width, &first);
        if (differ == 0 && here > 0)
            first_other = row + first;
        differ += here;
    }
    free(a);
    free(b);
    if (status)
        return -1;
    return differ == 0
               ? 0
               : err_set(err,
                         "the stored head differs from the embedding in %lld of %lld rows, first row %lld",
                         (long long)differ, (long long)num_rows, (long long)first_other);
}

int weights_check_spare_head(struct weights *w, int64_t head, struct err *err) {
    struct st_entry entry = st_entry(w->files, head);
    if (entry.dtype != DTYPE_F32 && entry.dtype != DTYPE_BF16 && entry.dtype != DTYPE_F16)
        return err_set(err, "the head is tied to the embedding, yet a head of type %s is stored",
                       entry.dtype_text);
    if (entry.count != w->config.vocab_size * w->config.width)
        return err_set(err, "the head is tied to the embedding, yet a head of another size is stored");
    w->stores_tied_head = true;
    struct err why = {""};
    if (weights_check_tie(w, &why) == 0)
        return 0;
    return err_set(
        err,
        "tie_word_embeddings is true, yet %s: set it to false in config.json if the head is meant, or "
        "remove the head",
        why.text);
}

void weights_tie(struct weights *w) {
    w->config.tied_head = true;
}

void weights_untie(struct weights *w) {
    w->head_is_embedding = w->head_is_embedding || w->config.tied_head;
    w->config.tied_head = false;
}
