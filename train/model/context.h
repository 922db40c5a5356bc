/* context.h - the rows of a micro-batch shared by several ranks (parallel.context), for texts that are too long for one.
 *
 * Each of them computes a run of rows as if there were no others; attention alone looks at all keys of a text.  For it the
 * ranks change what they share: in place of some rows of all heads each has all rows of some heads, and after it they change
 * back.  Attention sees what one rank alone would see, whole documents, windows and sinks included, and computes the same bits.
 *
 *   rows  [N, Q, D]        N = all rows / ranks, in order; heads in groups: queries, keys, values
 *   heads [all, Q / C, D]  of each group a run of heads, in the order of the ranks
 *
 * An all-to-all each way: a rank sends (C - 1) / C of what it has, whatever C.  Gathering keys and values of a long text sends about
 * as much with grouped queries; where its rows see few keys of other ranks, halo.h does that instead.
 * Source: Jacobs et al. 2023, DeepSpeed Ulysses. */
#pragma once

#include "train/model/model.h"

/* heads_matrix - [N, H, D] seen as [N, H D]. */
struct tensor heads_matrix(struct tensor t);

/* context_is_shared - whether other ranks have other rows of the micro-batch. */
bool context_is_shared(const struct model *model);

/* context_check - whether `ranks` can share the rows of a model and of micro-batches of so many tokens: heads, keys and rows must be
 * multiples of it.  Returns 0, or -1 with err set. */
int context_check(const struct model_config *config, int64_t ranks, int64_t micro_tokens, struct err *err);

/* context_to_heads - from some rows of all heads to all rows of some; of [N, H, D] or [N, H + 2 G, D].  heads and rows must not
 * overlap.  context_to_rows - the other way, where rows may be the memory of heads.  Both use model->pieces: heads of [N, H, D] may be the
 * second of them.  Collective over the ranks that share the rows. */
void context_to_heads(struct model *model, struct transport *context, struct tensor heads,
                      struct tensor rows);
void context_to_rows(struct model *model, struct transport *context, struct tensor rows, struct tensor heads);
