/* model.h - the decoder: forward and backward, written out, over the operations of kernels/ops.h.
 * Shape letters: kernels/tensor.h. */
#pragma once

#include "configs/schema/config.h"
#include "kernels/ops.h"
#include "train/model/params.h"
#include "train/ranks/transport.h"

/* What one layer's backward needs from its forward. */
struct layer_acts {
    struct tensor norm1, rstd1; /* [N, C], [N] */
    struct tensor qkv;          /* [N, Q, D], rotated */
    struct tensor attended;     /* [N, H, D] */
    struct tensor lse;          /* [N, H] f32 */
    struct tensor middle;       /* [N, C]: after the attention's residual */
    struct tensor norm2, rstd2; /* [N, C], [N] */
    struct tensor gate_up;      /* [N, 2F]; its gradient takes its place in the backward */
    struct tensor hidden;       /* [N, F] */
};

/* One micro-batch of packed sequences, in host memory; arrays of N on this rank. */
struct batch {
    int64_t num_tokens; /* N, padding included; at most what the model was created for */
    int32_t *tokens, *targets, *row_start, *positions;
    float *weights;
};

struct model_setup {
    const struct model_config *config;
    int64_t max_tokens; /* N at most */
    int64_t max_positions;
    int64_t head_rows; /* logits are computed so many rows at a time; 0: what suits a CPU */
    enum dtype compute;
    enum recompute recompute;
    bool trains;
};

struct model {
    struct model_setup setup;
    struct device *dev;        /* borrowed */
    struct params *params;     /* borrowed */
    struct arena arena;        /* activations */
    struct layer_acts *acts;   /* [L]; what is recomputed shares its memory with all layers */
    struct tensor *inputs;     /* [L + 1] of [N, C]: what enters each layer; the last leaves the stack */
    struct rotation rotation;  /* its positions are those of the micro-batch at hand, room for max_tokens */
    struct tensor branch;      /* [N, C] output of a branch before its residual add */
    struct tensor final, rstd; /* [N, C] final norm, [N] */
    struct tensor logits;      /* [M, V] f32, one chunk of rows */
    struct tensor dlogits;     /* [M, V] compute type; the same memory as logits in f32 */
    struct tensor losses;      /* [N] f32 */
    struct tensor dx, dnorm;   /* [N, C] */
    struct tensor dattended;   /* [N, H, D] */
    struct tensor dqkv;        /* [N, Q, D] */
    struct tensor dhidden;     /* [N, F] */

    /* The micro-batch at hand, on the device, cut to its N; and where its losses come back to the host. */
    int64_t num_tokens, num_pairs; /* pairs: scores that the mask lets through */
    struct tensor tokens, targets, row_start, weights;
    float *host_losses; /* [max_tokens] */
};

/* model_plan - the activations' size without memory.  model_create - the same with memory of the device. */
void model_plan(struct model *model, const struct model_setup *setup);
void model_create(struct model *model, struct device *dev, struct params *params,
                  const struct model_setup *setup);
void model_free(struct model *model);

/* model_limits - the sizes that its ops will see. */
struct device_limits model_limits(const struct model *model);

/* model_train - forward and backward of one micro-batch; gradients are added, scaled by grad_scale (1 /
 * target tokens of the global batch; > 0).  Returns the sum of weights * losses in f64.  Collective. */
double model_train(struct model *model, struct transport *link, const struct batch *batch, float grad_scale);

/* model_evaluate - forward alone; model->host_losses holds the loss of each row.  Returns their sum.
 * Collective.
 */
double model_evaluate(struct model *model, struct transport *link, const struct batch *batch);

/* model_logits - forward alone, then the logits of every row, f32 [N, V], into out.  Collective. */
void model_logits(struct model *model, struct transport *link, const struct batch *batch, float *out);

/* Keys and values of one layer for the tokens so far. */
struct kv_cache {
    struct tensor k, v; /* [S, G, D] */
};

/* model_decode - the next tokens of one text, after `past` ones that the caches [L] already hold; the logits
 * of the last, f32 [V].  row_start and targets of the batch are not read.  For a single rank with whole
 * parameters. */
void model_decode(struct model *model, const struct kv_cache *cache, const struct batch *batch, int64_t past,
                  float *logits);
