/* objective_distill.h - what a run that learns from a teacher adds up. */
#pragma once

#include "train/model/objective.h"

/* Of a step: micro-batches add up in between; set to zero before. */
struct distilled_sums {
    const struct objective_config *settings; /* borrowed */
    double loss, divergence;                 /* of this rank's rows, times their weights */
};
