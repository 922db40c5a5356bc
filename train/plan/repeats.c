/* repeats.c - see repeats.h. */
#include "train/plan/repeats.h"

#include <stdio.h>

#include "train/measure/summary.h"

/* By the weights, as the loader shares out the samples: a small file with a large weight is read many times
 * over. */
const char *repeats_text(const struct config *config, int file, int64_t epoch_samples, char *text,
                         size_t room_bytes) {
    /* Read four times over a text teaches nearly as much as a new one would (Muennighoff et al. 2023, Scaling
     * Data-Constrained Language Models). */
    static const double MANY = 4;
    double sum = 0, all = (double)config->train.steps * (double)config->train.batch_sequences;
    for (int i = 0; i < config->data.num_train; i++)
        sum += config->data.train[i].weight;
    double samples = all * config->data.train[file].weight / sum;
    double times = epoch_samples > 0 ? samples / (double)epoch_samples : 0;
    text[0] = '\0';
    if (times > MANY)
        snprintf(text, room_bytes,
                 "'%.300s' has %lld sequences, and is read %.*g times over in %lld steps of %lld sequences%s",
                 config->data.train[file].path, (long long)epoch_samples, summary_digits(times), times,
                 (long long)config->train.steps, (long long)config->train.batch_sequences,
                 config->train.epochs > 0 ? "" : "; train.epochs in place of train.steps says how often");
    else if (samples < 1)
        snprintf(text, room_bytes,
                 "'%.300s' is hardly ever read: its weight gives it %.2g of the %.0f sequences of the run",
                 config->data.train[file].path, samples, all);
    return text;
}
