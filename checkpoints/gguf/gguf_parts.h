/* gguf_parts.h - the tensors of a GGUF file that have one parameter: of some experts two, of gates and of ups. */
#pragma once

#include "checkpoints/family/family.h"

/* gguf_num_parts - 1, or 2: the even columns are the first, the odd ones the second.  gguf_part_name - what the tensor with a part is
 * called, into text, which has PARAM_NAME_ROOM bytes. */
int gguf_num_parts(const struct param_spec *spec);
const char *gguf_part_name(const struct model_config *config, struct param param, int part, char *text);

/* gguf_one_shape - of a part of one parameter as the file has it.  gguf_param_shape - of the tensor with it: of experts, all of a
 * layer's. */
struct tensor gguf_one_shape(const struct model_config *config, struct param param);
struct tensor gguf_param_shape(const struct model_config *config, struct param param);
