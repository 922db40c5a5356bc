/* expert_pairs.h - the low-rank pairs of an adapter on the matrices of experts: of each expert its own, on its own places.  What is around
 * them is in experts.c. */
#pragma once

#include "train/model/experts.h"

/* expert_pair_of - of a layer whose unit is ready, on ROLE_EXPERT_GATE, _UP or _DOWN. */
struct expert_pair expert_pair_of(const struct model *model, int layer, enum tensor_role matrix);

/* A product of experts that the pair belongs to: y [M, .] from x [M, I] with the matrices of their places, in columns from `first` on. */
struct expert_product {
    const struct expert_pair *pair;
    const struct expert_acts *acts;
    int64_t first;
};

/* expert_pair_forward - added to y; nothing without a pair.
 * expert_pair_backward - the gradients of the pair from dy, and what is added to dx [M, I]; x is what the forward read.  Nothing without
 * a pair. */
void expert_pair_forward(struct model *model, const struct expert_product *product, struct tensor y,
                         struct tensor x);
void expert_pair_backward(struct model *model, const struct expert_product *product, struct tensor dx,
                          struct tensor dy, struct tensor x);

/* expert_pairs_take - from the model's arena, what the forward of one layer leaves of a target's pairs.  expert_pairs_take_shared - what
 * all layers work in. */
struct tensor expert_pairs_take(struct model *model, enum adapter_target target);
void expert_pairs_take_shared(struct model *model);
