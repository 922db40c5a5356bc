/* tasks_plan.h - the questions of eval.tasks as a plan sees them: what is refused, how many tokens an evaluation reads, and how often
 * a run makes one. */
#pragma once

#include "configs/schema/config.h"
#include "data/tasks/encode.h"

/* Why the tokens are not known yet. */
enum tasks_lack { TASKS_KNOWN, TASKS_NO_FILE, TASKS_NO_TOKENIZER };

struct tasks_plan {
    int64_t num_items,
        num_left_out;          /* left_out: longer than data.sequence_tokens, or a choice without tokens */
    struct task_tokens tokens; /* with TASKS_KNOWN */
    enum tasks_lack lack;
    const char *missing; /* with TASKS_NO_FILE: the config's text */
};

/* tasks_plan_read - tokenizer: the run's; NULL: it is not here.  Returns 0, or -1 with err set: a file that is there and cannot be
 * read.  tasks_plan_release - also after a failure; harmless on a zeroed struct. */
int tasks_plan_read(struct tasks_plan *plan, const struct config *config, const struct tokenizer *tokenizer,
                    struct err *err);
void tasks_plan_release(struct tasks_plan *plan);

/* tasks_plan_times - how often a run from its first step to its last makes an evaluation; 0 without eval.tasks. */
int64_t tasks_plan_times(const struct config *config);
