/* adapter_base.h - whether the model under an adapter is the one that it was trained on. */
#pragma once

#include "checkpoints/weights.h"

/* adapter_base_check - the files of the base against their SHA-256 in the adapter's provenance.json, and what its
 * configuration computes (identity.h).  Files that have kept size and time since the checkpoint was written are not read again.  An adapter made elsewhere says nothing of that, and passes; so does
 * a model without an adapter.  Returns 0, or -1 with err set: the file that is another. */
int adapter_base_check(const struct weights *weights, struct err *err);
