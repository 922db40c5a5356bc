/* heads.h - what happens to queries, keys and values between their projection and the output's: QK-norm, rotation,
 * temperature, attention, sinks; and the gradient of all of them.  Each layer has its own mask, rotation, scale and soft-cap. */
#pragma once

#include "train/model/layer.h"

/* heads_plan - what the device makes of the masks of the micro-batch at hand, once for all layers. */
void heads_plan(struct model *model);

/* heads_projected - where a layer's projection writes its rows: where attention reads them, or on their way there. */
struct tensor heads_projected(const struct model *model, const struct layer_acts *acts, int layer);

/* heads_forward - acts.qkv [N, Q, D] as it was projected becomes what attention reads. */
void heads_forward(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                   int layer);

/* heads_attend - attended [N, H, D] and lse from qkv.  heads_attend_cached - of new tokens after `past` ones. */
void heads_attend(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                  int layer);
void heads_attend_cached(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                         int layer, const struct kv_cache *cache, int64_t past);

/* heads_backward - model->dqkv, the gradient of the projection's output, from model->dattended. */
void heads_backward(struct model *model, const struct layer_weights *w, const struct layer_acts *acts,
                    int layer);
