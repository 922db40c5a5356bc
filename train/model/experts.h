/* experts.h - a feed-forward block of experts (FFN_EXPERTS): a router sends each row to some of them, each computes the rows that it
 * was sent, and what they compute is added up by the router's weights.  Everything between the norm before the block and what joins
 * the residual stream is here; memory for it, too.  Shape letters: kernels/tensor.h, E experts, K of them for each row. */
#pragma once

#include "train/model/layer.h"

/* experts_weights - of a layer whose unit is ready. */
struct expert_weights experts_weights(const struct model *model, int layer);

/* experts_take - memory of the model's arena: what one layer keeps for its backward.  experts_take_shared - what all layers
 * work in. */
void experts_take(struct model *model, const struct layer_plan *plan, struct layer_acts *a);
void experts_take_shared(struct model *model);

/* experts_learn - whether a matrix of the layer, or a pair on one, is trained that reads what came to the experts. */
bool experts_learn(const struct model_config *config, int layer);

/* experts_at_places - a buffer that all layers share, cut to the places of the batch at hand. */
struct tensor experts_at_places(struct tensor buffer, const struct expert_acts *acts);

/* experts_compute - from x [N, C] to each expert's outputs, in acts.  experts_collect - their sum for each row, into y [N, C]. */
struct experts {
    const struct expert_acts *acts;
    const struct expert_weights *w;
    const struct layer_plan *plan;
    int layer;
};
void experts_compute(struct model *model, const struct experts *block, struct tensor x);
void experts_collect(struct model *model, struct tensor y, const struct expert_acts *acts);

/* experts_backward - dx [N, C], overwritten, and the weights' gradients, from dy [N, C].  x is what experts_compute read; data NULL:
 * it was not kept, and dies where a weight learns from it.  acts are not what they were afterwards. */
void experts_backward(struct model *model, struct tensor dx, struct tensor dy, struct tensor x,
                      const struct experts *block);
