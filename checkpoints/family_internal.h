/* family_internal.h - what the family_*.c files share. */
#pragma once

#include "checkpoints/family.h"

enum { MODEL_MAX_LAYERS = 4096 };

struct family {
    const char *model_type;   /* in config.json */
    const char *architecture; /* its causal language model class */
    const char *const *names; /* [ROLE_COUNT] tensor names; NULL: the family is known but not supported */
    int64_t default_window;   /* sliding_window where the key is missing; 0: no window */
    const char *reason;       /* what it has that atelier lacks, where not supported */
};

/* family_require - the family of a model_type, or NULL with err set: unknown, or not supported yet and why.
 */
const struct family *family_require(const char *model_type, struct err *err);
