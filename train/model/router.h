/* router.h - what the routers of a model with experts are held to beside the objective, and how evenly they share out the work.
 *
 * Of one sequence with T tokens, in the L layers with E experts each:
 *
 *   f_e = how often one of its tokens went to expert e of a layer / (L T), P_e = sum of softmax(logits)_e / (L T)
 *   load balance = E sum_e f_e P_e, which is K where all experts have as much, and up to E K / K' where K' of them have it all
 *   z-loss       = sum of logsumexp(logits)^2 / (L T)
 *
 * A sequence is what the loader cuts: data.sequence_tokens, all documents packed into it, padding left out, and whether a token is
 * learnt makes no difference.  Of a step each loss is the mean over its sequences, whatever micro-batches and ranks they are in; with one
 * sequence in a batch that is transformers' load_balancing_loss_func.  f has no gradient.
 *
 * Routers of sigmoids are held to neither (train/plan/layout.c); what is told of them are these sums of their logits all the same.
 *
 * Sources: Fedus et al. 2022 (Switch), equations 4 to 6; Zoph et al. 2022 (ST-MoE), equation 5; transformers,
 * models/mixtral/modeling_mixtral.py (which takes all layers together) and models/switch_transformers/modeling_switch_transformers.py. */
#pragma once

#include "kernels/exact_sum.h"
#include "train/model/flight.h"

struct model;

/* How strongly, and how many sequences a micro-batch has at most (0 as 1). */
struct router_setup {
    double balance, z;
    int64_t max_sequences; /* S */
};

/* Of all micro-batches since router_reset: sums over sequences, and how many rows each expert of each layer got [L, E]. */
struct router_sums {
    struct exact_sum balance, z;
    double *load;
};

/* Without experts, or in a model that does not train, there are no tensors. */
struct router {
    bool counts;  /* a training micro-batch is at hand, whose layers are counted */
    float weight; /* of a sequence's losses in the gradients: 1 / the sequences of a step */
    struct tensor sequences, factors;            /* [N] i32; [S, 2] f32 */
    struct tensor chosen, shares, squares, load; /* [S, E] i32 and f32, [S] f32, [L, E] i32 */
    int32_t *host_sequences;                     /* [all rows]; made with the model, as are those below */
    int64_t *host_tokens;                        /* [S]: T */
    float *host_factors;
    struct router_sums sums;
};

/* router_take - the tensors, of the model's arena.  router_create, router_free - what is in host memory. */
void router_take(struct model *model);
void router_create(struct model *model);
void router_free(struct router *router);

/* router_reset - at the beginning of a step; weight: of each of its sequences. */
void router_reset(struct model *model, float weight);

/* router_begin - a training micro-batch is placed, and its layers come.  router_count - one was computed.  router_backward - the
 * losses' gradient, added to that of a layer's logits. */
void router_begin(struct model *model, const struct batch *batch);
void router_count(struct model *model, int layer, const struct expert_acts *acts);
void router_backward(struct model *model, struct tensor dlogits, struct tensor logits);

/* router_bytes - of what is counted of one micro-batch.  router_fetch - after the backward: to so much host memory of the device, in the
 * device's order.  router_add - it has arrived: into the sums; is_part: other ranks have some of the rows.  Nothing without
 * routers. */
size_t router_bytes(const struct model *model);
void router_fetch(struct model *model, char *to);
void router_add(struct model *model, const char *from, bool is_part);
