/* weights_rows.c - reading a model's values: as the files hold them, and rows of the embedding and of the head that none
 * holds, for tokens that were added.
 *
 * Such a row is the mean of the rows of the tokens before it: the model finds a token that it never saw about as likely as
 * the others, where a row at random, or of zeros, changes its predictions at once (Hewitt 2021, Initializing New Word
 * Embeddings for Pretrained Language Models). */
#include "checkpoints/weights_internal.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"

/* Rows [first, end).  Means are made when they are first asked for: most ranks hold no such row. */
struct grown_rows {
    int64_t first, end;
    float *embedding_mean, *head_mean; /* [C] or NULL */
};

void weights_grow(struct weights *w, int64_t first, int64_t end) {
    CHECK(!w->grown && first > 0 && first <= w->config.vocab_size && end >= first,
          "rows %lld to %lld of %lld", (long long)first, (long long)end, (long long)w->config.vocab_size);
    w->grown = xcalloc(1, sizeof *w->grown);
    *w->grown = (struct grown_rows){.first = first, .end = end};
    if (end > w->config.vocab_size)
        w->config.vocab_size = end;
}

void weights_forget_rows(struct weights *w) {
    if (!w->grown)
        return;
    free(w->grown->embedding_mean);
    free(w->grown->head_mean);
    free(w->grown);
    w->grown = NULL;
}

/* mean_row - of rows [0, num_rows) of a matrix: summed in f64, one row after the other, so that every rank finds the same bits;
 * malloc'ed, or NULL with err set. */
static float *mean_row(const struct weights *w, struct param param, int64_t num_rows, struct err *err) {
    enum { PIECE_BYTES = 4 * MIB };
    int64_t width = w->config.width, piece = PIECE_BYTES / (width * (int64_t)sizeof(float)) + 1;
    float *rows = xmalloc((size_t)(piece * width) * sizeof *rows), *mean = NULL;
    double *sums = xcalloc((size_t)width, sizeof *sums);
    int status = 0;
    for (int64_t row = 0; row < num_rows && status == 0; row += piece) {
        int64_t now = num_rows - row < piece ? num_rows - row : piece;
        status = weights_read_stored(w, param, row * width, now * width, rows, err);
        for (int64_t i = 0; i < now && status == 0; i++)
            for (int64_t c = 0; c < width; c++)
                sums[c] += (double)rows[i * width + c];
    }
    if (status == 0) {
        mean = xmalloc((size_t)width * sizeof *mean);
        for (int64_t c = 0; c < width; c++)
            mean[c] = (float)(sums[c] / (double)num_rows);
    }
    free(sums);
    free(rows);
    return mean;
}

/* read_mean - elements [first, first + count), all of grown rows. */
static int read_mean(const struct weights *w, struct param param, int64_t first, int64_t count, float *out,
                     struct err *err) {
    struct grown_rows *grown = w->grown;
    int64_t width = w->config.width;
    float **mean = param.role == ROLE_HEAD ? &grown->head_mean : &grown->embedding_mean;
    if (!*mean)
        *mean = mean_row(w, param, grown->first, err);
    for (int64_t i = 0; *mean && i < count; i++)
        out[i] = (*mean)[(first + i) % width];
    return *mean ? 0 : -1;
}

/* A matrix with grown rows has up to three parts: rows before them, these, and padding that is left after them. */
int weights_read_base(const struct weights *w, struct param param, int64_t first, int64_t count, float *out,
                      struct err *err) {
    const struct grown_rows *grown = w->grown;
    if (param.role == ROLE_HEAD && w->head_is_embedding)
        param.role = ROLE_EMBEDDING;
    if (!grown || (param.role != ROLE_EMBEDDING && param.role != ROLE_HEAD))
        return weights_read_stored(w, param, first, count, out, err);
    int64_t begin = grown->first * w->config.width, end = grown->end * w->config.width;
    while (count > 0) {
        bool is_grown = first >= begin && first < end;
        int64_t limit = first < begin ? begin : is_grown ? end : first + count;
        int64_t now = limit - first < count ? limit - first : count;
        if ((is_grown ? read_mean : weights_read_stored)(w, param, first, now, out, err) != 0)
            return -1;
        first += now;
        count -= now;
        out += now;
    }
    return 0;
}
