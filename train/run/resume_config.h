/* resume_config.h - the run file that a run goes on with, held against the one of its checkpoint, key by key,
 * by the class that the table gives each key: fixed ones refuse, course ones are said with before and after,
 * free ones in one line. */
#pragma once

#include "configs/schema/config.h"
#include "data/corpus/json.h"
#include "slurm/diagnostics.h"

/* resume_keys_json - every key of a run file with its value as it would be written, null where it has none:
 * kept in training.json.  A new reference. */
json_t *resume_keys_json(const struct config *config);

/* What a comparison needs. */
struct resume_facts {
    const json_t *state;    /* training.json of the checkpoint */
    const char *checkpoint; /* its folder, for messages */
    bool is_branch;         /* checkpoint.from: a new line may read other data */
};

/* resume_value - what a key was at the checkpoint, malloc'ed; NULL: it had no value, or is not known. */
char *resume_value(const struct resume_facts *facts, const char *key);

/* resume_compare_config - but for the keys whose contents count and not their names: run.folder, model.path,
 * model.tokenizer, data.train, data.valid.  What changed is added to said.  Returns 0, or -1 with err set:
 * the first fixed key that changed, with what to do. */
int resume_compare_config(const struct resume_facts *facts, const struct config *config,
                          struct diagnostics *said, struct err *err);

/* resume_refuse - "'RUN/step-000004' was trained with KEY was, the run file now says now: ..."; texts NULL:
 * none.  Returns -1. */
int resume_refuse(const struct resume_facts *facts, const char *key, const char *was, const char *now,
                  struct err *err);
