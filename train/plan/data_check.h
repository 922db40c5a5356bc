/* data_check.h - whether token files are what a run can learn from: what `train` refuses of them, a plan refuses too, as far as
 * they are there or the run file says how they are made. */
#pragma once

#include "configs/schema/config.h"
#include "data/tokens/tokens.h"

/* data_check_kind - what a file holds is what objective.kind learns from.  subject names the file or the key.  Returns 0, or -1
 * with err set: both kinds, and the remedy. */
int data_check_kind(const struct config *config, enum token_preference found, const char *subject,
                    struct err *err);

/* data_check_tokenizer - found, the hash of the tokenizer that made a file, is that of the model's.  subject as above. */
int data_check_tokenizer(const char *found, const char *wanted, const char *subject, struct err *err);

/* data_check_plan - both, of the files of data.train and data.valid, and what their loader refuses: documents or pairs that are too
 * long, nothing to learn.  A file that is not there yet is judged by the prepare section, where that will write it; what neither
 * tells is left to `train`.  Warns of files that are read many times over, or next to never (repeats.h).  model_hash: of the model's tokenizer, "" where it is not known; vocab_size: of the model, 0 where it
 * is not.  Returns 0, or -1 with err set: what is wrong, as `train` says it. */
int data_check_plan(const struct config *config, const char *model_hash, int64_t vocab_size, struct err *err);
