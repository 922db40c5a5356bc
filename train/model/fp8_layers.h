/* fp8_layers.h - which layers have products in 8 bits, and with one scale for each tensor who finds the largest magnitudes and where they
 * stand from the forward of a micro-batch to its backward.
 *
 * A norm finds that of what it writes, and its backward that of the residual stream's gradient; so does a gate, of what it hands on and of
 * its gradient.  Matrices, what attention gives and the gradients of queries, keys and values are read once more for it. */
#pragma once

#include "train/model/layer.h"

/* fp8_layers_take - words of memory for all layers, where products want any. */
void fp8_layers_take(struct model *model);

/* fp8_layers_lend - to the products of a layer what makes them products in 8 bits, and their words, also to the norms that write what they
 * read.  Nothing where they are in bf16. */
void fp8_layers_lend(const struct model *model, struct layer_weights *w, int layer);
