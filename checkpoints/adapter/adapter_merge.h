/* adapter_merge.h - a pair added to the matrix that it hangs on. */
#pragma once

#include "checkpoints/adapter/adapter_folder.h"

/* adapter_merge - add scale B A to elements [first, first + count) of a matrix, which are in `values`; config has the adapter, and
 * it has a pair for that matrix.  The sum over the rank is f64, what is added is rounded to f32 once.  With DoRA `values` are whole
 * rows, which then get their lengths; the norm is f64.  Returns 0, or -1 with err set. */
int adapter_merge(const struct adapter_folder *adapter, const struct model_config *config,
                  struct param matrix, struct adapter_range range, float *values, struct err *err);
