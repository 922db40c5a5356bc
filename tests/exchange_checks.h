/* exchange_checks.h - what every kind of transport must do with buffers from rank to rank and with sums of 16-bit
 * terms, on any device and any number of ranks, against what each rank works out for itself. */
#pragma once

#include "train/ranks/transport.h"

/* Each returns how many values are wrong on this rank; control: what a mistake is noticed by must be > 0, else the check
 * itself counts as wrong.  Collective over the transport's ranks.
 *
 * check_ring - every rank sends to the next one and receives from the one before.
 * check_pieces - pieces of many sizes, some of them empty, larger than one message, or for one rank alone.
 * check_sums_16 - bit for bit the f32 sum in the order of the ranks; not that of a ring, which rounds at each hop.
 * check_sums_64 - of integers, in place, beyond what f64 holds. */
int64_t check_ring(struct transport *t, struct device *dev, int64_t count);
int64_t check_pieces(struct transport *t, struct device *dev, int salt);
int64_t check_sums_64(struct transport *t, struct device *dev, int64_t shard_count);
int64_t check_sums_16(struct transport *t, struct device *dev, enum dtype dtype, int64_t shard_count);
