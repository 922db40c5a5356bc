/* summary.h - what a token file holds, and what a run will take of it, in a few lines or as JSON: told after `prepare` and by
 * `inspect`. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "configs/schema/config.h"
#include "data/tokens/token_summary.h"

/* What a run makes of a token file. */
struct run_share {
    int64_t sequence_tokens; /* 0: there is no run */
    enum packing packing;
    enum long_policy long_documents;
    int64_t num_sequences; /* of an epoch */
    int64_t num_longer;    /* documents (pairs: both together) longer than a sequence */
    int64_t num_cut;       /* tokens that are never used: cut off, or of documents that are skipped */
    int64_t num_steps, batch_sequences; /* num_steps 0: train.epochs says it, and not all files are there */
    double epochs;                      /* how often the run reads the file; 0: it is not in data.train */
};

/* summary_run - of the file at path; a run file without data.train leaves share zeroed.  Returns 0, or -1 with err set where
 * `train` would refuse the file. */
int summary_run(struct run_share *share, const char *path, const struct config *config, struct err *err);

/* summary_put - members "learnt_tokens", "learnt_share", "documents_without_learnt", "longest_document", "lengths".
 * summary_put_run - "run", where there is one. */
void summary_put(json_t *object, const struct token_summary *summary);
void summary_put_run(json_t *object, const struct run_share *share);

/* summary_digits - for %.*g of how often a file is read: three digits, and all of them from a thousand on (2667, never 2.67e+03). */
int summary_digits(double times);

/* summary_print - the lines of a summary, each after two spaces.  summary_print_run - nothing where there is no run.
 * summary_print_lengths - the member "lengths" as a histogram, each line after so many spaces. */
void summary_print(FILE *out, const struct token_summary *summary);
void summary_print_run(FILE *out, const struct run_share *share);
void summary_print_lengths(FILE *out, const json_t *lengths, int indent);
