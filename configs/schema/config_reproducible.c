/* config_reproducible.c - what train.reproducible: layout cannot promise the same bits with, each by name. */
#include "configs/schema/config_load.h"

/* A key whose value does not go with it. */
struct obstacle {
    bool is_there;
    const char *key, *why, *remedy;
};

int config_check_reproducible(const struct loading *loading) {
    const struct config *c = loading->config;
    const struct obstacle obstacles[] = {
        {c->run.threads == 0, "run.threads",
         "is not set: with another number of ranks each would have another number of threads, by which products may be "
         "summed otherwise",
         "set it, to what fits the largest number of ranks"},
        {c->train.micro_sequences == AUTO_MICRO_SEQUENCES, "train.micro_sequences",
         "is auto: other ranks would cut a step into other micro-batches", "give a number"},
        {c->run.device == DEVICE_CUDA, "run.device",
         "is cuda: there are no kernels on GPUs yet that add gradients as integers", "set it to cpu"},
        {c->parallel.context > 1, "parallel.context",
         "is more than 1: ranks that share a text add up its parts in f32", "set it to 1"},
        {c->parallel.tensor != 1, "parallel.tensor", "is not 1: ranks that divide tensors add up rows in f32",
         "set it to 1"},
        {c->optimizer.kind != OPTIMIZER_ADAMW, "optimizer.kind",
         "is muon, whose products are those of whichever rank owns a matrix: this was not proven",
         "set it to adamw"},
        {c->objective.kind != OBJECTIVE_SFT, "objective.kind",
         "is not sft: the losses of the others are not summed exactly yet", "set it to sft"},
    };
    if (c->train.reproducible == REPRODUCIBLE_OFF)
        return 0;
    for (size_t i = 0; i < sizeof obstacles / sizeof obstacles[0]; i++)
        if (obstacles[i].is_there)
            return config_fail_key(
                loading, obstacles[i].key,
                "'train.reproducible' is layout, and '%s' %s: %s, or set train.reproducible to off",
                obstacles[i].key, obstacles[i].why, obstacles[i].remedy);
    return 0;
}
