/* valid_sources.c - see valid_sources.h. */
#include "train/run/valid_sources.h"

#include <math.h>
#include <stdlib.h>

#include "data/tokens/loader_spread.h"
#include "train/run/step_sums.h"

/* Of documents that are learnt against each other the loss of a token says nothing. */
void valid_sources_open(struct valid_sources *sources, const struct loader *loader, int64_t num_sequences) {
    int64_t all = loader_num_eval_samples(loader);
    *sources =
        (struct valid_sources){.num_windows = num_sequences > 0 && num_sequences < all ? num_sequences : all};
    sources->windows = loader_spread(loader, sources->num_windows);
    if (loader_preference(loader) != PREFERENCE_NONE)
        return;
    sources->loader = loader;
    sources->num_sources = loader_num_sources(loader);
    sources->losses = xcalloc((size_t)sources->num_sources + 1, sizeof *sources->losses);
    for (int64_t s = 0; s < sources->num_sources; s++)
        sources->losses[s].name = loader_source(loader, s)->name;
}

void valid_sources_close(struct valid_sources *sources) {
    free(sources->windows);
    free(sources->losses);
    *sources = (struct valid_sources){.loader = NULL};
}

void valid_sources_begin(struct valid_sources *sources, struct feed *feed) {
    feed->windows = sources->windows;
    feed->tells_sources = sources->loader != NULL;
    for (int64_t s = 0; s < sources->num_sources; s++)
        sources->losses[s].loss = sources->losses[s].target_tokens = 0;
}

void valid_sources_add(struct valid_sources *sources, const struct feed *feed, int64_t micro,
                       const float *losses) {
    const struct batch *batch = &feed->micros[micro];
    const int32_t *rows = feed->row_sources + micro * batch->num_tokens;
    for (int64_t i = 0; sources->loader && i < batch->num_tokens; i++) {
        if (rows[i] < 0)
            continue;
        sources->losses[rows[i]].loss += (double)losses[i];
        sources->losses[rows[i]].target_tokens += (double)batch->weights[i];
    }
}

void valid_sources_end(struct valid_sources *sources, struct rank_device *rank) {
    double *sums = xcalloc((size_t)(2 * sources->num_sources) + 1, sizeof *sums);
    double *tokens = sums + sources->num_sources;
    for (int64_t s = 0; s < sources->num_sources; s++) {
        sums[s] = sources->losses[s].loss;
        tokens[s] = sources->losses[s].target_tokens;
    }
    if (sources->num_sources > 0)
        step_sums_by_source(sums, tokens, (int)sources->num_sources, rank);
    for (int64_t s = 0; s < sources->num_sources; s++) {
        sources->losses[s].target_tokens = tokens[s];
        sources->losses[s].loss = tokens[s] > 0 ? sums[s] / tokens[s] : NAN;
    }
    free(sums);
}

void valid_sources_leave(struct feed *feed) {
    feed->windows = NULL;
    feed->tells_sources = false;
}
