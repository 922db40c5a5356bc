/* packed_segment.h - quantised segments: filled from f32 values, restored into the slot that operations read.
 *
 * What is stored of each rank is one blob of kernels/packed.h.  It is filled by its own rank alone, but for the scales of
 * PACKED_NF4_DOUBLE: their offset is a mean over whole tensors, which ranks share. */
#pragma once

#include "train/model/params.h"

/* packed_read - values [first, first + count) of a tensor into `values`, host memory.  Returns 0, or not. */
typedef int (*packed_read)(void *user, const struct unit_tensor *tensor, int64_t first, int64_t count,
                           float *values);

/* packed_segment_fill - this rank's shard, from values that read gives, piece by piece.  Local; what read returns. */
int packed_segment_fill(struct params *params, struct segment *segment, packed_read read, void *user);

/* packed_segment_finish - scales into eight bits, once all ranks have filled theirs.  Collective; PACKED_NF4_DOUBLE alone. */
void packed_segment_finish(struct params *params, struct transport *link, struct segment *segment);

/* packed_segment_restore - all of its tensors, in the compute type, into a slot of its unit, from what is resident or was gathered
 * into slot->packed. */
void packed_segment_restore(struct params *params, const struct segment *segment,
                            const struct unit_slot *slot);
