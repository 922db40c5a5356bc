/* served.h - whether an adapter's names are those of the modules that a server will look for: an adapter that hits none loads
 * without a word, and the base alone answers. */
#pragma once

#include "checkpoints/weights.h"

/* What a check found. */
struct served_hits {
    int64_t num_modules, num_hit;
    char served_as[80]; /* the class of config.json, or the GGUF file's architecture */
};

/* served_check - each module that the adapter has a pair for, by its name in a PEFT folder, against the names of the tensors in
 * target: a model folder, under its class by the table of served.c, or a GGUF file.  target NULL: the adapter's own base.
 * Returns 0, or -1 with err set: an unknown class, a target that cannot be read, or a module that is not hit, by its name. */
int served_check(const struct weights *adapter, const char *target, struct served_hits *hits,
                 struct err *err);
