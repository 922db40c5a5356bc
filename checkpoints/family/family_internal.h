/* family_internal.h - what the family_*.c files share. */
#pragma once

#include "checkpoints/family/family.h"

enum { MODEL_MAX_LAYERS = 4096 };

struct family {
    const char *model_type;          /* in config.json */
    const char *architecture;        /* its causal language model class */
    const struct param_spec *params; /* [num_params]; NULL: the family is known but not supported */
    int num_params;
    int64_t default_window; /* sliding_window where the key is missing; 0: no window */
    const char *reason;     /* what it has that atelier lacks, where not supported */
};

/* Supported families, each in a file of its own. */
extern const struct family family_llama, family_mistral;

/* family_find - by model_type; NULL: never heard of. */
const struct family *family_find(const char *model_type);

/* family_require - the family of a model_type, or NULL with err set: unknown, or not supported yet and why.
 */
const struct family *family_require(const char *model_type, struct err *err);
