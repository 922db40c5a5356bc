/* config_reproducible.c - what train.reproducible: layout cannot promise the same bits with, each by name. */
#include "configs/schema/config_load.h"

int config_check_reproducible(const struct loading *loading) {
    const struct config *c = loading->config;
    const struct obstacle obstacles[] = {
        {c->run.threads == 0, "run.threads",
         "is not set: with another number of ranks each would have another number of threads, by which products may be "
         "summed otherwise",
         "set it, to what fits the largest number of ranks"},
        {c->train.micro_sequences == AUTO_MICRO_SEQUENCES, "train.micro_sequences",
         "is auto: other ranks would cut a step into other micro-batches", "give a number"},
        {c->train.micro_sequences == GROUP_MICRO_SEQUENCES, "train.micro_sequences",
         "is group, as where nothing is said: other ranks could cut a step into other micro-batches",
         "give a number"},
        {config_gemm_choices(c) == GEMM_CHOICES_FILE, "run.gemm_choices",
         "is a file: products that it lacks are measured, and may be chosen otherwise the next time",
         "set it to none"},
        {c->parallel.context != 1, "parallel.context",
         "is not 1: ranks that share a text add up its parts in f32", "set it to 1"},
        {c->parallel.tensor != 1, "parallel.tensor", "is not 1: ranks that divide tensors add up rows in f32",
         "set it to 1"},
        {c->parallel.expert != 1, "parallel.expert",
         "is not 1: ranks that divide experts add up what all of their rows teach them in f32",
         "set it to 1"},
        {c->parallel.sync_every > 0, "parallel.sync_every",
         "is more than 0: what replicas learn apart depends on how many there are", "set it to 0"},
        {c->optimizer.kind != OPTIMIZER_ADAMW, "optimizer.kind",
         "is muon, whose products are those of whichever rank owns a matrix: this was not proven",
         "set it to adamw"},
        {c->objective.kind != OBJECTIVE_SFT, "objective.kind",
         "is not sft: the losses of the others are not summed exactly yet", "set it to sft"},
    };
    const struct promise asked = {"train.reproducible", "layout", "off"};
    if (c->train.reproducible == REPRODUCIBLE_OFF)
        return 0;
    return config_fail_obstacle(loading, &asked, obstacles, sizeof obstacles / sizeof obstacles[0]);
}
