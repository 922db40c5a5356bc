/* trainer_validate.h - the loss of the present weights on the validation files. */
#pragma once

#include "train/run/trainer_setup.h"

/* trainer_validate - mean loss over their target tokens, or pairs: valid_loss and valid_s, a line in the log.  Nothing where
 * there are none, or where a request cuts it short.  Returns false on all ranks on a read error.  Collective. */
bool trainer_validate(struct trainer *t);
