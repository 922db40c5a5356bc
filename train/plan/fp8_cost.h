/* fp8_cost.h - what products in 8 bits cost beside themselves (train.compute: fp8). */
#pragma once

#include "train/plan/layout.h"

/* fp8_cast_bytes - memory traffic of the casts of num_micros micro-batches on one rank; 0 without products in 8 bits. */
double fp8_cast_bytes(const struct layout *layout, double num_micros);
