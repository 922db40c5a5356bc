/* resume_data.h - what a run reads, by contents: token files may be renamed and moved, but a resumed run
 * reads the same tokens in the same order with the same shares. */
#pragma once

#include "data/tokens/loader.h"
#include "train/run/resume_config.h"

/* resume_compare_data - data.train and data.valid as they are now (valid NULL: none) against the
 * checkpoint's.  *is_new_order: a branch reads other data, from its beginning.  Another teacher is a note, as other
 * options of the objective are.  Returns 0, or -1 with err
 * set: what differs. */
int resume_compare_data(const struct resume_facts *facts, const json_t *train, const json_t *valid,
                        bool *is_new_order, struct diagnostics *said, struct err *err);
