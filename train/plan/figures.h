/* figures.h - what estimates need to know of a model, counted once: a search asks for it thousands of times, and each
 * number is a walk over all parameters. */
#pragma once

#include "train/plan/layout.h"

struct model_figures {
    const struct model_config *model; /* must live as long */
    double
        matrices; /* parameters that take part in matrix products of a row; a tied head multiplies too, of experts those that a row has */
    double in_experts; /* of these, in experts */
    double trained;    /* parameters that are trained */
    double
        own_trained; /* of them, what is in a rank's part where ranks divide tensors or experts; else all */
    double trained_share; /* of the products with matrices, those with trained ones */
    double below_share; /* of the layers, those with no backward: nothing in them or below them is trained */
    double num_gated, num_plain; /* layers, by their feed-forward part, in ffn_width of the model */
    double state_bytes;          /* of the optimizer, for all parameters [bytes] */
    double update_flops;         /* of one update's matrix products, all parameters */
};

/* figures_count - of a model that config trains: its optimizer.kind, optimizer.state_dtype, parallel.tensor and parallel.expert are
 * looked at. */
struct model_figures figures_count(const struct config *config, const struct model_config *model);
