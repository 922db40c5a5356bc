/* verify.h - the check after an export: the written model's logits must be the source's. */
#pragma once

#include "checkpoints/export/export.h"

/* export_check - open source and written file, compare the logits of a fixed sequence.  Whether the source's bytes are
 * those of its checksums is for the caller to have asked before it wrote anything.  *difference (may be
 * NULL): root mean square of the difference / of the source's logits.  Returns 0, or -1 with err set:
 * unreadable, or the difference exceeds what the storage type explains (f32 1e-6, f16 and bf16 3e-2, q8_0
 * 1e-1, fp8 5e-1, whose values export_fp8 compares one by one). */
int export_check(struct weights_place source, const char *written, enum export_type type, double *difference,
                 struct err *err);
