/* verify.h - the check after an export: the written model's logits must be the source's. */
#pragma once

#include "checkpoints/export/export.h"
#include "train/model/session.h"

/* How far the logits of two models lie apart: root mean square of the difference / of the source's logits, over num_tokens positions without
 * num_apart of them, at which a router took another expert. */
struct export_difference {
    double relative;
    int num_apart, num_tokens;
};

/* export_check - open source and what was written, compare the logits of a fixed sequence; of an adapter those of base and
 * pairs.  Whether the source's bytes are those of its checksums is for the caller to have asked before it wrote anything.
 * *difference may be NULL.  Of a model with experts the sequence is several short texts; in a type that rounds, up to an eighth of their
 * positions may be left out.  Returns 0, or -1 with err set:
 * unreadable, or the difference exceeds what the storage type explains (f32 1e-6, f16 and bf16 3e-2, q8_0
 * 1e-1, fp8 5e-1, whose values export_fp8 compares one by one; where an adapter was merged, or both are read as they are stored,
 * at least 1e-5, and 3e-2 of a merged one that is computed in 16 bits).  way: what computes both. */
int export_check(struct weights_place source, struct weights_place written, enum export_type type,
                 struct session_way way, struct export_difference *difference, struct err *err);

/* adapter_effect_check - that an adapter does something: with its base alone, which is the adapter with nothing in it, the
 * logits are others than with both.  *effect: how far, over all positions.  Returns 0, or -1 with err set: unreadable, or they are the same. */
int adapter_effect_check(struct weights_place adapter, struct session_way way, double *effect,
                         struct err *err);
