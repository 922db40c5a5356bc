/* resume_base.h - the base model and the tokenizer that a run began with, held against what lies at their paths
 * when it goes on.  A resumed run reads neither: weights, config.json and tokenizer are its checkpoint's.  But
 * who replaced the base believes that the run is one from the new model, and must be told that it is not. */
#pragma once

#include "train/run/resume.h"

/* resume_base_facts - what lies at model.path now: {"files": [{name, bytes, mtime_ns, sha256 of the small ones}]} of
 * the weights, config.json and the tokenizer's files of a folder, or of one file; of a run folder what `latest`
 * names.  Kept in training.json, so that a later start need hash the weights only where size or time changed.  A new
 * reference; null where there is nothing. */
json_t *resume_base_facts(const char *path);

/* resume_check_tokenizer - root: model.tokenizer of a new model must still hold the tokenizer that the run has; one
 * that is gone is said.  Returns 0, or -1 with err set. */
int resume_check_tokenizer(struct resume *resume, const struct config *config, struct err *err);

/* resume_check_base - model.path must still lead to the weights that the run began with, whatever they are called
 * now; other small files, and a base that is gone, are said.  Returns false on all ranks when it is another model.
 * Collective. */
bool resume_check_base(struct resume *resume, const struct config *config, struct comm *comm);
