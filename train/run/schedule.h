/* schedule.h - the learning rate as a pure function of the step. */
#pragma once

#include "configs/schema/config.h"

/* schedule_rate - learning rate of update number step (1 .. train.steps).  Warm-up is linear from 0 (step w
 * of w warm-up steps has the full rate).  Then: constant; linear or cosine down to final_ratio at the last
 * step; wsd: constant, then linear over the last decay_steps. */
double schedule_rate(const struct config *config, int64_t step);
