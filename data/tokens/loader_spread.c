/* loader_spread.c - see loader_spread.h. */
#include "data/tokens/loader_spread.h"

#include <stdlib.h>

/* All evaluation samples by source, and how many are taken of each. */
struct spread {
    int64_t num_samples, num_sources;
    int64_t *source;  /* [num_samples], of the first token */
    int64_t *present; /* [num_sources], samples of it */
    int64_t *taken;   /* [num_sources] */
};

static int64_t source_of(const struct loader *loader, const struct sample_piece *piece) {
    int64_t source = token_file_document_source(loader_token_file(loader, piece->file), piece->document);
    for (int file = 0; file < piece->file; file++)
        source += token_file_num_sources(loader_token_file(loader, file));
    return source;
}

/* share_out - by the rest of a division carried on, so that the sum is count.  Then what has none gets one from the largest. */
static void share_out(struct spread *spread, int64_t count) {
    int64_t before = 0, done = 0;
    for (int64_t s = 0; s < spread->num_sources; s++) {
        before += spread->present[s];
        int64_t until =
            (int64_t)((unsigned __int128)before * (uint64_t)count / (uint64_t)spread->num_samples);
        spread->taken[s] = until - done;
        done = until;
    }
    for (int64_t s = 0; s < spread->num_sources; s++) {
        int64_t largest = 0;
        for (int64_t i = 1; i < spread->num_sources; i++)
            if (spread->taken[i] > spread->taken[largest])
                largest = i;
        if (spread->present[s] > 0 && spread->taken[s] == 0 && spread->taken[largest] > 1) {
            spread->taken[largest]--;
            spread->taken[s]++;
        }
    }
}

/* is_taken - of a source with `present` samples the nth, where `taken` of them are: evenly spaced. */
static bool is_taken(int64_t nth, int64_t present, int64_t taken) {
    return (unsigned __int128)(nth + 1) * (uint64_t)taken / (uint64_t)present !=
           (unsigned __int128)nth * (uint64_t)taken / (uint64_t)present;
}

/* collect - the samples themselves. */
static int64_t *collect(const struct spread *spread, int64_t count) {
    int64_t *samples = xmalloc((size_t)count * sizeof *samples + 1);
    int64_t *nth = xcalloc((size_t)spread->num_sources + 1, sizeof *nth), found = 0;
    for (int64_t i = 0; i < spread->num_samples; i++) {
        int64_t s = spread->source[i];
        if (is_taken(nth[s]++, spread->present[s], spread->taken[s]))
            samples[found++] = i;
    }
    CHECK(found == count, "%lld samples in place of %lld", (long long)found, (long long)count);
    free(nth);
    return samples;
}

int64_t *loader_spread(const struct loader *loader, int64_t count) {
    struct spread spread = {.num_samples = loader_num_eval_samples(loader),
                            .num_sources = loader_num_sources(loader)};
    if (count <= 0 || count >= spread.num_samples || spread.num_sources < 2)
        return NULL;
    spread.source = xmalloc((size_t)spread.num_samples * sizeof *spread.source);
    spread.present = xcalloc((size_t)spread.num_sources, sizeof *spread.present);
    spread.taken = xcalloc((size_t)spread.num_sources, sizeof *spread.taken);
    for (int64_t i = 0; i < spread.num_samples; i++) {
        struct sample_piece first = loader_eval_token(loader, i, 0);
        spread.source[i] = source_of(loader, &first);
        spread.present[spread.source[i]]++;
    }
    share_out(&spread, count);
    int64_t *samples = collect(&spread, count);
    free(spread.source);
    free(spread.present);
    free(spread.taken);
    return samples;
}

/* Spread over sources they are anywhere in the files, which have some. */
int loader_check_spread_targets(const struct loader *loader, int64_t count, struct err *err) {
    int64_t *spread = loader_spread(loader, count);
    int64_t num_first = spread ? 0 : count;
    free(spread);
    return loader_check_eval_targets(loader, num_first, err);
}
