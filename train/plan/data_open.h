/* data_open.h - the token files of a run file as a run reads them; what their loader refuses, `train`, `plan` and `submit` refuse
 * alike. */
#pragma once

#include "configs/schema/config.h"
#include "data/tokens/loader.h"

/* What is looked at beyond the run file's own keys; see loader_config. */
struct data_look {
    int64_t vocab_size; /* of the model; 0: not known */
    int64_t verify_share, num_verify_shares;
};

/* data_open - num_files of data.train or data.valid.  Returns NULL with err set. */
struct loader *data_open(const struct config *config, const struct data_file *files, int num_files,
                         const struct data_look *look, struct err *err);

/* data_check_targets - each token file of the training and the validation has target tokens, and so have the
 * sequences that a validation takes.  Either may be NULL.  Returns 0, or -1 with err set.  For one rank: it
 * reads files. */
int data_check_targets(const struct config *config, const struct loader *train, const struct loader *valid,
                       struct err *err);
