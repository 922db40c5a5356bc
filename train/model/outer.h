/* outer.h - replicas that learn apart, and what they do together every so many steps (parallel.sync_every): DiLoCo.
 *
 * Each replica makes H steps of its optimizer by gradients of its own samples alone.  Then, with the weights w_r of replica r, and the
 * anchor a, which all had after the last outer step:
 *   d = mean over the replicas of (a - w_r)
 *   v = momentum v + d                                    at first v is 0
 *   a = w_r = a - learning_rate (d + momentum v)          Nesterov's, as torch.optim.SGD(nesterov=True) has it
 * in f32, the terms of the mean added in the order that transport_sum_f32 has.  States of the optimizers stay the replicas' own.
 * Learning rate 1 and momentum 0 make a the mean of the weights; with one replica this is the outer step alone.
 *
 * Each rank keeps a and v of what it updates, 8 bytes for each value, and sends d as a sum for all.
 * Source: Douillard et al. 2023, "DiLoCo: Distributed Low-Communication Training of Language Models", algorithm 1: AdamW inside, outer
 * learning rate 0.7 and momentum 0.9, H of 500. */
#pragma once

#include "train/model/params.h"

/* outer_start - the present masters are the anchor, and nothing has momentum.  Once they are loaded; what a checkpoint has of both
 * is read after it.  Not collective. */
void outer_start(struct params *params);

struct outer_args {
    double learning_rate, momentum;
};

/* outer_step - after an update of every replica, or none; new values are then to be published.  The gradients are lost.  across joins the
 * ranks that hold the same shard in the other replicas; NULL: there is one.  Collective over all ranks of the grid. */
void outer_step(struct params *params, struct transport *across, const struct outer_args *args);
