/* exchange.h - pieces of the same size between ranks in the middle of a pass. */
#pragma once

#include "train/ranks/transport.h"

enum { EXCHANGE_MAX_RANKS = 256 };

/* exchange_pieces - one from each of num_ranks ranks to each, waited for; received and sent [num_ranks, piece_bytes] must not overlap.
 * Collective over the ranks of the transport. */
void exchange_pieces(struct transport *transport, int num_ranks, void *received, const void *sent,
                     size_t piece_bytes);
