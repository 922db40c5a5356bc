/* tied_head.h - some models whose head is their embedding store the head all the same. */
#pragma once

#include "checkpoints/family/family.h"
#include "checkpoints/safetensors/safetensors.h"

/* tied_head_check - loaders ignore such a head; that is harmless only while it is the embedding, so all rows are compared: one
 * token may have been added or tuned alone.  embedding, head: indices of the tensors in files.  Returns 0, or -1 with err
 * set: a type that is not a float's, another size, how many rows differ and the first of them, I/O error. */
int tied_head_check(const struct model_config *config, const struct st_files *files, int64_t embedding,
                    int64_t head, struct err *err);
