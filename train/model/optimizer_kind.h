/* optimizer_kind.h - what an optimizer is: a file optimizer_NAME.c with its table, and a row of EACH_OPTIMIZER in
 * configs/schema/config.h.  The layout of the parameters, the plan and the checkpoints know no more of it than this.
 *
 * An optimizer updates each parameter by one of its rules.  A rule names what it keeps between steps, and says what
 * may be worked on apart: elements, by whoever holds them, or whole matrices, each by the rank that owns it. */
#pragma once

#include "checkpoints/family/family.h"

struct params;
struct update;

enum { MAX_STATES = 2, MAX_RULES = 2, MAX_WORK = 6 };

/* Type of a state in memory; files hold f32. */
enum state_type {
    STATE_F32,
    STATE_AS_SET /* as optimizer.state_dtype says: f32 or bf16 */
};

enum rule_owns { OWNS_ELEMENTS, OWNS_MATRICES };

struct update_rule {
    enum rule_owns owns;
    int num_states;
    struct {
        const char
            *name; /* of its file in a checkpoint's state folder; the same name in two rules is one file */
        enum state_type type;
    } states[MAX_STATES]; /* each as large as the parameter */

    /* place - takes from the arenas what update works in, into params.work.  NULL: it needs nothing. */
    void (*place)(struct params *params);
    /* update - one step of all segments of this rule: the owned masters, and the copies that the forward reads.
     * Collective. */
    void (*update)(struct params *params, const struct update *update);
    /* flops - of the matrix products of one update of such a tensor.  NULL: none. */
    double (*flops)(struct tensor shape);
};

struct optimizer_kind {
    const char *name; /* as optimizer.kind says it */
    int num_rules;
    const struct update_rule *rules[MAX_RULES];
    const struct update_rule *(*rule_of)(const struct param_spec *spec); /* one of them */
};
