/* family_adapter.h - what an adapter's targets are in a model: which matrices, and which of them have pairs. */
#pragma once

#include "checkpoints/family/family.h"

/* adapter_target_role - the matrix that a target means, of a model with experts those of the experts; adapter_target_of - the target of
 * such a matrix, or of a pair's half; ADAPTER_TARGET_COUNT: there is none.  adapter_pair_role - A or B of a target's pair; adapter_length_role - the lengths beside it. */
enum tensor_role adapter_target_role(const struct model_config *config, enum adapter_target target);
enum adapter_target adapter_target_of(enum tensor_role role);
enum tensor_role adapter_pair_role(enum adapter_target target, enum adapter_half half);
enum tensor_role adapter_length_role(enum adapter_target target);

/* adapter_has - whether that matrix of that layer has a pair.  adapter_scale - what multiplies its B A: alpha / rank, or with
 * rank-stabilised scaling alpha / the root of the rank. */
bool adapter_has(const struct model_config *config, enum tensor_role matrix, int layer);
double adapter_scale(const struct model_config *config, enum adapter_target target);

/* adapter_is_of_experts - whether a target's matrix is one that each expert has; adapter_has_experts - whether the adapter has pairs on
 * some.  adapter_module_of - what the last part of its module is called in this family: "gate_proj", "w1". */
bool adapter_is_of_experts(const struct model_config *config, enum adapter_target target);
bool adapter_has_experts(const struct model_config *config);
const char *adapter_module_of(const struct model_config *config, enum adapter_target target);

/* adapter_limit - the largest rank of a target's pair in this model, the smaller side of its matrix; 0: the model has no such matrix, or
 * none that a pair can be on.  adapter_in_layer - whether that layer has the matrix.  adapter_shape - of one, [rows, cols]; dies where
 * the limit is 0. */
int64_t adapter_limit(const struct model_config *config, enum adapter_target target);
bool adapter_in_layer(const struct model_config *config, enum adapter_target target, int layer);
struct tensor adapter_shape(const struct model_config *config, enum adapter_target target);
