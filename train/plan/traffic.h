/* traffic.h - what a rank sends in a step, by the layout itself: the same walk over the units that the run makes. */
#pragma once

#include "train/plan/layout.h"

/* Bytes that one rank sends in an optimizer step, as transport.h counts them.  inside: to the ranks of its replica;
 * across: to those that hold the same of other replicas. */
struct traffic {
    int64_t inside, across;
};

/* traffic_of - of a step of so many micro-batches.  Not counted: validation, the pass before a step that some objectives make,
 * and numbers of a few bytes, which go another way. */
struct traffic traffic_of(const struct layout *layout, int64_t num_micros);
