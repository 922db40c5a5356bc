/* flight.h - one micro-batch in flight: what it was given, on the device, and what its backward needs from its
 * forward.  The model itself is what all micro-batches share.  Shape letters: kernels/tensor.h. */
#pragma once

#include "checkpoints/family/adapter.h"
#include "data/tokens/tokens.h"
#include "kernels/arena.h"
#include "kernels/op_args.h"
#include "train/model/halo.h"

/* Rows [first_row, end_row) of a document that is learnt against another one; the two of a pair follow one another.  reference:
 * the sum of its targets' log-probabilities as the reference model has it. */
struct paired_document {
    int64_t first_row, end_row;
    enum token_side side;
    double reference;
    int file; /* of the loader, and the document's number in it */
    int64_t document;
};

/* One micro-batch of packed sequences, in host memory; arrays of N on this rank.  Where the objective has K targets for
 * each row, targets and weights are [K, N]. */
struct batch {
    int64_t num_tokens; /* N, padding included; at most what the model was created for */
    int32_t *tokens, *targets, *row_start, *positions;
    int32_t *
        sequences; /* of each row, 0 for the first of the micro-batch, -1 for padding; NULL: there is one, and no padding */
    int32_t *places; /* of each row among all of the step, whoever computes it; NULL: nothing is dropped */
    int64_t step;    /* whose batch this is, from 0 on */
    bool followed;   /* another micro-batch of the step comes after it: the weights stay what they are */
    float *weights;
    struct paired_document *documents; /* in order; none where documents are learnt one by one */
    int64_t num_documents;
    int64_t top_k;        /* what a teacher says of each row's target, in K ids; 0: there is none */
    int32_t *teacher_ids; /* [N, K] */
    float *teacher_logps;
};

/* The same of a block of experts (experts.h); places are rows of what experts compute, M = N K.  Absent where there is none. */
struct expert_acts {
    struct tensor logits; /* [N, E] f32, the router's */
    struct expert_routes routes;
    struct expert_routes
        arrived; /* where ranks divide experts: of what came to this one's (experts_sent.h), A = M there */
    struct tensor gate_up, hidden, out; /* [M, 2F], [M, F], [M, C]; the backward works where they stand */
};

/* What one layer's backward needs from its forward, and what else the forward works in. */
struct layer_acts {
    struct tensor norm1; /* [N, C]; absent where the layer's plan has no norm before its branches */
    struct norm_stats stats1;
    struct tensor
        qkv; /* [N, Q, D], normalised and rotated as the plan says; where ranks share the rows: all rows of */
             /* this rank's heads, as is lse (context.h) */
    struct tensor projected; /* [N, Q, D]: where it was projected, qkv itself unless ranks share the rows */
    struct tensor raw_heads; /* [N, H + G, D], queries and keys before their norm; QK-norm alone */
    struct tensor head_rstd; /* [N, H + G]; of whole rows only the first 2 N */
    struct tensor attended;  /* [N, H, D] */
    struct tensor attended_heads; /* all rows of this rank's heads; where ranks share the rows */
    struct tensor lse;            /* [N, H] f32 */
    struct tensor attention_out;  /* [N, C] before the norm after the branch; where there is one */
    struct norm_stats attention_stats;
    struct tensor middle; /* [N, C]: after the attention's residual */
    struct tensor norm2;  /* as norm1 */
    struct norm_stats stats2;
    struct tensor
        gate_up; /* [N, 2F], or [N, F] without a gate; its gradient takes its place in the backward */
    struct tensor hidden;  /* [N, F] */
    struct tensor ffn_out; /* as attention_out */
    struct norm_stats ffn_stats;
    struct expert_acts experts;
    /* [N, R]: what A of each pair made of what it read, kept for the backward; absent where nothing is trained */
    struct tensor pair_rows[ADAPTER_TARGET_COUNT];
};

/* Which keys each row sees; window and block as in struct layer_plan. */
struct mask {
    int64_t window, block;
    struct tensor first_key, last_key; /* [all rows] i32; without a block there is no last_key */
    struct attention_plan plan;        /* what the device made of it, with room for the largest micro-batch */
    int64_t num_pairs;                 /* scores that it lets through, of the rows at hand */
    /* Where ranks share the rows.  Where it is on, first_key is of the run of rows that this rank computes, counted from its first. */
    struct halo halo;
};

enum { FLIGHT_MAX_MASKS = 8 };

struct flight {
    int num_context,
        context_rank; /* ranks that share the rows of a micro-batch, and which of them this is; 1, 0: alone */
    bool always_heads;           /* they exchange rows for heads, whatever the texts */
    struct halo_heads heads;     /* of each row, on this rank */
    int num_tensor, tensor_rank; /* ranks that divide tensors, each with a run of those rows; 1, 0: alone */
    int64_t num_tokens;          /* N of the micro-batch at hand: rows that this rank computes */
    int64_t num_joined;          /* those of all ranks that divide tensors with it */
    int64_t first_row, whole_tokens;     /* where they begin in it, and all its rows */
    bool followed;                       /* as the batch says */
    int num_entries;                     /* K */
    struct tensor tokens, positions;     /* [N] i32; positions of the joined rows */
    struct tensor whole_positions;       /* [all rows] i32; where several ranks share them */
    struct tensor places;                /* [N] i32, where pairs have a dropout and are trained */
    bool drops;                          /* a training micro-batch with places is at hand */
    int64_t step;                        /* and its step */
    struct tensor targets, weights;      /* [K, N] i32 and f32 */
    struct mask masks[FLIGHT_MAX_MASKS]; /* one for each kind of the model's layers */
    int num_masks;
    int32_t *host_first_key, *host_last_key; /* [all rows]: where masks are made; NULL while measuring */
    struct layer_acts *acts; /* [L]; what is recomputed, or not kept, shares its memory with other layers */
    struct tensor *inputs;   /* [L + 1] of [N, C]: what enters each layer; the last leaves the stack */
    struct tensor final;     /* [N, C] final norm */
    struct norm_stats final_stats;
    int64_t top_k;                            /* K of a teacher; 0: none */
    struct tensor teacher_ids, teacher_logps; /* [N, K] i32 and f32 */
    struct tensor divergences;                /* [N] f32: from the teacher, times the weight */
    struct tensor grad_scale;                 /* [1] f32: what multiplies the gradients of the losses */
    struct tensor losses;                     /* [K, N] f32 */
    float *host_losses;  /* [K, all rows]: where they come back to the host; 0 of other ranks' rows */
    float *host_weights; /* [K, N]: what the objective said */
};

/* What the values of a batch are checked against: a corrupt token file must not send a device to memory that is not
 * there. */
struct flight_limits {
    int64_t max_tokens, max_positions, vocab_size;
};

/* flight_place - take the batch's tokens and positions to the device; the tensors of the flight have room for
 * max_tokens.  flight_place_masks - which keys each row sees, by the masks' windows and blocks; not needed where keys
 * come from a cache.
 * flight_place_targets - the targets and their weights.  Die on a value out of range. */
void flight_place(struct flight *flight, struct device *dev, const struct batch *batch,
                  const struct flight_limits *limits);
void flight_place_masks(struct flight *flight, struct device *dev, const struct batch *batch);
void flight_place_targets(struct flight *flight, struct device *dev, const struct batch *batch,
                          const struct flight_limits *limits);

/* flight_place_drops - from here on pairs leave out elements of what they read, as the batch's step and places say.  Of a flight
 * that has room for places; nothing otherwise. */
void flight_place_drops(struct flight *flight, struct device *dev, const struct batch *batch);

/* flight_place_scale - what multiplies the gradients of its losses. */
void flight_place_scale(struct flight *flight, struct device *dev, float grad_scale);

/* flight_place_teacher - what the batch's teacher says, where the flight has room for one.  Dies where a batch with targets has none, or
 * an id is out of range. */
void flight_place_teacher(struct flight *flight, struct device *dev, const struct batch *batch,
                          const struct flight_limits *limits);

/* flight_rows - a buffer made for the largest batch, cut to this rank's rows of this one.  flight_whole_rows - to all rows.  flight_stats - the same of a norm's statistics. */
struct tensor flight_rows(const struct flight *flight, struct tensor t);
struct tensor flight_whole_rows(const struct flight *flight, struct tensor t);
struct norm_stats flight_stats(const struct flight *flight, struct norm_stats stats);

/* flight_entry - the rows of one entry of targets, weights or losses. */
struct tensor flight_entry(const struct flight *flight, struct tensor t, int entry);

/* flight_weigh - other weights of the targets than the batch's, from host_weights. */
void flight_weigh(struct flight *flight, struct device *dev);

/* flight_acts - the activations of a layer, cut to this batch. */
struct layer_acts flight_acts(const struct flight *flight, int layer);

/* flight_losses - the losses of all rows, to host_losses; returns their sum in f64.  The host waits for the device here: a training
 * micro-batch does not ask (readback.h), unless its objective wants losses first. */
double flight_losses(struct flight *flight, struct device *dev);
