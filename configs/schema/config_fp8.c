/* config_fp8.c - train.compute: what its values mean, and what fp8 cannot be asked for with, each by name. */
#include <stdio.h>

#include "configs/schema/config_load.h"

enum dtype config_activations(const struct config *config) {
    return config->train.compute == COMPUTE_FP8 ? DTYPE_BF16 : (enum dtype)config->train.compute;
}

const char *config_compute_text(const struct config *config, char *text, size_t room_bytes) {
    long long skipped = (long long)config->train.fp8_skip_layers;
    if (config->train.compute != COMPUTE_FP8) {
        snprintf(text, room_bytes, "%s", dtype_name(config_activations(config)));
        return text;
    }
    int used =
        snprintf(text, room_bytes, "fp8 %s", config->train.fp8_gradients == FP8_E5M2 ? "hybrid" : "e4m3");
    if (config->train.fp8_scaling == FP8_BLOCKS)
        used += snprintf(text + used, room_bytes - (size_t)used, " by blocks");
    if (skipped > 0)
        snprintf(text + used, room_bytes - (size_t)used, ", first and last %lld layer%s in bf16", skipped,
                 skipped > 1 ? "s" : "");
    return text;
}

int config_check_fp8(const struct loading *loading) {
    const struct config *c = loading->config;
    const struct {
        bool is_there;
        const char *key, *why, *remedy;
    } obstacles[] = {
        {c->parallel.tensor != 1, "parallel.tensor",
         "is not 1: ranks that divide tensors would each scale a part by its own largest value",
         "set it to 1"},
        {c->parallel.context != 1, "parallel.context",
         "is not 1: ranks that share a text would each scale their rows by their own largest value",
         "set it to 1"},
        {c->adapter.method == ADAPTER_DORA, "adapter.method",
         "is dora, whose lengths are those of matrices that were not cast", "set it to lora"},
        {c->adapter.base != BASE_COMPUTE, "adapter.base",
         "keeps matrices in fewer bits already, and they would be rounded twice", "set it to compute"},
        {c->train.reproducible != REPRODUCIBLE_OFF, "train.reproducible",
         "is layout, which was not proven of products in 8 bits", "set it to off"},
    };
    if (c->train.compute != COMPUTE_FP8)
        return 0;
    for (size_t i = 0; i < sizeof obstacles / sizeof obstacles[0]; i++)
        if (obstacles[i].is_there)
            return config_fail_key(loading, obstacles[i].key,
                                   "'train.compute' is fp8, and '%s' %s: %s, or set train.compute to bf16",
                                   obstacles[i].key, obstacles[i].why, obstacles[i].remedy);
    return 0;
}
