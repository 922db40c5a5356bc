/* even_batches.h - replicas that learn apart (parallel.sync_every) count alike in an outer step, and must learn from as much: what the run
 * refuses, `plan` and `submit` refuse as well, and nobody chooses or advises. */
#pragma once

#include "configs/schema/config.h"

/* even_batches - whether so many ranks share out a step evenly, with the micro-batch as it is; where it is open, with some.  Always
 * where replicas do not learn apart.  even_batches_check - the same: returns 0, or -1 with err set. */
bool even_batches(const struct config *config, int64_t num_ranks);
int even_batches_check(const struct config *config, int64_t num_ranks, struct err *err);

/* replicas_are_set - how many replicas there are decides about what is learnt, or whether gradients cross as was asked for: another number,
 * or a stage where nothing crosses, is not to be chosen or advised. */
bool replicas_are_set(const struct config *config);
