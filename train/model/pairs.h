/* pairs.h - an adapter's low-rank pairs, put on the products of a layer.  What they compute is in linear.h. */
#pragma once

#include "train/model/linear.h"
#include "train/model/model.h"

/* pairs_add - to the product of a layer's matrices `first` to `last` (roles that follow each other and lie side by side), the
 * pairs that the model's adapter has for them. */
void pairs_add(struct linear *linear, const struct model *model, int layer, enum tensor_role first,
               enum tensor_role last);

/* pairs_bytes - what the pairs of one product of the model's largest batch work in; 0 where there are none.  pairs_drop - whether
 * they leave out elements of what they read: in training, by the adapter's dropout. */
int64_t pairs_bytes(const struct model_setup *setup);
bool pairs_drop(const struct model_setup *setup);
