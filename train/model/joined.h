/* joined.h - a layer whose tensors several ranks divide (parallel.tensor): by heads and by elements of the feed-forward.
 *
 * Each of them has a run of rows of the residual stream, with its norms and losses (embedding and head: vocab.h).  A product that reads rows
 * (queries, keys, values; gate and up) reads those of all of them, joined, and computes this rank's heads or elements; one that
 * writes rows (output; down) computes of all of them this rank's terms of a sum, whose rows go back to where they belong.
 *
 *   rows    [N, C]       own ones
 *   joined  [N T, C]     those of the T ranks, in their order
 *   partial [N T, C]     terms of a sum over the ranks
 *
 * A rank sends (T - 1) / T of what is joined each time: as much as sums of whole rows would take, and norms, residual stream and
 * what is kept of them are divided as well.  In 16-bit types terms are rounded once, before they travel, and added in f32.
 * Source: Shoeybi et al. 2019, Megatron-LM; Korthikanti et al. 2022, sequence parallelism. */
#pragma once

#include "train/model/model.h"

/* joined_check - whether `ranks` can divide the tensors of a model.  Returns 0, or -1 with err set: heads that would be cut, a
 * tensor whose parts are no such product. */
int joined_check(const struct model_config *config, int64_t ranks, struct err *err);

/* What of each layer a rank computes with. */
struct layer_part {
    int num_heads, num_kv_heads;
    int64_t ffn_width;
};
struct layer_part joined_part(const struct model_setup *setup);

/* joined_block - what one rank has of the width of a layer's gated or plain block. */
int64_t joined_block(const struct model_setup *setup, const struct layer_plan *plan);

/* joined_rows - a buffer made for the largest batch, cut to the rows of the ranks that divide tensors. */
struct tensor joined_rows(const struct model *model, struct tensor t);

/* joined_gather - what a product reads: the ranks' rows, in model->joined until it is asked for others; rows itself of a rank
 * alone, and where rows.data is NULL.  Collective over the ranks that divide tensors. */
struct tensor joined_gather(struct model *model, struct transport *along, struct tensor rows);

/* joined_partial - where a product writes whose sum is rows. */
struct tensor joined_partial(const struct model *model, struct tensor rows);

/* joined_sum - then: rows is this rank's part of the sum; what joined_gather returned is lost.  Collective over the ranks that
 * divide tensors. */
void joined_sum(struct model *model, struct transport *along, struct tensor rows);
