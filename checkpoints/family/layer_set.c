/* layer_set.c - some of a model's layers. */
#include "checkpoints/family/adapter.h"
#include "kernels/error.h"

void layer_set_add(struct layer_set *set, int layer) {
    CHECK(layer >= 0 && layer < ADAPTER_MAX_LAYERS, "an adapter in layer %d", layer);
    set->words[layer / ADAPTER_WORD_BITS] |= (uint64_t)1 << layer % ADAPTER_WORD_BITS;
}

bool layer_set_has(const struct layer_set *set, int layer) {
    return set->words[layer / ADAPTER_WORD_BITS] >> layer % ADAPTER_WORD_BITS & 1;
}
