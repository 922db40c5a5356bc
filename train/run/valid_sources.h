/* valid_sources.h - a validation by the sources of its documents: which samples it takes, and the loss of each source. */
#pragma once

#include "data/tokenizer/tokenizer.h"
#include "train/ranks/rank_device.h"
#include "train/record/metrics.h"
#include "train/run/feed.h"

/* Start from {0}. */
struct valid_sources {
    const struct loader *loader; /* borrowed; NULL: sources are not told apart */
    int64_t *windows;            /* [num_windows] evaluation samples; NULL: the first num_windows */
    int64_t num_windows;
    int32_t *token_bytes; /* [vocab_size] of text that a token stands for; NULL: not known */
    int64_t vocab_size;
    double *bytes;              /* [num_sources] of the target tokens */
    double bits_per_byte;       /* of all, after valid_sources_end; NaN: not known */
    struct source_loss *losses; /* [num_sources] sums, and the means after valid_sources_end */
    int64_t num_sources;
};

/* valid_sources_open - num_sequences as valid.sequences: 0: all.  valid_sources_close - harmless on {0}. */
void valid_sources_open(struct valid_sources *sources, const struct loader *loader, int64_t num_sequences);
void valid_sources_close(struct valid_sources *sources);

/* valid_sources_read_bytes - what the tokens stand for, by the root's tokenizer (NULL: it has none).  Collective. */
void valid_sources_read_bytes(struct valid_sources *sources, const struct tokenizer *tok, struct comm *comm);

/* valid_sources_begin - sums of nothing, and feed reads the windows from here on.  valid_sources_add - a micro-batch of feed, whose
 * rows have these losses.  valid_sources_leave - feed reads any sample again. */
void valid_sources_begin(struct valid_sources *sources, struct feed *feed);
void valid_sources_add(struct valid_sources *sources, const struct feed *feed, int64_t micro,
                       const float *losses);
void valid_sources_leave(struct feed *feed);

/* valid_sources_end - means over all ranks.  Collective: all ranks of the grid. */
void valid_sources_end(struct valid_sources *sources, struct rank_device *rank);
