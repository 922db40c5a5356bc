/* run_order.h - by what the order of a run's data follows: RUN/data.jsonl, a line for each start.
 *   {"after_step": S, "steps": N, "data_start": D, "batch_sequences": B, "sequence_tokens": T, "seed": R, "packing": "whole",
 *    "long_documents": "cut", "ranks": R, "micro_sequences": M, "files": [{"path": ..., "weight": 1.0, "content": HASH}]}
 * ranks and micro_sequences say who reads a sample (train/run/feed.h), all else which sample that is (data/tokens/loader.h).  What a
 * step read is computed from it, never written down.  A start after step S takes the place of what earlier ones did or would have
 * done from there on. */
#pragma once

#include "data/corpus/json.h"
#include "data/tokens/loader.h"

struct run_order_file {
    char *path; /* absolute */
    double weight;
    char content[TOKEN_CONTENT_ROOM]; /* token_file_content_hash */
};

/* One start. */
struct run_order {
    int64_t after_step, num_steps; /* of the whole run */
    int64_t data_start;            /* the step after which the samples are counted from 0 */
    int64_t batch_sequences, sequence_tokens, seed;
    enum packing packing;
    enum long_policy long_documents;
    int64_t num_ranks, micro_sequences; /* 0: not known */
    struct run_order_file *files;
    int num_files;
    int64_t
        end_step; /* steps after_step + 1 .. end_step are read in this way; none where both are the same */
};

struct run_orders {
    struct run_order *starts;
    int num_starts;
};

/* run_order_append - a line for a start.  files: data_list_json's list of path, weight and content.  Returns 0, or -1 with err
 * set: what stands there is not such a file, or it cannot be written.  One process writes it, that of the run's lock. */
int run_order_append(const char *run_folder, const struct run_order *order, const json_t *files,
                     struct err *err);

/* run_orders_read - all starts with what is left to each.  A run of a version that kept no such file has one, by its newest
 * checkpoint, with num_ranks 0.  Returns 0, or -1 with err set: no run, or a line that no start writes.  run_orders_release -
 * harmless on a zeroed struct. */
int run_orders_read(struct run_orders *orders, const char *run_folder, struct err *err);
void run_orders_release(struct run_orders *orders);

/* run_order_same - whether both count the same samples in the same order, whoever reads them. */
bool run_order_same(const struct run_order *a, const struct run_order *b);
