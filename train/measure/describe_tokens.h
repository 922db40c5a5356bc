/* describe_tokens.h - inside describe.h: the tree of a token file. */
#pragma once

#include "train/measure/describe.h"

/* describe_tokens - what a run would compare with its model, and where the texts come from; as describe_path. */
json_t *describe_tokens(const char *path, enum verify verify, struct err *err);
