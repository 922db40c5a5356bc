/* family_features.h - what family_parse.c asks of a config.json besides sizes, rotary positions and token ids. */
#pragma once

#include "checkpoints/family/family_internal.h"
#include "data/corpus/json.h"

/* family_parse_local - multipliers; window, pattern and query_scalar of a family with local layers, from root, the object of the text
 * decoder, and the class's defaults; zeros of other families.  Returns 0, or -1 with err set: out of range, a list of
 * layer types that is not periodic. */
int family_parse_local(struct model_config *config, const json_t *root, struct err *err);

/* family_refuse_features - what would make the model something other than a plain decoder of its family; root is the object
 * of the text decoder, whose sizes and rotary positions stand in config.  Returns 0, or -1 with err set. */
int family_refuse_features(const struct model_config *config, const struct family *family, const json_t *root,
                           struct err *err);
