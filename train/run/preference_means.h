/* preference_means.h - what a step or a validation tells about the documents that it compared. */
#pragma once

#include "train/model/objective_preference.h"
#include "train/ranks/rank_device.h"
#include "train/record/metrics.h"

/* preference_means - of this rank's sums, over the axes that divide the samples.  Nothing of an objective that compares none.
 * Collective: all ranks of the grid. */
struct preference_record preference_means(const struct preference *preference,
                                          const struct objective *objective, struct rank_device *rank);
