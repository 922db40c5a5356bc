/* fp8_cost.h - what products in 8 bits cost beside themselves (train.compute: fp8). */
#pragma once

#include "train/plan/layout.h"

/* fp8_product_time - of a model's products, as a share of what they would take in bf16; in_layers: which part of them are those of all
 * layers' matrices.  On processors they take as long: they are computed in bf16. */
double fp8_product_time(const struct layout *layout, double in_layers);

/* fp8_cast_bytes - memory traffic of the casts of num_micros micro-batches on one rank; 0 without products in 8 bits. */
double fp8_cast_bytes(const struct layout *layout, double num_micros);
