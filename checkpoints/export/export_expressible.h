/* export_expressible.h - whether llama.cpp computes what a model does. */
#pragma once

#include "checkpoints/family/family.h"

/* export_check_expressible - returns 0, or -1 with err set: what it computes otherwise. */
int export_check_expressible(const struct model_config *config, struct err *err);
