/* adapter_setup.h - the adapter that a run file asks for, put on a model. */
#pragma once

#include "configs/schema/config.h"

/* adapter_setup - model->adapter as the section 'adapter:' says; unchanged where there is none.  A model that has one already, of
 * adapter.path or of a checkpoint, keeps it.  Returns 0, or -1 with err set: a target or layer that the model does not have, with
 * those that it has; a rank above the matrix; what the run file says otherwise than the adapter that it begins with. */
int adapter_setup(struct model_config *model, const struct config *config, struct err *err);
