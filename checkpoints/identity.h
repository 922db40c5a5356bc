/* identity.h - which model it is, for whatever belongs to one model alone (the log-probabilities of a reference or a teacher, an adapter):
 * its weights, and what its configuration makes of them.  The same weights under another rope_theta are another model; under
 * another number type, other special tokens or with an adapter beside them they are the same. */
#pragma once

#include <jansson.h>

#include "checkpoints/family/family.h"
#include "data/sha256.h"

/* identity_config - config.json without what changes no arithmetic: a new reference. */
json_t *identity_config(const struct model_config *config);

/* identity_hash - SHA-256 of the weights' (64 digits) followed by that configuration. */
void identity_hash(const char *weights_sha256, const struct model_config *config, char hex[SHA256_HEX_ROOM]);

/* identity_check - that a model has the configuration of then, an earlier identity_config, in all keys that both have: a later version may
 * write more of them.  NULL, or what is no object: nothing is known, and it passes.  Returns 0, or -1 with err set: "rope_theta is
 * 20000.0, and was 10000.0". */
int identity_check(const json_t *then, const struct model_config *config, struct err *err);
