/* divided.h - which part of each tensor a rank has, of those that divide the tensors of one replica among themselves
 * (params_setup.tensor and .experts): rows or columns by heads and elements of the feed-forward, or whole experts. */
#pragma once

#include "train/model/params.h"

/* divided_check - dies where a head would be cut, or where the optimizer has a rule that works on whole matrices. */
void divided_check(const struct params_setup *setup);

/* divided_is - whether each rank has another part of the rows or columns of such a tensor; what is whole they hold alike, and add
 * up its gradients. */
bool divided_is(const struct params_setup *setup, const struct param_spec *spec);

/* divided_by_experts - whether it is of experts, and ranks divide these.
 * divided_has - whether this rank has the tensor, or a part of it: experts go to the ranks in runs.  divided_shape - of its
 * part; data NULL. */
bool divided_by_experts(const struct params_setup *setup, const struct param_spec *spec);
bool divided_has(const struct params_setup *setup, struct param param);
struct tensor divided_shape(const struct params_setup *setup, struct param param);

/* divided_num_trained - scalars that train, of what this rank has of the model. */
int64_t divided_num_trained(const struct params_setup *setup);

/* divided_place - where a part of that shape lies in the whole tensor: whole_first, row_count, stride. */
void divided_place(struct unit_tensor *tensor, const struct params_setup *setup, struct tensor own);

/* divided_writes - whether this rank puts what it has of a tensor into a checkpoint: what several have is the first one's to
 * write. */
bool divided_writes(const struct params_setup *setup, const struct unit_tensor *tensor);
