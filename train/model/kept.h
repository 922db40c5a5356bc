/* kept.h - which activations of a layer are kept from its forward until its backward: those that some gradient reads.  The others
 * live until the next operation has read them, in memory that the backward does not use yet (model_memory.c). */
#pragma once

#include "train/model/model.h"

/* kept_first - the first layer that has a backward: below it nothing is trained, and no gradient is asked for; the number of layers
 * where only what comes after them is trained.
 * kept_of - what of enum kept the backward of a layer reads that has one.  All of it where nothing is trained: then there is no
 * backward whose memory would be idle.  Both follow from the setup alone. */
int kept_first(const struct model_setup *setup);
unsigned kept_of(const struct model_setup *setup, int layer);
