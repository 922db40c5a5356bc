/* family_features.h - what family_parse.c asks of a config.json besides sizes, rotary positions and token ids. */
#pragma once

#include "checkpoints/family/family_internal.h"
#include "data/corpus/json.h"

/* family_refuse_features - what would make the model something other than a plain decoder of its family; root is the object
 * of the text decoder, whose sizes and rotary positions stand in config.  Returns 0, or -1 with err set. */
int family_refuse_features(const struct model_config *config, const struct family *family, const json_t *root,
                           struct err *err);
