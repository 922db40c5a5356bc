/* model.h - the decoder: forward and backward, written out, over the operations of kernels/ops.h.
 * Shape letters: kernels/tensor.h. */
#pragma once

#include "configs/schema/config.h"
#include "train/model/objective.h"
#include "train/model/params.h"
#include "train/model/readback.h"
#include "train/model/router.h"
#include "train/ranks/transport.h"

struct model_setup {
    const struct model_config *config;
    int64_t max_tokens; /* of a micro-batch at most */
    int num_context; /* ranks that share its rows (context.h), and which of them this is; 0 as 1: it has all */
    int context_rank;
    bool always_heads; /* they exchange rows for heads also where their neighbours' rows would do (halo.h) */
    struct divided tensor;  /* ranks that divide the tensors of a layer (joined.h); size 0 as 1: it has all */
    struct divided experts; /* ranks that divide the experts of a layer (experts_sent.h); size 0 as 1 */
    int64_t max_positions;
    int64_t head_rows; /* logits are computed so many rows at a time; 0: what suits a CPU */
    enum dtype compute;
    struct {
        bool is_on; /* the layers' products are in 8 bits; compute is bf16 */
        struct fp8_args args;
        int64_t skip_layers; /* but for so many of the first layers, and of the last */
    } fp8;
    enum recompute recompute;
    bool trains;
    uint64_t seed;                  /* of what a dropout leaves out */
    struct objective_use objective; /* kind NULL: token_mean */
    struct {
        int64_t top_k; /* K; 0: there is no teacher */
        float temperature, share;
    } teacher;                  /* of an objective with a distance: as struct distill_args says */
    struct router_setup router; /* of a model with experts */
};

/* Activations of a layer that are kept until its backward where that reads them (kept.h). */
enum kept {
    KEPT_INPUT = 1, /* flight.inputs; the others are in its acts */
    KEPT_NORM1 = 2,
    KEPT_MIDDLE = 4,
    KEPT_NORM2 = 8,
    KEPT_HIDDEN = 16,
    KEPT_ALL = 31
};

/* What a layer computes, and which of the model's masks and rotations it takes. */
struct layer_setup {
    struct layer_plan plan;
    unsigned kept; /* of enum kept */
    int mask;      /* in flight.masks */
    int rotation;  /* in rotations; -1: none */
    bool tempers;  /* its queries are multiplied by the model's temperature */
};

enum { MODEL_MAX_ROTATIONS = 4 };

/* Where ranks divide the vocabulary (vocab.h), of the micro-batch at hand. */
struct vocab {
    int64_t num_own;      /* joined rows whose tokens this rank has */
    struct tensor asked;  /* [N T] i32: rows of its run to look up, 0 of other ranks' tokens */
    struct tensor picked; /* [N] i32: of what the ranks sent [T, N], the row of the one that has the token */
    struct tensor own_rows; /* [num_own] i32: which joined rows they are */
    struct tensor own_ids;  /* [num_own] i32: and where in its run */
    struct tensor logits;   /* [M T, V / T] f32 of this rank's run; then their gradients */
    struct tensor pieces;   /* as large: from each rank, and to each */
};

struct model {
    struct model_setup setup;
    struct layer_setup *layers; /* [L], fixed when the model is made */
    struct device *dev;         /* borrowed */
    struct params *params;      /* borrowed */
    struct transport *context;  /* borrowed: of the ranks that share the rows; NULL: alone */
    struct transport *along;    /* borrowed: of the ranks that divide tensors; NULL: alone */
    struct transport *between;  /* borrowed: of the ranks that divide experts; NULL: alone */
    struct arena arena;         /* activations */
    struct flight flight;       /* the micro-batch at hand */
    struct vocab vocab;
    struct router router;
    struct readback readback;
    struct rotation rotations[MODEL_MAX_ROTATIONS]; /* tables alone: the positions are the flight's */
    int num_rotations;
    int first_backward; /* the first layer that has a backward (kept.h); num_layers: none has */

    /* The temperature of queries where some position of a run has another than 1: a rotation by no angle of whole heads,
     * the queries' alone, whose cosine is the factor of the position. */
    struct rotation temperature;

    /* What every micro-batch writes anew, with room for the largest. */
    struct tensor branch; /* [N, C] output of a branch before its residual add */
    struct tensor middle; /* [N, C] of all layers that do not keep theirs, where there are some */
    /* A chunk of rows [M, V]: f32 logits, for losses and answers without gradients; those that gradients are made of, which for
     * a mean over tokens have the compute type, and twice as many rows in the same memory, else are the f32 ones; and the
     * gradients, in the compute type, in place of grad_logits of that type. */
    struct tensor logits, grad_logits, dlogits;
    struct tensor dx, dnorm;       /* [N, C] */
    struct tensor dbranch;         /* [N, C]; where a layer has a norm after its branches, or scales them */
    struct tensor joined, partial; /* [N T, C], where ranks divide tensors: what a product reads, and wrote */
    struct tensor summed;          /* [2 N, C] f32, of their sums in 16-bit types */
    struct tensor dattended;       /* [N, H, D] */
    struct tensor dqkv;            /* [N, Q, D] */
    struct tensor pieces
        [2]; /* [N, Q, D]: what goes to the ranks that share the rows, and what came; where there are some */
    struct tensor dhidden; /* [N, F] */
    struct tensor
        magnitudes; /* [L, words] u32: the largest magnitudes of what products in 8 bits read (fp8_layers.h) */
    struct {
        struct tensor spread;      /* [M, C] rows at their places */
        struct tensor dhidden;     /* [M, F] */
        struct tensor dweights;    /* [N, K] f32 */
        struct tensor dlogits;     /* [N, E] f32 */
        struct tensor shared;      /* [N, C], where there are shared experts: what they add */
        struct tensor router_bias; /* [E] f32, where routers have one */
        struct tensor pair_rows;   /* [M, R] of the largest R, where experts have pairs */
        struct tensor outgoing, arrived,
            out; /* [N K, C], [A, C] twice: where ranks divide experts (experts_sent.h) */
        int32_t *
            counts; /* [L, 2, E] of host memory, as is order [2 A]: rows sent for each expert, and received */
        int32_t *order;
    } experts;           /* where a layer has some */
    struct tensor pairs; /* f32: what the low-rank pairs of one product work in; where there is an adapter */
};

/* model_measure - the activations' size without memory.  model_create - the same with memory of the device; params must outlive
 * it, dies where the memory does not suffice.  model_free - either.  None communicates. */
void model_measure(struct model *model, const struct model_setup *setup);
void model_create(struct model *model, struct device *dev, struct params *params,
                  const struct model_setup *setup);
void model_free(struct model *model);

/* model_rows - a buffer made for the largest batch, cut to this rank's rows of the one at hand. */
struct tensor model_rows(const struct model *model, struct tensor t);

/* model_joined_tokens - rows of the largest micro-batch that this rank's products read, of all that divide their tensors.
 * model_own_tokens - those of them that are its own. */
static inline int64_t model_joined_tokens(const struct model_setup *setup) {
    return setup->num_context > 1 ? setup->max_tokens / setup->num_context : setup->max_tokens;
}
static inline int64_t model_own_tokens(const struct model_setup *setup) {
    return model_joined_tokens(setup) / (setup->tensor.size > 1 ? setup->tensor.size : 1);
}

/* model_head_rows - of these, whose logits exist at one time. */
int64_t model_head_rows(const struct model_setup *setup);

/* model_limits - the sizes that its ops will see. */
struct device_limits model_limits(const struct model *model);

/* model_step_pass - before the gradients of a step, where the objective needs to see its losses: forward of all its
 * micro-batches, sums over the ranks of comm (NULL: alone).  Nothing otherwise.  Collective. */
void model_step_pass(struct model *model, struct transport *link, struct comm *comm,
                     const struct batch *micros, int64_t num_micros);

/* model_train_start - forward and backward of one micro-batch, the one pass in which pairs with a dropout drop.  Gradients are added,
 * scaled by grad_scale (1 / target tokens of the global batch; > 0), and those of the routers' losses as router_reset was told.  The
 * host waits for the micro-batch before it, while the device has this one, and for this one only where the objective wants losses
 * before it can weigh them.  Collective.
 * model_train_take - of each that was started, in their order: the sum of weights * losses, by the objective's weights, and
 * of its terms of layers, in f64; those of the routers are added up.  The first waits for the device.
 * model_train - both. */
void model_train_start(struct model *model, struct transport *link, const struct batch *batch,
                       float grad_scale);
double model_train_take(struct model *model);
double model_train(struct model *model, struct transport *link, const struct batch *batch, float grad_scale);

/* model_evaluate - forward alone; model->flight.host_losses holds the loss of each row.  Returns their sum.
 * Collective.
 */
double model_evaluate(struct model *model, struct transport *link, const struct batch *batch);

/* model_set_longest - from now on texts have at most that many positions, which decides how some kinds of positions turn
 * (model_rope_tables); at first they have as many as the model was created for.  Dies where those are fewer. */
void model_set_longest(struct model *model, int64_t longest);

/* model_logits - forward alone, then the logits of every row, f32 [N, V], into out.  Collective. */
void model_logits(struct model *model, struct transport *link, const struct batch *batch, float *out);

/* What looks at the logits [count, V] of rows from first on, in host memory until it returns. */
struct logits_visitor {
    void (*visit)(void *user, int64_t first, int64_t count, float *logits);
    void *user;
};
/* model_visit_logits - the same where those of all rows at once would be too many.  Collective. */
void model_visit_logits(struct model *model, struct transport *link, const struct batch *batch,
                        const struct logits_visitor *visitor);

/* Keys and values of one layer for the tokens so far. */
struct kv_cache {
    struct tensor k, v; /* [S, G, D] */
};

/* model_decode - the next tokens of one text, after `past` ones that the caches [L] already hold; the logits
 * of the last, f32 [V].  row_start and targets of the batch are not read.  For a single rank with whole
 * parameters, and no layer with a block (struct layer_plan): dies otherwise. */
void model_decode(struct model *model, const struct kv_cache *cache, const struct batch *batch, int64_t past,
                  float *logits);
