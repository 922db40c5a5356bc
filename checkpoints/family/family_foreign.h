/* family_foreign.h - keys of config.json that the family's class does not know. */
#pragma once

#include "checkpoints/family/family_internal.h"
#include "data/corpus/json.h"

/* family_refuse_foreign - keys of other models that change what a layer computes, unless their value changes nothing.  text is
 * the object that describes the decoder of config, whose sizes are known.  Returns 0, or -1 with err set. */
int family_refuse_foreign(const struct model_config *config, const json_t *text, struct err *err);
