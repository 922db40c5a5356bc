/* tokenizer_sequence.h - a component of tokenizer.json that is one step, or a "Sequence" of steps, one inside another. */
#pragma once

#include "data/corpus/json.h"

struct sequence {
    const char *what; /* the component, for messages: "decoder" */
    const char *list; /* where a Sequence holds its steps: "decoders" */
    /* take - one step that is not a Sequence.  Returns 0, or -1 with err set. */
    int (*take)(void *user, const json_t *step, const char *type, struct err *err);
};

/* sequence_walk - each step in order.  Returns 0, or -1 with err set: a step without a type, a Sequence without its list,
 * more steps or deeper nesting than any published tokenizer has, or what take refuses. */
int sequence_walk(const struct sequence *sequence, const json_t *json, void *user, struct err *err);
