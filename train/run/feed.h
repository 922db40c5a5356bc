/* feed.h - from samples to micro-batches: which samples of a step this rank computes, laid end to end.
 * Rank r of R computes in its micro-batch m the samples (m R + r) micro_sequences + j; those beyond the
 * step's batch are padding, so every rank runs the same number of micro-batches. */
#pragma once

#include "data/prefetch.h"
#include "data/tokens/loader.h"
#include "train/model/model.h"
#include "train/record/left_out.h"

struct feed {
    int64_t sequence_tokens, batch_sequences, micro_sequences;
    int rank, num_ranks;
    int64_t num_micros;   /* per step and rank */
    struct batch *micros; /* [num_micros] */
    struct sample sample; /* scratch */
    double target_weight; /* sum of the weights of this rank's step */
    double num_units;     /* its pairs or labelled completions; 0 where documents are learnt one by one */
    struct prefetch *prefetch; /* reads the samples of the coming steps; NULL before feed_start */
    int64_t first_step;        /* where it began */
    struct left_out left_out;  /* batches that are passed over */
    int64_t next_step;         /* of which feed_step will give the samples */
    int64_t *own;              /* [num_own] the samples of a step that this rank computes */
    int64_t num_own;
    int64_t filled_tokens; /* tokens of this rank's step without padding */
    int64_t num_sequences; /* of this rank's step, those that have some */
    int64_t num_sources;
    const int64_t
        *windows; /* of an evaluation: the samples that are meant by 0, 1, ...; borrowed, NULL: themselves */
    bool tells_sources;   /* an evaluation fills row_sources */
    int32_t *row_sources; /* [num_micros, tokens of one]: of each row the source of the loader; -1: padding */
    int64_t *read_tokens; /* [num_sources]: of them, by source of the loader */
    int64_t
        *source_tokens; /* [num_sources]: summed over all steps since the start that feed_count was told of */
};

/* feed_open - memory for one step (or one validation round) of this rank.  feed_close frees it. */
void feed_open(struct feed *feed, int64_t sequence_tokens, int64_t batch_sequences, int64_t micro_sequences,
               int rank, int num_ranks);
void feed_close(struct feed *feed);

/* feed_start - begin to read ahead the samples of steps first_step, first_step + 1, ... (from 0); those of left_out (copied; NULL:
 * none) that move the batches after them are passed over.  loader is borrowed and must outlive the feed. */
void feed_start(struct feed *feed, struct loader *loader, int64_t first_step,
                const struct left_out *left_out);

/* feed_step - all micro-batches of the next step.  Returns 0, or -1 with err set.  feed_count - the step whose micro-batches are at
 * hand counts in source_tokens. */
int feed_step(struct feed *feed, struct err *err);
void feed_count(struct feed *feed);

/* feed_num_filled - micro-batches of a step on all ranks together, without those that are all padding: the same on any number of
 * ranks. */
int64_t feed_num_filled(const struct feed *feed);

/* feed_eval - the same for evaluation samples [first, first + batch_sequences), cut at num_samples. */
int feed_eval(struct feed *feed, struct loader *loader, int64_t first, int64_t num_samples, struct err *err);

/* feed_documents - names the documents of this rank's part of a step, each once, for messages: "file.h5 document
 * 17, file.h5 document 3, ..."; the dots where there is no room for all. */
void feed_documents(const struct feed *feed, struct loader *loader, const struct data_file *files,
                    int64_t step, char *text, size_t room_bytes);
