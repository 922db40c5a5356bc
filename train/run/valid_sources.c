/* valid_sources.c - see valid_sources.h. */
#include "train/run/valid_sources.h"

#include <math.h>
#include <stdlib.h>

#include "data/tokens/loader_spread.h"
#include "train/run/step_sums.h"

/* Of documents that are learnt against each other the loss of a token says nothing. */
void valid_sources_open(struct valid_sources *sources, const struct loader *loader, int64_t num_sequences) {
    int64_t all = loader_num_eval_samples(loader);
    *sources = (struct valid_sources){
        .bits_per_byte = NAN, .num_windows = num_sequences > 0 && num_sequences < all ? num_sequences : all};
    sources->windows = loader_spread(loader, sources->num_windows);
    if (loader_preference(loader) != PREFERENCE_NONE)
        return;
    sources->loader = loader;
    sources->num_sources = loader_num_sources(loader);
    sources->losses = xcalloc((size_t)sources->num_sources + 1, sizeof *sources->losses);
    sources->bytes = xcalloc((size_t)sources->num_sources + 1, sizeof *sources->bytes);
    for (int64_t s = 0; s < sources->num_sources; s++)
        sources->losses[s].name = loader_source(loader, s)->name;
}

void valid_sources_close(struct valid_sources *sources) {
    free(sources->windows);
    free(sources->losses);
    free(sources->token_bytes);
    free(sources->bytes);
    *sources = (struct valid_sources){.loader = NULL};
}

void valid_sources_read_bytes(struct valid_sources *sources, const struct tokenizer *tok, struct comm *comm) {
    sources->vocab_size = comm_is_root(comm) && tok ? tokenizer_vocab_size(tok) : 0;
    if (comm_is_root(comm) && tok)
        sources->token_bytes = tokenizer_token_bytes(tok);
    comm_broadcast(comm, &sources->vocab_size, sizeof sources->vocab_size);
    if (sources->vocab_size == 0)
        return;
    size_t size_bytes = (size_t)sources->vocab_size * sizeof *sources->token_bytes;
    if (!sources->token_bytes)
        sources->token_bytes = xmalloc(size_bytes);
    comm_broadcast(comm, sources->token_bytes, size_bytes);
}

void valid_sources_begin(struct valid_sources *sources, struct feed *feed) {
    feed->windows = sources->windows;
    feed->tells_sources = sources->loader != NULL;
    for (int64_t s = 0; s < sources->num_sources; s++)
        sources->losses[s].loss = sources->losses[s].target_tokens = sources->bytes[s] = 0;
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
        if (batch->weights[i] > 0 && batch->targets[i] < sources->vocab_size)
            sources->bytes[rows[i]] += (double)sources->token_bytes[batch->targets[i]];
    }
}

/* bits_per_byte - of a sum of losses, which are natural logarithms. */
static double bits_per_byte(double loss, double bytes) {
    return bytes > 0 ? loss / log(2) / bytes : NAN;
}

void valid_sources_end(struct valid_sources *sources, struct rank_device *rank) {
    int64_t count = sources->num_sources;
    double *sums = xcalloc((size_t)(3 * count) + 1, sizeof *sums), *counts = sums + count;
    double loss = 0, bytes = 0;
    for (int64_t s = 0; s < count; s++) {
        sums[s] = sources->losses[s].loss;
        counts[s] = sources->losses[s].target_tokens;
        counts[count + s] = sources->bytes[s];
    }
    if (count > 0)
        step_sums_by_source(sums, counts, (int)count, rank);
    for (int64_t s = 0; s < count; s++) {
        sources->losses[s].target_tokens = counts[s];
        sources->losses[s].loss = counts[s] > 0 ? sums[s] / counts[s] : NAN;
        sources->losses[s].bits_per_byte = bits_per_byte(sums[s], counts[count + s]);
        loss += sums[s];
        bytes += counts[count + s];
    }
    sources->bits_per_byte = bits_per_byte(loss, bytes);
    free(sums);
}

void valid_sources_leave(struct feed *feed) {
    feed->windows = NULL;
    feed->tells_sources = false;
}
