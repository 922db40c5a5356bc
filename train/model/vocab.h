/* vocab.h - embedding and head where ranks divide the tensors of a layer (joined.h): each has a run of the vocabulary.
 *
 * Tokens: every rank looks up all rows in its run, of tokens that it does not have any row, and sends each rank its own; that one takes
 * of each row what the rank with its token sent.  Logits: rows are joined, each rank computes those of its run, and the ranks change
 * them for whole rows of their own; their gradients go back the same way.  The loss sees what one rank alone would see, whatever it
 * computes of a row, a soft-cap or a teacher; with T ranks a rank sends (T - 1) / T of its rows' logits, as f32, and of their gradients.
 * A vocabulary that the ranks do not divide evenly is whole on each, and nothing of this is done.
 * Source: Shoeybi et al. 2019, Megatron-LM, section 3 (which exchanges sums of rows in place of logits). */
#pragma once

#include "train/model/linear.h"
#include "train/model/model.h"

/* vocab_is_divided - whether each rank has a run of it. */
bool vocab_is_divided(const struct model_setup *setup);

/* vocab_take - memory for chunks of so many own rows.  vocab_place - which rows of a micro-batch are whose; its rows are placed. */
void vocab_take(struct model *model, int64_t chunk_rows);
void vocab_place(struct model *model, const struct batch *batch);

/* vocab_look_up - rows [N, C] of this rank's tokens.  Collective over the ranks that divide tensors, and so are all of these. */
void vocab_look_up(struct model *model, struct transport *along, struct tensor rows);

/* vocab_add_gradients - to that of this rank's embedding, those of all rows from drows [N, C].  Collective, as above. */
void vocab_add_gradients(struct model *model, struct transport *along, struct tensor dembedding,
                         struct tensor drows);

/* vocab_rows - what the head's product reads for own rows; valid until rows are joined again.  Collective, as above. */
struct tensor vocab_rows(struct model *model, struct transport *along, struct tensor rows);

/* vocab_logits - logits [M, V] of own rows, from what vocab_rows gave of them.  Collective, as above. */
void vocab_logits(struct model *model, struct transport *along, struct tensor logits, struct tensor rows,
                  const struct linear *w);

/* vocab_dlogits - what the backward of the head's product takes, from the gradient of whole rows [M, V].  Collective, as above. */
struct tensor vocab_dlogits(struct model *model, struct transport *along, struct tensor dlogits);
