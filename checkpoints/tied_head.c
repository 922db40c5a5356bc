/* tied_head.c - comparing a head and an embedding that are stored apart, by pieces of whole rows. */
#include "checkpoints/tied_head.h"

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

int tied_head_check(const struct model_config *config, const struct st_files *files, int64_t embedding,
                    int64_t head, struct err *err) {
    enum { PIECE_BYTES = 4 * MIB };
    int64_t width = config->width, num_rows = config->vocab_size, differ = 0, first_other = -1;
    struct st_entry entry = st_entry(files, head);
    if (entry.dtype != DTYPE_F32 && entry.dtype != DTYPE_BF16 && entry.dtype != DTYPE_F16)
        return err_set(err, "the head is tied to the embedding, yet a head of type %s is stored",
                       entry.dtype_text);
    if (entry.count != num_rows * width)
        return err_set(err, "the head is tied to the embedding, yet a head of another size is stored");
    int64_t piece = PIECE_BYTES / (width * (int64_t)sizeof(float)) + 1;
    float *a = xmalloc((size_t)(piece * width) * sizeof *a),
          *b = xmalloc((size_t)(piece * width) * sizeof *b);
    int status = 0;
    for (int64_t row = 0; row < num_rows && status == 0; row += piece) {
        int64_t now = num_rows - row < piece ? num_rows - row : piece, first = -1;
        status = st_read_f32(files, embedding, row * width, now * width, a, err) ||
                 st_read_f32(files, head, row * width, now * width, b, err);
        int64_t here = status ? 0 : rows_that_differ(b, a, now, width, &first);
        if (differ == 0 && here > 0)
            first_other = row + first;
        differ += here;
    }
    free(a);
    free(b);
    if (status)
        return -1;
    if (differ > 0)
        return err_set(
            err,
            "tie_word_embeddings is true, yet the stored head differs from the embedding in %lld of %lld "
            "rows, first row %lld: set it to false in config.json if the head is meant, or remove the head",
            (long long)differ, (long long)num_rows, (long long)first_other);
    return 0;
}
