/* micro_group.h - train.micro_sequences: group, which is what a run file means that says nothing of it: short sequences are computed
 * together, long ones one at a time. */
#pragma once

#include "configs/schema/config.h"

/* micro_group - sequences of config's length in one forward pass of a rank, at most; 1 or more. */
int64_t micro_group(const struct config *config, bool on_gpu);
