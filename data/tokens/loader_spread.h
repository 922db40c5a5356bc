/* loader_spread.h - which evaluation samples a validation of a few takes, so that every source has a part in it. */
#pragma once

#include "data/tokens/loader.h"

/* loader_spread - `count` different evaluation samples in ascending order, malloc'ed: of each source (of a sample the source of its
 * first token) in proportion to what it has, one at least where count allows it, evenly spaced.  A function of the files and
 * count alone.  NULL where the first `count` samples are taken: there is one source, or count is all of them or more. */
int64_t *loader_spread(const struct loader *loader, int64_t count);

/* loader_check_spread_targets - whether those samples (0: all) have anything that counts.  Returns 0, or -1 with err set. */
int loader_check_spread_targets(const struct loader *loader, int64_t count, struct err *err);
