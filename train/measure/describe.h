/* describe.h - what is in a file or folder, as a JSON tree: for `atelier inspect`. */
#pragma once

#include <jansson.h>

#include "kernels/error.h"

enum verify { VERIFY_NOTHING, VERIFY_CHECKSUMS };

/* Member "checksums" of what holds none: there is nothing to verify it with. */
#define DESCRIBE_NO_CHECKSUMS "none"

/* describe_path - path is a token file, .safetensors, .gguf, tokenizer.json, model folder, checkpoint or run
 * folder (then its newest checkpoint); files are told apart by their first bytes.  A family that cannot be
 * trained is described all the same.  The tree is an object whose first member is "kind"; released with
 * json_decref. Returns NULL with err set: unreadable, malformed, of no known kind, or a checksum that does
 * not fit. */
json_t *describe_path(const char *path, enum verify verify, struct err *err);
