/* layer.h - one layer of the decoder: forward, what is computed again, backward.  One function per block, one line per
 * operation; the backward of a block is its forward read in reverse.  What a layer does is in its plan (family.h). */
#pragma once

#include "train/model/linear.h"
#include "train/model/model.h"
#include "train/model/norm.h"

/* The pairs on the matrices W [O, I] of a layer's experts, one for each; see struct low_rank.  a.value.data NULL: there are none. */
struct expert_pair {
    struct weight a, b; /* [E R, I], [E O, R] */
    float scale;
    struct tensor
        down; /* [M, R] of the places' type: scale x A^T, which the forward leaves for the backward */
};

/* The matrices of a block of experts; those of all experts one below the other. */
struct expert_weights {
    struct linear router;         /* [E, C] */
    struct weight correction;     /* [E] f32 of ROUTER_SIGMOID; value.data NULL: there is none */
    struct weight gate, up, down; /* [E F, C] twice, [E C, F] */
    struct expert_pair gate_pair, up_pair, down_pair;

    /* Of clamped ones in place of these: [E C, 2F], [E F, C], and biases [E 2F], [E C]. */
    struct weight gate_up, turned_down, gate_up_bias, down_bias;
};

/* The weights of one layer, with their gradients between params_grad_begin and params_grad_end.  Those that the plan does
 * not ask for are absent. */
struct layer_weights {
    struct model_norm norm1, norm2;           /* before the branches */
    struct model_norm post_norm1, post_norm2; /* after them */
    struct model_norm query_norm, key_norm;
    struct weight sinks; /* [H] */
    struct linear qkv, output;
    struct linear gate_up; /* up alone where there is no gate */
    struct linear down;
    struct expert_weights experts; /* in place of these two; beside shared experts, which are these two */
    struct {
        struct weight alpha_p, alpha_n, beta, eps; /* one value each */
    } xielu;
};

/* layers_set_up - model->layers, from the family's plan of each; the masks and rotations that they share.  Frees nothing; dies where they
 * are more than a model has room for. */
void layers_set_up(struct model *model);

/* layer_weights - of a layer whose unit params_acquire has made ready. */
struct layer_weights layer_weights(const struct model *model, int layer);

/* layer_enter - what layer `layer` reads (L: the final norm), into flight.inputs; and, unless norm is NULL, its norm.
 * It is the sum of the previous layer's middle and of its last branch, whose add was left to this pass over memory; the
 * first layer reads the embedding. */
struct norm_target {
    struct tensor y; /* [N, C] */
    struct norm_stats stats;
    struct norm norm;
};
void layer_enter(struct model *model, const struct norm_target *norm, int layer);

/* layer_forward - out = middle + ffn(norm(middle)), middle = x + attention(norm(x)), the norms standing where the plan
 * says.  The last branch waits in model->branch for the next layer_enter. */
void layer_forward(struct model *model, const struct layer_weights *w, int layer);

/* layer_decode - the same for new tokens after `past` ones whose keys and values are in the cache. */
void layer_decode(struct model *model, const struct layer_weights *w, int layer, const struct kv_cache *cache,
                  int64_t past);

/* layer_backward - model->dx enters as the gradient of the layer's output and leaves as that of its input.  What was
 * not kept is computed again first, to the same bits. */
void layer_backward(struct model *model, const struct layer_weights *w, int layer);
