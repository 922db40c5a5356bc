/* epochs.c - see epochs.h. */
#include "train/plan/epochs.h"

#include <math.h>
#include <stdlib.h>

#include "checkpoints/files.h"
#include "train/plan/data_open.h"
#include "train/plan/packing.h"

int64_t epochs_sequences(const struct config *config, struct err *err) {
    const struct data_look look = {.vocab_size = 0};
    struct loader *loader = data_open(config, config->data.train, config->data.num_train, &look, err);
    int64_t sum = loader ? 0 : -1;
    for (int i = 0; loader && i < config->data.num_train; i++)
        sum += loader_epoch_samples(loader, i);
    loader_close(loader);
    return sum;
}

int64_t epochs_steps(const struct config *config, int64_t num_sequences) {
    double steps = config->train.epochs * (double)num_sequences / (double)config->train.batch_sequences;
    double up =
        ceil(steps * (1 - 1e-12)); /* 0.1 epochs of 10 sequences are one, whatever the rounding of 0.1 */
    return up < 1 ? 1 : (int64_t)up;
}

int epochs_resolve(struct config *config, struct err *err) {
    packing_keep(config);
    if (config->train.epochs == 0)
        return 0;
    if (config->checkpoint.from)
        return err_set(
            err,
            "config '%.200s': train.epochs does not go with checkpoint.from, after which steps go on counting "
            "and data are read from their beginning: say train.steps",
            config->origin);
    for (int i = 0; i < config->data.num_train; i++)
        if (!path_exists(config->data.train[i].path))
            return err_set(
                err,
                "config '%.200s': the steps that train.epochs means follow from '%.300s' of data.train, which is "
                "not there yet: prepare it first, or say train.steps in place of train.epochs",
                config->origin, config->data.train[i].path);
    int64_t num_sequences = epochs_sequences(config, err);
    return num_sequences < 0 ? err_prefix(err, "train.epochs")
                             : config_set_steps(config, epochs_steps(config, num_sequences), err);
}
