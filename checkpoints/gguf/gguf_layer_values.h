/* gguf_layer_values.h - parameters that GGUF has in its metadata (PARAM_METADATA): under a key of its own an array of one number
 * for each layer, or a single number for all of them.
 * Source: llama.cpp, which reads both (get_key_or_arr). */
#pragma once

#include "checkpoints/family/family.h"
#include "checkpoints/gguf/gguf.h"

/* gguf_layer_values_check - all that the model has are there, a number for each layer.  Returns 0, or -1 with err set naming
 * the key. */
int gguf_layer_values_check(const struct gguf *file, const struct model_config *config, struct err *err);

/* gguf_layer_value_read - one of them, of a file that was checked.  Returns 0, or -1 with err set. */
int gguf_layer_value_read(const struct gguf *file, const struct model_config *config, struct param param,
                          float *out, struct err *err);
