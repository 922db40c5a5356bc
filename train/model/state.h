/* state.h - parameters and optimizer state between memory and files, each rank its own shard. */
#pragma once

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/weights.h"
#include "train/model/params.h"

/* Of a model with an adapter a checkpoint holds the adapter alone: what is saved, loaded from a checkpoint and checked below is
 * the adapter, and what is loaded from a model all that the model has.
 *
 * state_load_weights - this rank's shard of the masters from a model; each byte is read by one rank only.
 * Local: agree on the result, then params_share_masters.  Returns 0, or -1 with err set: a value that is not
 * finite, or that the type in which the model will be kept cannot hold, is named with its tensor. */
int state_load_weights(struct params *params, const struct weights *weights, struct value_type kept_as,
                       struct err *err);

/* Where the values of what is trained are read: as they are now, or as they were when snapshot_take was called.  A rank
 * without room for a snapshot reads them as they are. */
enum state_source { STATE_NOW, STATE_SNAPSHOT };

/* state_check_values - whether this rank's shard of the masters fits a model file of that type (F32: is
 * finite).  Local. Returns 0, or -1 with err set: the tensor, how many of its values here, the first. */
int state_check_values(struct params *params, enum state_source source, enum dtype type, struct err *err);

/* state_leaves_feedback - whether a checkpoint has what gradients in 8 bits owe (feedback.h), and these cross otherwise: then
 * state_load_checkpoint leaves it out. */
bool state_leaves_feedback(const struct params *params, const char *folder);

/* state_load_checkpoint - masters and states of this rank from a checkpoint; all are finite.  Local, as
 * above. */
int state_load_checkpoint(struct params *params, const char *folder, struct err *err);

/* state_init - a new model: norms 1 (0 where the weight is one less than it counts), biases 0, matrices normal with the configuration's initializer_range, each value a
 * function of (seed, tensor, element) alone. */
void state_init(struct params *params, int64_t seed);

/* state_init_adapter - the adapter alone, of which every A is uniform and every B 0, and lengths are those of the base's rows: the model
 * is still its base.  Returns 0, or -1 with err set: the base cannot be read. */
int state_init_adapter(struct params *params, const struct weights *base, int64_t seed, struct err *err);

/* state_bytes - what a checkpoint holds: the model in its type, f32 masters and the optimizer's states. */
int64_t state_bytes(const struct params *params, enum dtype model_dtype);
