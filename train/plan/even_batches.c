/* even_batches.c - see even_batches.h. */
#include "train/plan/even_batches.h"

#include <stdio.h>

/* round_of - sequences that the ranks take at once, at least. */
static int64_t round_of(const struct config *config, int64_t num_ranks) {
    int64_t micro = config->train.micro_sequences;
    return num_ranks * (micro > 0 ? micro : 1);
}

bool even_batches(const struct config *config, int64_t num_ranks) {
    return config->parallel.sync_every == 0 ||
           config->train.batch_sequences % round_of(config, num_ranks) == 0;
}

int even_batches_check(const struct config *config, int64_t num_ranks, struct err *err) {
    char micro[80] = "";
    if (even_batches(config, num_ranks))
        return 0;
    if (config->train.micro_sequences > 0)
        snprintf(micro, sizeof micro, " with train.micro_sequences %lld",
                 (long long)config->train.micro_sequences);
    return err_set(
        err,
        "train.batch_sequences is %lld, which %lld ranks%s cannot share out evenly: with "
        "parallel.sync_every each replica counts alike, and must learn from as much; take a multiple of %lld",
        (long long)config->train.batch_sequences, (long long)num_ranks, micro,
        (long long)round_of(config, num_ranks));
}

bool replicas_are_set(const struct config *config) {
    return config->parallel.sync_every > 0 || config->parallel.wire == WIRE_INT8;
}
