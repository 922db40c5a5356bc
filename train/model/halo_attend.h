/* halo_attend.h - attention between neighbours that share the rows of a micro-batch: see halo.h. */
#pragma once

#include "train/model/model.h"

/* One layer's attention. */
struct halo_call {
    const struct halo *halo;
    struct attention_mask mask;      /* of the run that this rank computes */
    struct attention_args args;      /* of one key head and its queries */
    struct tensor sinks;             /* [H]; data NULL: the layer has none */
    struct tensor dsinks;            /* [H] f32; data NULL: they do not learn */
    const struct rotation *rotation; /* of the same rows and heads, for the backward; NULL: none */
};

/* halo_own_qkv - where a layer keeps its own rows of all heads, [N, Q, D]: in the memory of all rows of some. */
struct tensor halo_own_qkv(const struct model *model, const struct layer_acts *acts);

/* halo_attend - acts->attended and lse of this rank's rows, from halo_own_qkv.  halo_attend_backward - model->dqkv, from
 * model->dattended and what the forward kept.  Both work in model->pieces and acts->attended_heads.
 * Collective over the ranks that share the rows. */
void halo_attend(struct model *model, struct transport *context, const struct layer_acts *acts,
                 const struct halo_call *call);
void halo_attend_backward(struct model *model, struct transport *context, const struct layer_acts *acts,
                          const struct halo_call *call);
