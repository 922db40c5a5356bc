/* adapter_fused.h - pairs on all experts of a layer in one tensor, as peft has them where transformers has the experts' matrices as one
 * parameter (target_parameters): A [E R, I] with the rows of expert e from e R on, B [O, R E] whose column r E + e is that of expert e.
 * Gate and up are one parameter there, with one A; here each has a pair of its own, and both have that A.
 * Source: huggingface/peft 0.21.2, src/peft/tuners/lora/layer.py, ParamWrapper. */
#pragma once

#include "checkpoints/adapter/adapter_folder.h"
#include "checkpoints/safetensors/safetensors.h"

/* adapter_fused_find - the tensor that holds half of a pair on an expert, by its name and its other side; -1: there is none.
 * adapter_is_fused - whether such a tensor is one of these.  adapter_fused_parameter - what peft calls the parameter that a target is
 * part of: "gate_up_proj". */
int64_t adapter_fused_find(const struct st_files *files, const struct model_config *config,
                           struct param half);
bool adapter_is_fused(struct st_entry entry);
const char *adapter_fused_parameter(enum adapter_target target);

/* adapter_fused_shape - of the tensor, where config->adapter has its rank.  adapter_fused_read - elements [first, first + count) of the
 * half, as adapter_folder_read; the tensor has that shape. */
struct tensor adapter_fused_shape(const struct model_config *config, struct param half);
int adapter_fused_read(const struct st_files *files, const struct model_config *config, struct param half,
                       struct adapter_range range, float *out, struct err *err);
