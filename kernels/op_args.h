/* op_args.h - what ops are told besides their tensors: masks, rotations, norms, what a loss makes of logits, and what several of
 * them take or write together.  The operations themselves, and what N, C, H and the other letters are, stand in ops.h. */
#pragma once

#include "kernels/fp8.h"
#include "kernels/tensor.h"

/* One AdamW update; the values are those of this step. */
struct adamw_args {
    float learning_rate, beta1, beta2, eps, weight_decay;
    float grad_scale; /* the gradient is multiplied by this first: clipping and loss scaling */
    int64_t step;     /* 1 for the first update: bias correction */
    /* bf16 moments are rounded stochastically, without bias: the bits of element i depend on (seed, stream,
     * first + i) alone.  With a stream of the tensor and the update, neither the split over ranks, nor a
     * restart, nor another tensor changes them. */
    uint64_t seed, stream;
    int64_t first; /* index of element 0 in its tensor */
};

/* Sizes of the attention ops; shapes of the tensors follow. */
struct attention_args {
    int num_heads;     /* H */
    int num_kv_heads;  /* G, divides H */
    int head_dim;      /* D */
    float scale;       /* multiplies q.k, usually D^-0.5 */
    float softcap;     /* scores become softcap * tanh(score / softcap) before the mask; 0: they stay */
    int64_t num_pairs; /* (query, key) pairs that the mask lets through, for the count of flops where the
                          front door cannot read it; the ops do not look */
};

/* What a device makes of a mask before it computes (op_attention_plan), for all layers that share the mask: which rows see each key,
 * and the order of the tiles.  Ops whose head width is another, or that have a soft-cap where the planned ones have none, do not take
 * it; those and a mask without a plan find it out in each call, to the same bits. */
struct attention_plan {
    struct tensor memory; /* [attention_plan_count(N) or more] i32; data NULL: there is no plan */
    int head_dim;
    bool capped;
};

/* Row i sees keys first_key[i] .. last_key[i].  Allowed is 0 <= first_key[i] <= last_key[i] < N where neither array ever
 * decreases: every row sees some key, perhaps not its own, and there may be keys that no row sees.  Without last_key row i
 * sees keys first_key[i] .. i: causal attention, the same bits as with last_key[i] = i and no read of it.  The front door
 * dies of all else; in a GPU's memory it cannot see the values, and callers check them before they upload.
 *
 * The N rows may be a run of a longer micro-batch, cut at a multiple of ATTENTION_RUN_ROWS: on a CPU each row then has the bits that it
 * has there, if the run holds all that the row sees, and of a key's gradient all that sees it. */
enum { ATTENTION_RUN_ROWS = 128 };
struct attention_mask {
    struct tensor first_key; /* [N] i32 */
    struct tensor last_key;  /* [N] i32; data NULL: the row itself, and first_key[i] <= i */
    struct attention_plan plan;
    int64_t run_first, run_of; /* where in it the run begins, and how many rows it has; 0, 0: it is all N */
};

/* Which two elements of a head turn together, of its first R that are rotated (R is D, or less where a family rotates a
 * part).  Halves: pair i is (i, i + R/2), as Hugging Face lays heads out; pairs: (2i, 2i + 1), as GPT-J, the first Llama
 * and GGUF do. */
enum rope_layout { ROPE_HALVES, ROPE_PAIRS };

/* The rotation of queries and keys by their positions: pair i of a row at position p turns by the angle whose
 * cosine is cos[p, i].  Scaled frequencies are a matter of the tables, and so is how much of a head turns. */
struct rotation {
    struct tensor cos, sin;  /* [P, R/2] f32, 0 < R <= D: elements from R on stay as they are */
    struct tensor positions; /* [N] i32, each in [0, P): dies otherwise; on a GPU the row becomes NaN */
    enum rope_layout layout;
    int num_rotated; /* heads that turn, the first of the row: H + G, queries and keys */
};

/* How a row is normalised.  RMS: by its root mean square, and rounded to its type before the product with the weight, as
 * Llama does.  RMS_ONCE: the same, rounded once at the end, as Gemma and OLMo 2 do.  LAYER: its mean is taken away first;
 * rounded once. */
enum norm_kind { NORM_RMS, NORM_RMS_ONCE, NORM_LAYER };

/* A norm with its weights. */
struct norm {
    enum norm_kind kind;
    float eps;          /* added under the root */
    float offset;       /* added to w in f32, 0 of NORM_RMS: 1 where a family keeps w - 1 */
    struct tensor w;    /* [C] */
    struct tensor bias; /* [C], of NORM_LAYER alone; data NULL: none */
    /* NULL, or where the largest magnitude of y goes, in the backward that of dx (struct fp8_magnitude). */
    uint32_t *largest;
};

/* What the backward of a norm needs from its forward. */
struct norm_stats {
    struct tensor rstd; /* [N] f32 */
    struct tensor mean; /* [N] f32; of NORM_LAYER alone */
};

/* The norms of queries and keys, both RMS or both RMS_ONCE, of one eps and offset, without a bias.  Each head by itself, where the
 * weights are as wide as a head, or all heads of a kind together, where they are as wide as those: [H D] and [G D]. */
struct qk_norms {
    struct norm query, key;
    int num_heads, num_kv_heads; /* H, G */
};

/* Where the gradients of their weights go: f32, as wide as the weight; data NULL: not wanted. */
struct qk_norm_grad {
    struct tensor query, key;
};

/* What multiplies "up" in the gated feed-forward: silu(gate), or gelu(gate) by its tanh formula. */
enum gate { GATE_SILU, GATE_GELU_TANH };

/* What stands between "up" and "down" in a feed-forward without a gate.  RELU2: max(x, 0)^2.  XIELU: has values of its own, and
 * therefore ops of its own. */
enum act { ACT_RELU2, ACT_XIELU };

/* The values of XIELU, each a tensor of one element of the activations' type; alpha_p and alpha_n are learnt. */
struct xielu {
    struct tensor alpha_p, alpha_n, beta, eps;
};

/* Where the gradients of the learnt ones go: one f32 each; data NULL: not wanted. */
struct xielu_grad {
    struct tensor alpha_p, alpha_n;
};

/* What a caller says to an op that may overwrite its output or add to it. */
enum op_write { OP_OVERWRITE, OP_ACCUMULATE };

/* What the loss makes of a logit x: z = logit_scale x, and with a soft-cap softcap tanh(z / softcap).
 * Sources: Granite's config.json (logits_scaling), Gemma 2's (final_logit_softcapping). */
struct loss_args {
    float grad_scale;           /* multiplies the gradient; 0: it is not wanted */
    float logit_scale;          /* 1: logits as they are; above 0 */
    float softcap;              /* 0: none */
    const float *grad_scale_at; /* in the device's memory: grad_scale is multiplied by it; NULL: by 1 */
};

/* loss_grad_scale - what multiplies the gradient, on a device whose memory is the host's. */
static inline float loss_grad_scale(const struct loss_args *args) {
    return args->grad_scale_at ? args->grad_scale * *args->grad_scale_at : args->grad_scale;
}

/* The largest magnitude of a tensor of bf16: its bits without the sign, of which a NaN's are the largest.  It is exact, so that it does not
 * matter who finds it: an op that writes such a tensor takes a word of the device's memory for it (`largest`; NULL: not wanted). */
struct fp8_magnitude {
    uint32_t *at;  /* NULL: the product finds it by itself, and it stands nowhere */
    bool is_known; /* it stands there; else the product finds it and writes it there */
};

/* How the products of a layer are computed in 8 bits (fp8.h): weights and activations in E4M3, gradients in `gradients`.  Magnitudes are
 * of FP8_CURRENT alone, of what this product reads. */
struct fp8_args {
    enum fp8_format gradients;
    enum fp8_scaling scaling;
    struct fp8_magnitude x, w, dy;
};

/* What op_fp8_backward reads and writes: both gradients of one product, for which dy is cast once, or with BLOCKS along each sum. */
struct fp8_backward {
    struct tensor dx; /* [N, I] bf16 */
    struct tensor dw; /* [O, I] f32; data NULL: not wanted, and x is not read */
    enum op_write dx_write, dw_write;
    struct tensor dy, x, w; /* [N, O], [N, I], [O, I], all bf16 */
};

/* What op_distill reads: rows of logits with their targets, and what a teacher says of each target: its most probable ids, all
 * different, with their log-probabilities at the temperature of distill_args. */
enum { DISTILL_MOST_IDS = 256 };
struct distill_rows {
    struct tensor logits;           /* [M, V] f32 */
    struct tensor targets, weights; /* [M] i32 and f32, as op_cross_entropy takes them */
    struct tensor ids, logps;       /* [M, K] i32 and f32, 0 < K < V and at most DISTILL_MOST_IDS */
};

struct distill_args {
    struct loss_args loss;
    float temperature; /* T, of the teacher's softmax and of the student's beside it; above 0 */
    float share;       /* of the divergence in what is minimised, 0 to 1; the rest is the cross-entropy's */
};

/* What it writes: [M] f32 both, and [M, V]. */
struct distill_out {
    struct tensor losses, divergences, dlogits;
};

/* Columns [first, first + K) of a matrix, K being the width of the narrower one. */
struct column_args {
    int64_t first;
    float scale; /* 1: as they are */
    enum op_write write;
};

/* Which elements of rows a dropout leaves out: each with probability `share`, by a random word of (seed, stream, the row's
 * place, the column) alone, so that neither the split into batches and ranks nor a second computation changes them. */
struct dropout_args {
    double share; /* at least 0, less than 1 */
    uint64_t seed, stream;
    struct tensor
        places; /* [N] i32, not negative: a number of each row that no other row of the stream has */
};

/* Outputs of a matrix whose rows have given lengths, whatever their direction: each is multiplied by its row's length over the norm
 * that the row has, by 0 where that is 0. */
struct magnitude {
    struct tensor lengths; /* [K], of the outputs' type */
    struct tensor norms;   /* [K] f32 */
    int64_t first;         /* which columns of the outputs: first to first + K - 1 */
};

/* Of a gated feed-forward whose gate and up are held within limits. */
struct clamp_args {
    float alpha; /* multiplies what the sigmoid sees */
    float limit; /* above 0 */
};

/* What a router's logits z of a row become: softmax(z), or each by itself sigmoid(z). */
enum router_score { ROUTER_SOFTMAX, ROUTER_SIGMOID };

/* Most groups of experts, of which a row goes to some. */
enum { ROUTE_MAX_GROUPS = 32 };

/* How a router's logits become experts and weights: the num_chosen experts of the largest scores, with those scores as
 * weights; renormalises: divided by their sum.  The rest is of ROUTER_SIGMOID alone. */
struct route_args {
    int num_chosen; /* K, at most E */
    bool renormalises;
    enum router_score score;
    int num_groups;        /* of neighbours, equally many in each, two at least; 0 or 1: there are none */
    int num_groups_chosen; /* only experts of so many groups are chosen; with groups, 1 to num_groups */
    float scale;           /* multiplies the weights at last */
};

/* Which experts each row goes to.  Places are the rows of what experts compute, N K of them: expert by expert, for each in the
 * order of the rows; row i stands there K times.  Rows that nobody sends anywhere do not exist: there is no capacity. */
struct expert_routes {
    struct tensor experts; /* [N, K] i32, the largest probability first, of equal ones the lower number */
    struct tensor weights; /* [N, K] f32 */
    struct tensor lse;     /* [N] f32: log of the sum over all experts of e^z, z being the row's logits */
    struct tensor places;  /* [N, K] i32: where row i stands for its k-th expert */
    struct tensor sources; /* [N K] i32, the other way round: i K + k */
    struct tensor starts;  /* [E + 1] i32: the places of expert e are starts[e] to starts[e + 1] - 1 */
};

/* What a router did with the rows of S sequences, over as many layers as were counted. */
struct route_counts {
    struct tensor chosen;  /* [S, E] i32: how often one of its rows went to an expert */
    struct tensor shares;  /* [S, E] f32: sum over its rows of softmax(z) */
    struct tensor squares; /* [S] f32: of logsumexp(z)^2 */
    struct tensor load;    /* [E] i32: chosen, of all sequences */
};
