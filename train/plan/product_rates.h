/* product_rates.h - how fast the products of a layout are on a machine: of the rate of large ones, the share that their rows and the sides
 * of their matrices leave.  Ranks that divide tensors (parallel.tensor) have matrices that are narrower on one side, of all their rows. */
#pragma once

#include "train/model/joined.h"
#include "train/plan/figures.h"
#include "train/plan/layout.h"
#include "train/plan/machine.h"

/* Of one layout. */
struct product_rates {
    const struct machine *machine;
    const struct model_figures *figures;
    struct layer_part part; /* what of a layer a rank has */
    double rows;            /* that a product reads at a time */
};

struct product_rates product_rates_make(const struct machine *machine, const struct model_figures *figures,
                                        const struct layout *layout);

/* product_rates_of_all - flops a second of the model's products with matrices, all together.
 * product_rates_of_attention - of all its passes together.  product_rates_of_experts - of products with an expert that so many rows
 * go to. */
double product_rates_of_all(const struct product_rates *rates);
double product_rates_of_attention(const struct product_rates *rates);
double product_rates_of_experts(const struct product_rates *rates, double rows);
