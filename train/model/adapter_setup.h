/* adapter_setup.h - the adapter that a run file asks for, put on a model. */
#pragma once

#include "configs/schema/config.h"
#include "kernels/packed.h"

/* adapter_setup - model->adapter as the section 'adapter:' says; unchanged where there is none.  A model that has one already, of
 * adapter.path or of a checkpoint, keeps it.  Returns 0, or -1 with err set: a target or layer that the model does not have, with
 * those that it has; a rank above the matrix; what in the run file contradicts the adapter that it begins with. */
int adapter_setup(struct model_config *model, const struct config *config, struct err *err);

/* adapter_base_form - in which the layers' matrices are kept; BASE_COMPUTE has none, and any is returned.
 * adapter_base_word - as the run file calls it, "nf4". */
enum packed_kind adapter_base_form(enum adapter_base base);
const char *adapter_base_word(enum adapter_base base);
