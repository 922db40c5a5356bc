/* objective_token_mean.c - the mean loss of the target tokens of the whole batch: every token has the weight that the data
 * gave it, and model_train's grad_scale divides by their number. */
#include "train/model/objective.h"

const struct objective objective_token_mean = {.name = "token_mean", .num_entries = 1};
