/* config_sync_every.c - what parallel.sync_every does not go with, each by name. */
#include "configs/schema/config_load.h"
#include "configs/schema/config_store.h"

#include <stdio.h>

int config_fail_obstacle(const struct loading *loading, const struct promise *asked,
                         const struct obstacle *obstacles, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (obstacles[i].is_there)
            return config_fail_key(loading, obstacles[i].key, "'%s' is %s, and '%s' %s: %s, or set %s to %s",
                                   asked->key, asked->value, obstacles[i].key, obstacles[i].why,
                                   obstacles[i].remedy, asked->key, asked->off);
    return 0;
}

/* is_between - something that happens every so many steps would meet replicas that are apart. */
static bool is_between(const struct config *c, int64_t every_steps) {
    return c->parallel.sync_every > 0 && every_steps % c->parallel.sync_every != 0;
}

/* The first of these is for train.reproducible to say (config_reproducible.c). */
int config_check_sync_every(const struct loading *loading) {
    const struct config *c = loading->config;
    char value[32];
    const struct obstacle obstacles[] = {
        {c->parallel.replicas == AUTO_REPLICAS, "parallel.replicas",
         "is auto: how many learn apart is part of what is learnt", "give a number"},
        {c->parallel.context != 1, "parallel.context",
         "is not 1: ranks that share a text add up its gradients in every step", "set it to 1"},
        {c->parallel.tensor != 1, "parallel.tensor",
         "is not 1: replicas that learn apart were not proven with ranks that divide tensors", "set it to 1"},
        {c->parallel.wire == WIRE_AUTO, "parallel.wire",
         "is auto: it is of gradients that are added up in every step, and there is nothing to choose; the outer sum is always "
         "f32",
         "remove it"},
        {c->parallel.wire != WIRE_COMPUTE, "parallel.wire",
         "is f32 or int8: it is of gradients that are added up in every step; the outer sum is always f32",
         "remove it"},
        {c->optimizer.offload, "optimizer.offload",
         "is true: the outer step works on masters in the device's memory", "set it to false"},
        {c->train.compute == COMPUTE_F16, "train.compute",
         "is f16: gradients of one replica may overflow where those of others do not", "take bf16"},
        {c->train.spike != SPIKE_OFF, "train.spike",
         "is not off: what is a spike to one replica need not be one to the others", "set it to off"},
        {c->objective.kind != OBJECTIVE_SFT, "objective.kind",
         "is not sft: the others were not proven of replicas that learn apart", "set it to sft"},
        {is_between(c, c->valid.every_steps), "valid.every_steps",
         "is not a multiple of it: in between there is no one model", "take a multiple"},
        {is_between(c, c->eval.every_steps), "eval.every_steps",
         "is not a multiple of it: in between there is no one model", "take a multiple"},
    };
    const struct promise asked = {"parallel.sync_every", value, "0"};
    snprintf(value, sizeof value, "%lld", (long long)c->parallel.sync_every);
    if (c->parallel.sync_every == 0)
        return 0;
    return config_fail_obstacle(loading, &asked, obstacles, sizeof obstacles / sizeof obstacles[0]);
}
